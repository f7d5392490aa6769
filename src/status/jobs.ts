import { basename, dirname, join } from 'node:path';
import { fileTail } from '../disk/file-tail.js';
import { hasEnded, hasFailed, type ListedJob } from '../machine/slurm-jobs.js';

/** A job, or a task of an array, that `submit` wrote a script for. */
export interface Job {
  /** As Slurm writes it: 12, or 12_3 of an array. */
  readonly id: string;
  /** Slurm's word; COMPLETED or FAILED by the exit code in its log where Slurm does not know it; else UNKNOWN. */
  readonly state: string;
  readonly failed: boolean;
  readonly exit?: string;
  readonly script: string;
  readonly log?: string;
}

/** A script next to an output, and what its jobs have said. */
export interface JobScript {
  readonly path: string;
  /** Logs by the number of their job or task. */
  readonly logs: ReadonlyMap<string, string>;
}

/** OUT.slurm.sh, or OUT.STAGE.slurm.sh of a chain. */
const SCRIPT = /^(.+)\.slurm\.sh$/;
const STAGES = /\.(harvest|train|eval|report)$/;
/** Stands in the name of an array's script where the number of the task does in --out. */
const ARRAY = 'array';

/** Bytes of the end of a log that hold its last line. */
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

/** Is it the script of a whole command, not of a stage of a chain? */
export const isWhole = ({ path }: Pick<JobScript, 'path'>) => !STAGES.test(SCRIPT.exec(basename(path))![1]!);

/** Does a job write to a directory, or to one that holds it? */
export function writesTo({ script, id }: Pick<Job, 'script' | 'id'>, directory: string): boolean {
  const stem = SCRIPT.exec(basename(script))?.[1];
  if (stem === undefined) return false;
  const [, task] = id.split('_');
  const outs = [stem, stem.replace(STAGES, '')].flatMap((out) => [out, out.replaceAll(ARRAY, task ?? ARRAY)]);
  return outs.some((out) => {
    const path = join(dirname(script), out);
    return directory === path || directory.startsWith(`${path}/`);
  });
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

/** The line with which a script of `submit` ends. */
async function exitCodeIn(log: string): Promise<number | undefined> {
  const [, code] =
    /^sae-pipe: exit code (\d+)\n$/m.exec((await fileTail(log, TAIL))?.text.split(/(?<=\n)/).at(-1) ?? '') ?? [];
  return code === undefined ? undefined : Number(code);
}
