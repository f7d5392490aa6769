import { basename, dirname, join, resolve } from 'node:path';
import { shellWord } from '../config/shell-word.js';
import type { SubmitConfig } from '../config/stages/submit.js';
import type { StageName } from '../config/stages.js';
import { withoutSwitch } from '../config/switch-words.js';
import { packagedFile } from '../disk/input-file.js';
import { resourceOptions } from './sbatch-options.js';
import { pathOfOption, TASK, TASKS, wordOfTask } from './shell-words.js';

/** One command to run as a job. */
export interface Work {
  readonly stage: StageName;
  /** What follows the stage's name; {i} and {n} stand for the task of an array. */
  readonly words: readonly string[];
  /** Of the command. */
  readonly out: string;
  readonly overwrite?: boolean;
  /** Tells the files of several jobs of one --out apart. */
  readonly name?: string;
  /** Tasks of an array; undefined: one job. */
  readonly tasks?: number;
}

/** A script of sbatch. */
export interface Script {
  readonly path: string;
  /** Where the job writes what it says, with %j (or %A and %a of an array) for its number. */
  readonly log: string;
  readonly text: string;
}

/** Stages that continue by --resume; the others continue, or begin again, by the same command. */
const RESUMABLE: readonly StageName[] = ['harvest', 'train', 'features'];

/** Does a command that is stopped keep what it did? An evaluation and a page are written at their end. */
const keepsWork = ({ stage, name }: Work) =>
  RESUMABLE.includes(stage) || (stage === 'sweep' && name !== 'eval' && name !== 'report');

/**
 * The script that runs a command as a job, and continues it each time that the job is started again.
 *
 * @param directory from which paths of the command are seen, absolute
 */
export function scriptOf(work: Work, config: SubmitConfig, directory: string): Script {
  const { stage, words, out, name, tasks } = work;
  const place = tasks === undefined ? out : out.replaceAll(TASK, 'array').replaceAll(TASKS, String(tasks));
  const base = resolve(directory, place);
  const stem = join(dirname(base), [basename(base), ...(name === undefined ? [] : [name]), 'slurm'].join('.'));
  const log = `${stem}-${tasks === undefined ? '%j' : '%A_%a'}.log`;
  const path = `${stem}.sh`;
  const options = [
    `--job-name=sae-pipe-${name ?? stage}`,
    ...resourceOptions(config, tasks),
    `--output=${logOption(stem, tasks)}`,
    '--open-mode=append',
    `--signal=B:USR1@${config.notice}`,
    config.requeue ? '--requeue' : '--no-requeue',
  ];
  const program = [process.execPath, packagedFile('bin/sae-pipe.js'), stage];
  const kept = RESUMABLE.includes(stage) ? withoutSwitch(withoutSwitch(words, 'overwrite'), 'resume') : words;
  const lines = (tasks === undefined ? kept.map(shellWord) : kept.map((word) => wordOfTask(word, tasks))).join(' ');
  const text = [
    '#!/usr/bin/env bash',
    `# Written by sae-pipe submit slurm. By hand: sbatch ${shellWord(path)}`,
    ...options.map((option) => `#SBATCH ${option}`),
    '',
    `cd ${shellWord(directory)} || exit 1`,
    `command=(${program.map(shellWord).join(' ')} ${lines})`,
    ...resumption(work),
    ...runner(work, config),
    '',
  ].join('\n');
  return { path, log, text };
}

const logOption = (stem: string, tasks: number | undefined) =>
  pathOfOption(stem).replace(/"$/, tasks === undefined ? '-%j.log"' : '-%A_%a.log"');

/** A job that is started again continues; one that was told to overwrite does so the first time only. */
function resumption({ stage, overwrite }: Work): string[] {
  if (!RESUMABLE.includes(stage)) return [];
  if (!overwrite) return ['command+=(--resume)'];
  return [
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
    'if ((${SLURM_RESTART_COUNT:-0} == 0)); then command+=(--overwrite); else command+=(--no-overwrite --resume); fi',
  ];
}

/**
 * Runs the command next to a shell that hears the notice of Slurm and hands it on. `wait` ends early when a signal
 * comes, so it is repeated until it ended because the command did.
 */
function runner(work: Work, { notice, requeue, maxRequeues }: SubmitConfig): string[] {
  // The number of an array's job alone would name all of its tasks.
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
  const self = work.tasks === undefined ? '"$SLURM_JOB_ID"' : '"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"';
  const noticed = 'if [[ -n $noticed && $code -eq $((128 + $(kill -l USR1))) ]]; then';
  const again = keepsWork(work)
    ? [
        '# The command ended by the notice (128 + SIGUSR1), with its work kept: to be continued in another start.',
        noticed,
        `  if ((\${SLURM_RESTART_COUNT:-0} < ${maxRequeues})); then exec scontrol requeue ${self}; fi`,
        `  echo "Not queued again: it was ${maxRequeues} times (--max-requeues)." >&2`,
        'fi',
      ]
    : [
        noticed,
        `  echo "Not queued again: ${work.name ?? work.stage} keeps nothing when it is stopped. Give it more --time." >&2`,
        'fi',
      ];
  return [
    '',
    `# ${notice} s before its limit on time, Slurm sends USR1 to this shell: the command stops where nothing is lost.`,
    'noticed= heard= child=',
    'hand_on() { heard=1; if [[ -n $child ]]; then kill -s "$1" "$child" 2>/dev/null; fi; }',
    "trap 'noticed=1; hand_on USR1' USR1",
    '# Cancelled, or preempted: Slurm itself knows whether it queues the job again.',
    "trap 'noticed=; hand_on TERM' TERM",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
    '"${command[@]}" &',
    'child=$!',
    'if [[ -n $noticed ]]; then kill -s USR1 "$child"; fi',
    'heard=1',
    'while [[ -n $heard ]]; do',
    '  heard=',
    '  wait "$child"',
    '  code=$?',
    'done',
    ...(requeue ? again : []),
    '# How it ended is told from this line where Slurm has forgotten the job.',
    'echo "sae-pipe: exit code $code"',
    'exit "$code"',
  ];
}
