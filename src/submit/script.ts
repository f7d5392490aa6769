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
  /** Words after the stage's name; {i} and {n} are replaced by the array task's number and the number of tasks. */
  readonly words: readonly string[];
  /** The command's --out. */
  readonly out: string;
  readonly overwrite?: boolean;
  /** Distinguishes the files of several jobs with one --out. */
  readonly name?: string;
  /** Tasks of an array; undefined: one job. */
  readonly tasks?: number;
}

/** A script of sbatch. */
export interface Script {
  readonly path: string;
  /** The log of the job, with %j (or %A and %a for an array) for its number. */
  readonly log: string;
  readonly text: string;
}

/** Stages that resume with --resume; the others resume, or start over, with the same command. */
const RESUMABLE: readonly StageName[] = ['harvest', 'train', 'features'];

/** Does a stopped command keep its work? An evaluation and a page are written only at their end. */
const keepsWork = ({ stage, name }: Work) =>
  RESUMABLE.includes(stage) || (stage === 'sweep' && name !== 'eval' && name !== 'report');

/**
 * The script that runs a command as a job, and resumes it whenever the job is restarted.
 *
 * @param directory absolute; paths in the command are relative to it
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

/** A restarted job resumes; one with --overwrite overwrites only in its first start. */
function resumption({ stage, overwrite }: Work): string[] {
  if (!RESUMABLE.includes(stage)) return [];
  if (!overwrite) return ['command+=(--resume)'];
  return [
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
    'if ((${SLURM_RESTART_COUNT:-0} == 0)); then command+=(--overwrite); else command+=(--no-overwrite --resume); fi',
  ];
}

/**
 * Runs the command in the background of a shell that receives Slurm's notice and passes it on. `wait` returns early on
 * a signal, so it is repeated until the command has ended.
 */
function runner(work: Work, { notice, requeue, maxRequeues }: SubmitConfig): string[] {
  // The job number of an array alone would mean all of its tasks.
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
  const self = work.tasks === undefined ? '"$SLURM_JOB_ID"' : '"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"';
  const noticed = 'if [[ -n $noticed && $code -eq $((128 + $(kill -l USR1))) ]]; then';
  const again = keepsWork(work)
    ? [
        '# The command ended because of the notice (128 + SIGUSR1) and has saved its work: resume it in another start.',
        noticed,
        `  if ((\${SLURM_RESTART_COUNT:-0} < ${maxRequeues})); then exec scontrol requeue ${self}; fi`,
        `  echo "Not requeued: this job was already requeued ${maxRequeues} times (--max-requeues)." >&2`,
        'fi',
      ]
    : [
        noticed,
        `  echo "Not requeued: ${work.name ?? work.stage} saves nothing when it is stopped. Give it more --time." >&2`,
        'fi',
      ];
  return [
    '',
    `# ${notice} s before the time limit, Slurm sends USR1 to this shell: the command saves its work and stops.`,
    'noticed= signalled= child=',
    'pass_on() { signalled=1; if [[ -n $child ]]; then kill -s "$1" "$child" 2>/dev/null; fi; }',
    "trap 'noticed=1; pass_on USR1' USR1",
    '# Cancelled or preempted: Slurm itself decides whether to requeue the job.',
    "trap 'noticed=; pass_on TERM' TERM",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
    '"${command[@]}" &',
    'child=$!',
    'if [[ -n $noticed ]]; then kill -s USR1 "$child"; fi',
    'signalled=1',
    'while [[ -n $signalled ]]; do',
    '  signalled=',
    '  wait "$child"',
    '  code=$?',
    'done',
    ...(requeue ? again : []),
    '# sae-pipe status reads the result from this line once Slurm has forgotten the job.',
    'echo "sae-pipe: exit code $code"',
    'exit "$code"',
  ];
}
