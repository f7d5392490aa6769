import { shellWord } from '../config/shell-word.js';
import { UsageRefusal } from '../errors/refusal.js';

/** Placeholders for the number of a task and for the number of tasks in the words of an array's command. */
export const TASK = '{i}';
export const TASKS = '{n}';

/** A word of an array's command for the shell, with the task's number in place of {i}. */
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
 * @throws UsageRefusal for characters that such a line cannot contain
 */
export function pathOfOption(path: string): string {
  if (/["\\\p{Cc}]/u.test(path)) {
    throw new UsageRefusal(
      `${path} contains a quote, a backslash or a control character, which a line of an sbatch script cannot.`,
      'Use a path without such characters.',
      'submit/odd-path',
    );
  }
  return `"${path.replaceAll('%', '%%')}"`;
}

/** The words without a flag and its value, in either form: --name value, --name=value. */
export const withoutFlag = (words: readonly string[], name: string): string[] =>
  words.filter((word, i) => word !== `--${name}` && words[i - 1] !== `--${name}` && !word.startsWith(`--${name}=`));
