import { dirname, join } from 'node:path';
import { z } from 'zod';
import { JsonLines } from '../disk/growing-file.js';
import { parseJson, readTextFile } from '../disk/json.js';
import { requireStillOwner } from '../disk/lock.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import { LABELS_FILE } from '../features/folder.js';
import { type FeatureLabel, MOST_LABEL, MOST_NOTE } from './api.js';
import type { LabelView } from './query.js';

/** Bytes of labels.jsonl, at most. */
const MOST_LABELS = 2 ** 28;

const labelLine = z.object({
  feature: z.number().int().nonnegative(),
  label: z.string().max(MOST_LABEL).nullable(),
  note: z.string().max(MOST_NOTE).nullable(),
  source: z.string().max(MOST_LABEL).nullable().default(null),
  /** When it was given, for people. */
  time: z.string().max(64).optional(),
});
type LabelLine = z.infer<typeof labelLine>;

/** What of a label is given; white space around it is not. */
export type GivenLabel = Pick<FeatureLabel, 'feature' | 'label' | 'note'> & Partial<Pick<FeatureLabel, 'source'>>;

/** The labels of an SAE, in memory and on disk. */
export class LabelFile implements LabelView {
  version = 0;
  private readonly labels = new Map<number, FeatureLabel>();
  private lines: JsonLines<LabelLine> | undefined;
  /** Of the line that is being written: lines are written one after another. */
  private writing: Promise<unknown> = Promise.resolve();

  private constructor(private readonly path: string) {}

  /**
   * Reads the labels of an SAE; nothing is written before a label is given.
   *
   * @param directory of the SAE in the folder
   * @throws Refusal naming a line that is not a label, or names a feature that there is not
   */
  static async read(directory: string, features: number): Promise<LabelFile> {
    const file = new LabelFile(join(directory, LABELS_FILE));
    const { lines } = await readLines(file.path);
    for (const [i, line] of lines.entries()) {
      if (line.feature >= features) {
        throw new Refusal(
          `${file.path}:${i + 1} labels feature ${line.feature}, and the SAE has ${features} features.`,
          'Put the file back next to the features that it belongs to, or delete that line.',
          'explore/label-without-feature',
        );
      }
      file.take(line);
    }
    return file;
  }

  get byFeature(): ReadonlyMap<number, FeatureLabel> {
    return this.labels;
  }

  /** All labels, by feature. */
  all(): FeatureLabel[] {
    return [...this.labels.values()].sort((a, b) => a.feature - b.feature);
  }

  /**
   * Saves labels: they survive a power failure when this resolves. To be called by the owner of the folder's lock only.
   *
   * @throws Refusal where the disk does not take them; none of them counts then
   */
  save(given: readonly GivenLabel[]): Promise<FeatureLabel[]> {
    const saved = this.writing.then(() => this.append(given));
    this.writing = saved.catch(() => {});
    return saved;
  }

  /** Ends writing; what was given before is saved. */
  async close(): Promise<void> {
    await this.writing;
    await this.lines?.close();
    this.lines = undefined;
  }

  private async append(given: readonly GivenLabel[]): Promise<FeatureLabel[]> {
    // The lock is the folder's, which holds a directory for each SAE.
    await requireStillOwner(dirname(dirname(this.path)));
    this.lines ??= await openLines(this.path);
    const time = new Date().toISOString();
    const taken: LabelLine[] = given.map(({ feature, label, note, source = null }) => {
      return { feature, label: tidy(label), note: tidy(note), source, time };
    });
    await this.lines.appendAll(taken);
    await this.lines.sync();
    return taken.map((line) => this.take(line));
  }

  private take({ feature, label, note, source }: LabelLine): FeatureLabel {
    const taken = { feature, label, note, source };
    if (label === null && note === null) this.labels.delete(feature);
    else this.labels.set(feature, taken);
    this.version++;
    return taken;
  }
}

/** Text without white space around it; null where nothing is left. */
const tidy = (text: string | null) => text?.trim() || null;

/** The lines of a labels file, and whether what follows the last of them is torn, or lacks its newline. */
async function readLines(path: string): Promise<{ lines: LabelLine[]; end: 'whole' | 'open' | 'torn' }> {
  const text = (await readTextFile(path, 'Move it away, or fix it.', MOST_LABELS)) ?? '';
  const pieces = text.split('\n');
  const last = pieces.pop()!;
  const lines = pieces.map((piece, i) => {
    const line = lineIn(piece);
    if (line) return line;
    throw new Refusal(`${path}:${i + 1} is not a label.`, 'Fix or delete that line.', 'explore/broken-label');
  });
  const torn = last.trim() === '' ? undefined : lineIn(last);
  // A line that somebody wrote without a newline is a label; one that a power failure cut short is not.
  if (torn) lines.push(torn);
  return { lines, end: last === '' ? 'whole' : torn ? 'open' : 'torn' };
}

function lineIn(text: string): LabelLine | undefined {
  try {
    return labelLine.parse(parseJson(text));
  } catch {
    return undefined;
  }
}

async function openLines(path: string): Promise<JsonLines<LabelLine>> {
  const { lines, end } = await readLines(path);
  if (end === 'open') await writeAside(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return JsonLines.open<LabelLine>(path, { keep: () => true });
}
