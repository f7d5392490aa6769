import { dirname, relative } from 'node:path';
import { shellWord } from '../config/shell-word.js';
import type { SubmitConfig } from '../config/stages/submit.js';
import { makeDirectory } from '../disk/durable.js';
import { readRegular } from '../disk/input-file.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import type { Terminal } from '../progress/progress.js';
import { throwIfStopped } from '../progress/stop.js';
import { type Script, scriptOf, type Work } from './script.js';
import { cancel, sbatch } from './slurm.js';
import { forStage } from './stage-resources.js';

/**
 * Writes a script for each piece of work and submits them, each to start when the previous one has succeeded. If one
 * cannot be submitted, those before it are cancelled.
 *
 * @throws Refusal if a script with different content already exists, or Slurm refuses
 */
export async function submit(
  works: readonly Work[],
  config: SubmitConfig,
  { stop, print }: Pick<Terminal, 'stop' | 'print'>,
): Promise<void> {
  const directory = process.cwd();
  const scripts = works.map((work) => scriptOf(work, forStage(config, work.name), directory));
  if (config.dryRun) {
    for (const { path, text } of scripts) print(`# ${path}\n${text}`);
    return;
  }
  for (const script of scripts) await write(script, config.overwrite);
  const jobs: string[] = [];
  try {
    for (const { path } of scripts) {
      throwIfStopped(stop, 'jobs submitted so far are cancelled; the scripts are kept.');
      jobs.push(await sbatch(path, jobs.at(-1)));
    }
  } catch (error) {
    await cancel(jobs);
    throw error;
  }
  for (const [i, script] of scripts.entries()) print(told(script, jobs[i]!, works[i]!, directory));
  print(howTo(jobs, works, scripts, directory));
}

/** How to watch the jobs, cancel them, and resume their work. */
function howTo(
  jobs: readonly string[],
  works: readonly Work[],
  [script, ...others]: readonly Script[],
  directory: string,
): string {
  const resume =
    others.length > 0
      ? 'the same command'
      : works[0]!.overwrite
        ? 'the same command without --overwrite after --, and with submit --overwrite to replace the script'
        : `sbatch ${shellWord(relative(directory, script!.path))}`;
  return [
    `look:    squeue -j ${jobs.join(',')}; once over: sacct -j ${jobs.join(',')}; or sae-pipe status ${shellWord(relative(directory, dirname(script!.path)) || '.')}`,
    `cancel:  scancel ${jobs.join(' ')}`,
    `resume:  ${resume}`,
  ].join('\n');
}

function told({ path, log }: Script, job: string, { stage, name }: Work, directory: string): string {
  const here = (file: string) => relative(directory, file);
  const said = here(log).replace('%j', job).replace('%A', job).replace('%a', '0');
  return `Job ${job}: ${name ?? stage}, script ${here(path)}, log ${said}`;
}

async function write({ path, text }: Script, overwrite: boolean): Promise<void> {
  await makeDirectory(dirname(path));
  const before = await readRegular(path, LARGEST_SCRIPT);
  if (before?.toString('utf8') === text) return;
  if (before && !overwrite) {
    throw new Refusal(
      `${path} exists and contains a different script.`,
      'Submit the existing script with sbatch, or replace it with submit --overwrite.',
      'submit/script-exists',
    );
  }
  await writeAside(path, text);
}

/** Max bytes of a script; ours have one or two thousand. */
const LARGEST_SCRIPT = 2 ** 20;
