import { shellWord } from '../config/shell-word.js';
import { UsageRefusal } from '../errors/refusal.js';

/** What stands for the number of a task in the words of an array's command, and for the number of tasks. */
export const TASK = '{i}';
export const TASKS = '{n}';

/** A word of an array's command: the number of the task stands where {i} does. */
export function wordOfTask(word: string, tasks: number): string {
  if (word === '') return shellWord(word);
  return word
    .replaceAll(TASKS, String(tasks))
    .split(TASK)
    .map((part) => (part === '' ? '' : shellWord(part)))
    .join('"$SLURM_ARRAY_TASK_ID"');
}

/** The words of one task. */
export const wordsOfTask = (words: readonly string[], task: number, tasks: number): string[] =>
  words.map((word) => word.replaceAll(TASKS, String(tasks)).replaceAll(TASK, String(task)));

/**
 * A path in a line `#SBATCH --option="path"`.
 *
 * @throws UsageRefusal for characters that such a line cannot hold
 */
export function pathOfOption(path: string): string {
  if (/["\\\p{Cc}]/u.test(path)) {
    throw new UsageRefusal(
      `${path} has a quote, a backslash or a control character in it, which a script of sbatch cannot name.`,
      'Use a path without.',
      'submit/odd-path',
    );
  }
  return `"${path.replaceAll('%', '%%')}"`;
}

/** The words without a flag and its value, however they are written: --name value, --name=value. */
export const withoutFlag = (words: readonly string[], name: string): string[] =>
  words.filter((word, i) => word !== `--${name}` && words[i - 1] !== `--${name}` && !word.startsWith(`--${name}=`));
