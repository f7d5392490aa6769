import type { SubmitConfig } from '../config/stages/submit.js';
import type { StageName } from '../config/stages.js';
import { listed } from '../config/suggest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { chainOf } from '../submit/chain.js';
import type { Work } from '../submit/script.js';
import { TASK, wordsOfTask } from '../submit/shell-words.js';

/** The configuration of a command from the words that follow its name; UsageRefusal for what is wrong with them. */
export type ConfigOf = (stage: StageName, words: readonly string[]) => Promise<Readonly<Record<string, unknown>>>;

/** Commands that end by themselves. */
const SUBMITTED = ['harvest', 'train', 'sweep', 'eval', 'features', 'report'] as const;

const isSubmitted = (name: string | undefined): name is (typeof SUBMITTED)[number] =>
  SUBMITTED.some((one) => one === name);

/**
 * What is to be submitted: the command after --, whose flags are checked here, not hours later on a node; or a sweep's
 * stages.
 *
 * @throws UsageRefusal
 */
export async function submittedWork({ command, chain, array }: SubmitConfig, configOf: ConfigOf): Promise<Work[]> {
  if (command !== undefined && chain !== undefined) throw notBoth('A command and --chain exclude each other.');
  if (chain !== undefined) {
    if (array !== undefined) throw notBoth('The jobs of --chain are not an array.');
    return chainOf(chain);
  }
  if (command === undefined) throw notBoth('No command is given.');
  const [stage, ...words] = command;
  if (!isSubmitted(stage)) {
    throw new UsageRefusal(
      `${stage} is not a command that is submitted.`,
      `Give ${listed(SUBMITTED, 'or')}.`,
      'submit/not-submitted',
    );
  }
  return [await checkedWork(stage, words, array, configOf)];
}

const notBoth = (message: string) =>
  new UsageRefusal(
    message,
    'Write the command after --, as in: sae-pipe submit slurm --time 60 -- harvest …; or --chain with the file of a sweep.',
    'submit/chain-and-command',
  );

async function checkedWork(
  stage: StageName,
  words: readonly string[],
  array: number | undefined,
  configOf: ConfigOf,
): Promise<Work> {
  const tasks = array ?? 1;
  const { out, overwrite = false } = (await configOf(stage, wordsOfTask(words, 0, tasks))) as {
    out: string;
    overwrite?: boolean;
  };
  if (words.some((word) => word === '-' || word.endsWith('=-'))) {
    throw new UsageRefusal(
      '- is a pipe from or to another command, which a job does not have.',
      'Name a file or a directory.',
      'submit/not-submitted',
    );
  }
  if (array === undefined) return { stage, words, out, overwrite };
  const second = (await configOf(stage, wordsOfTask(words, 1, tasks))) as { out: string };
  if (second.out === out) {
    throw new UsageRefusal(
      `All tasks of --array ${array} would write to ${out}.`,
      `Write ${TASK} where the number of the task belongs, in --out too: --seed ${TASK} --out runs/seed-${TASK}.`,
      'submit/array-without-task',
    );
  }
  return { stage, words, out: words[outAt(words)]!.replace(/^--out=/, ''), overwrite };
}

/** Where the words of a command that gives --out have its value. */
function outAt(words: readonly string[]): number {
  const at = words.indexOf('--out');
  return at >= 0 ? at + 1 : words.findIndex((word) => word.startsWith('--out='));
}
