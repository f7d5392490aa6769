import { basename, dirname, join } from 'node:path';
import { partNamed } from '../activations/find-stores.js';
import { fileTail } from '../disk/file-tail.js';
import { hasEnded, hasFailed, type ListedJob } from '../machine/slurm-jobs.js';

/** A job, or a task of an array, that `submit` wrote a script for. */
export interface Job {
  /** As written by Slurm: 12, or 12_3 for a task of an array. */
  readonly id: string;
  /** Slurm's state; if Slurm does not know the job, COMPLETED or FAILED by the exit code in its log, or UNKNOWN. */
  readonly state: string;
  readonly failed: boolean;
  readonly exit?: string;
  readonly script: string;
  readonly log?: string;
}

/** A script next to an output, and the logs of its jobs. */
export interface JobScript {
  readonly path: string;
  /** Logs by the number of their job or task. */
  readonly logs: ReadonlyMap<string, string>;
}

/** OUT.slurm.sh, or OUT.STAGE.slurm.sh in a chain. */
const SCRIPT = /^(.+)\.slurm\.sh$/;
const STAGES = /\.(harvest|train|eval|report)$/;
/** In the name of an array's script, takes the place of the task's number in --out. */
const ARRAY = 'array';

/** Bytes at the end of a log that contain its last line. */
const TAIL = 512;

/** The scripts among the names of a directory, each with its logs. */
export function scriptsIn(directory: string, names: readonly string[]): JobScript[] {
  return names
    .filter((name) => SCRIPT.test(name))
    .map((name) => {
      const stem = name.replace(/\.sh$/, '');
      const logs = names.flatMap((log): [string, string][] => {
        const [, id] = /^-(\d+(?:_\d+)?)\.log$/.exec(log.startsWith(stem) ? log.slice(stem.length) : '') ?? [];
        return id === undefined ? [] : [[id, join(directory, log)]];
      });
      return { path: join(directory, name), logs: new Map(logs) };
    });
}

/** Is it the script of a complete command, not of a stage of a chain? */
export const isWhole = ({ path }: Pick<JobScript, 'path'>) => !STAGES.test(SCRIPT.exec(basename(path))![1]!);

/** Does a job write to a directory, or to one above it? A task of a divided harvest writes only to its part. */
export function writesTo({ script, id }: Pick<Job, 'script' | 'id'>, directory: string): boolean {
  const stem = SCRIPT.exec(basename(script))?.[1];
  if (stem === undefined) return false;
  const [, task] = id.split('_');
  return [stem, stem.replace(STAGES, '')].some((out) => {
    const end = endOfOut(join(dirname(script), out), task, directory);
    if (end === undefined) return false;
    const part = directory
      .slice(end)
      .split('/')
      .map(partNamed)
      .find((found) => found !== undefined);
    return task === undefined || part === undefined || part.index === Number(task);
  });
}

/**
 * Length of the path of a script's or task's output as a prefix of a directory in it; undefined for any other
 * directory. The task's number takes the place of ARRAY, which may also occur in a name by itself.
 */
function endOfOut(out: string, task: string | undefined, directory: string): number | undefined {
  let ends = [0];
  for (const [i, piece] of out.split(ARRAY).entries()) {
    const words = i === 0 ? [piece] : [ARRAY, ...(task === undefined ? [] : [task])].map((word) => word + piece);
    ends = ends.flatMap((at) => words.flatMap((word) => (directory.startsWith(word, at) ? [at + word.length] : [])));
  }
  return ends.find((end) => end === directory.length || directory[end] === '/');
}

/** Max bytes of a script. */
const LARGEST_SCRIPT = 2 ** 16;

/**
 * Does a script start over whenever it is submitted, instead of resuming? It was made from a command with --overwrite.
 */
export async function beginsAnew({ path }: Pick<JobScript, 'path'>): Promise<boolean> {
  return (await fileTail(path, LARGEST_SCRIPT))?.text.includes('command+=(--overwrite)') ?? false;
}

/** The newest job of a script, or of each of its tasks. */
export async function jobsOf(script: JobScript, listed: readonly ListedJob[]): Promise<Job[]> {
  const known = new Map(
    listed.filter((job) => job.script === script.path || script.logs.has(job.id)).map((job) => [job.id, job]),
  );
  const newest = new Map<string, string>();
  for (const id of [...script.logs.keys(), ...known.keys()]) {
    const [job, task = ''] = id.split('_');
    if (Number(newest.get(task)?.split('_')[0] ?? -1) < Number(job)) newest.set(task, id);
  }
  const ids = [...newest.values()].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return Promise.all(ids.map((id) => jobOf(id, script, known.get(id))));
}

async function jobOf(id: string, { path, logs }: JobScript, known: ListedJob | undefined): Promise<Job> {
  const log = logs.get(id);
  const told = { id, script: path, ...(log !== undefined && { log }) };
  if (known !== undefined) {
    const { state, exit } = known;
    return { ...told, state, failed: hasFailed(state), ...(exit !== undefined && hasEnded(state) && { exit }) };
  }
  const code = log === undefined ? undefined : await exitCodeIn(log);
  if (code === undefined) return { ...told, state: 'UNKNOWN', failed: false };
  return { ...told, state: code === 0 ? 'COMPLETED' : 'FAILED', failed: code !== 0, exit: `${code}:0` };
}

/** The exit code in the last line of the log of a script of `submit`. */
async function exitCodeIn(log: string): Promise<number | undefined> {
  const [, code] =
    /^sae-pipe: exit code (\d+)\n$/m.exec((await fileTail(log, TAIL))?.text.split(/(?<=\n)/).at(-1) ?? '') ?? [];
  return code === undefined ? undefined : Number(code);
}
