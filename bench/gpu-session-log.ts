/** What a session on a GPU machine leaves behind: a line of JSON for each step as it ends, and a page for people. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** How a step ended: by itself, with a failure, at its limit, by a signal to the session; or that it never began. */
export type Outcome = 'done' | 'failed' | 'too long' | 'cut' | 'left out';

export interface StepRecord {
  readonly step: string;
  readonly outcome: Outcome;
  /** When it began, ISO 8601. */
  readonly began: string;
  readonly seconds: number;
  /** The step's own answer. */
  readonly result: unknown;
  /** Why it is not done; its log has more. */
  readonly why?: string;
}

export const RESULTS = 'session.jsonl';
export const SUMMARY = 'summary.md';

/** Results of a session in a directory, one after another. */
export class SessionLog {
  constructor(readonly directory: string) {
    mkdirSync(directory, { recursive: true });
  }

  /** Where a step's output goes. */
  path(step: string): string {
    return join(this.directory, `${step}.log`);
  }

  /** Those of earlier calls, too; a line that was cut short is skipped. */
  records(): StepRecord[] {
    const path = join(this.directory, RESULTS);
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8')
      .split('\n')
      .flatMap((line) => {
        try {
          return [JSON.parse(line) as StepRecord];
        } catch {
          return [];
        }
      });
  }

  isDone(step: string): boolean {
    return this.records().some((record) => record.step === step && record.outcome === 'done');
  }

  /** If the process is killed after this, the results so far are on disk. */
  append(record: StepRecord): void {
    appendFileSync(join(this.directory, RESULTS), `${JSON.stringify(record)}\n`);
    writeFileSync(join(this.directory, SUMMARY), summary(this.records()));
  }
}

/** The results as a table, the last of each step. */
export function summary(records: readonly StepRecord[]): string {
  const last = new Map(records.map((record) => [record.step, record]));
  const rows = [...last.values()].map(({ step, outcome, seconds, result, why }) => {
    const told = why ?? (result === null ? '' : JSON.stringify(result));
    const cell = told.length > 400 ? `${told.slice(0, 400)} …` : told;
    return `| ${step} | ${outcome} | ${seconds.toFixed(1)} | ${cell.replaceAll('|', '\\|').replaceAll('\n', ' ')} |`;
  });
  return ['# Session on a GPU machine', '', '| step | outcome | s | result |', '|---|---|--:|---|', ...rows, ''].join(
    '\n',
  );
}
