import { relative } from 'node:path';
import { duration, shortCount, textTable } from '../progress/progress.js';
import type { Job } from './jobs.js';
import type { Status } from './status.js';
import type { WorkStatus } from './work.js';

/** What is not known. */
const NONE = '–';

/** The state of work for people: a line for each piece, and for each job that is not simply done. */
export function statusTable({ work, jobs, complete }: Status): string {
  const shown = work.filter(isShown);
  const lines = work.length === 0 ? ['Nothing was found.'] : tableOf(shown);
  const hidden = work.length - shown.length;
  if (hidden > 0) lines.push(`${hidden} finished parts of sweeps are not listed.`);
  const notable = jobs.filter(({ state }) => state !== 'COMPLETED');
  if (notable.length > 0) lines.push('', ...textTable([['JOB', 'STATE', 'EXIT', 'LOG'], ...notable.map(jobRow)]));
  if (!complete) lines.push('There is more below these directories than was looked into: name a part of it.');
  return lines.join('\n');
}

/** A sweep counts its parts; those that are finished are not listed one by one. */
const isShown = ({ sweep, state }: WorkStatus) => sweep === undefined || state !== 'finished';

function tableOf(work: readonly WorkStatus[]): string[] {
  const head = ['STATE', 'WHAT', 'DIRECTORY', 'DONE', 'RATE', 'LEFT', 'WHERE'];
  const rows = textTable([head, ...work.map(workRow)]);
  return rows.flatMap((row, i) => [row.trimEnd(), ...(i === 0 ? [] : remarksOf(work[i - 1]!))]);
}

function workRow({ kind, directory, state, done, total, unit, rate, left, owner, checked }: WorkStatus): string[] {
  const count = (n: number) => (n < 10_000 ? String(n) : shortCount(n));
  const progress = [
    done === undefined ? NONE : count(done),
    total === undefined ? '' : ` of ${count(total)}`,
    done === undefined || unit === undefined ? '' : ` ${(total ?? done) === 1 ? unit : `${unit}s`}`,
  ];
  return [
    state,
    kind,
    here(directory),
    progress.join(''),
    rate === undefined ? NONE : `${shortCount(rate)}/s`,
    left === undefined ? NONE : duration(left),
    owner === undefined ? NONE : whereOf(owner, checked ?? false),
  ];
}

function whereOf({ host, pid, job }: NonNullable<WorkStatus['owner']>, checked: boolean): string {
  const place = job === undefined ? `${host}, pid ${pid}` : `${host}, job ${job.id}`;
  return checked ? place : `${place} (not checked)`;
}

/** What went wrong, and how it continues. */
function remarksOf({ kind, state, reason, resume, sweep }: WorkStatus): string[] {
  const lines = reason === undefined ? [] : [`  ${reason}`];
  // A sweep continues its parts.
  if (sweep !== undefined || (state !== 'stopped' && state !== 'failed')) return lines;
  const how = resume ?? `the command that began it${RESUMED.includes(kind) ? ', with --resume' : ''}`;
  return [...lines, `  continue: ${how}`];
}

const RESUMED: readonly WorkStatus['kind'][] = ['harvest', 'train', 'features'];

function jobRow({ id, state, exit, log, script }: Job): string[] {
  return [id, state, exit ?? NONE, here(log ?? script)];
}

/** A path from here, as far as it is below. */
function here(path: string): string {
  const below = relative('', path);
  return below === '' ? '.' : below.startsWith('..') ? path : below;
}
