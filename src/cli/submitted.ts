import type { SubmitConfig } from '../config/stages/submit.js';
import type { SweepConfig } from '../config/stages/sweep.js';
import type { StageName } from '../config/stages.js';
import { listed } from '../config/suggest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { chainOf, sweepOf } from '../submit/chain.js';
import type { Work } from '../submit/script.js';
import { TASK, TASKS, wordsOfTask } from '../submit/shell-words.js';
import { checkStages, tasksOfStages } from '../submit/stage-resources.js';

/** Parses the words after a command's name; throws UsageRefusal if they are invalid. */
export type ConfigOf = (
  stage: StageName,
  words: readonly string[],
) => Promise<{ readonly config: unknown; readonly file: string | undefined }>;

/** Commands that end without being stopped. */
const SUBMITTED = ['harvest', 'train', 'sweep', 'eval', 'features', 'report'] as const;

const isSubmitted = (name: string | undefined): name is (typeof SUBMITTED)[number] =>
  SUBMITTED.some((one) => one === name);

/**
 * The work to submit: the command after --, whose flags are validated now rather than hours later on a node, or the
 * stages of a sweep.
 *
 * @throws UsageRefusal
 */
export async function submittedWork(submitted: SubmitConfig, configOf: ConfigOf): Promise<Work[]> {
  const works = await worksOf(submitted, configOf);
  checkStages(
    submitted,
    works.map(({ name }) => name),
  );
  return works;
}

async function worksOf(submitted: SubmitConfig, configOf: ConfigOf): Promise<Work[]> {
  const { command, chain, array } = submitted;
  if (command !== undefined && chain !== undefined) throw notBoth('A command and --chain exclude each other.');
  if (chain !== undefined) return chainOfTasks(sweepOf(chain), submitted);
  if (command === undefined) throw notBoth('No command given.');
  const [stage, ...words] = command;
  if (!isSubmitted(stage)) {
    throw new UsageRefusal(`${stage} cannot be submitted.`, `Give ${listed(SUBMITTED, 'or')}.`, 'submit/not-submitted');
  }
  // With {i} in its words, each task is its own sweep.
  if (stage === 'sweep' && array !== undefined && !words.some((word) => word.includes(TASK))) {
    const { config, file } = await configOf(stage, words);
    return chainOfTasks({ config: config as SweepConfig, file, words }, submitted);
  }
  return [await checkedWork(stage, words, array, configOf)];
}

/** @throws UsageRefusal if --array would divide none of the jobs */
function chainOfTasks(sweep: Parameters<typeof chainOf>[0], submitted: SubmitConfig): Work[] {
  const works = chainOf(sweep, tasksOfStages(submitted));
  if (submitted.array === undefined || works.some(({ tasks }) => tasks !== undefined)) return works;
  throw new UsageRefusal(
    `--array ${submitted.array} divides the training of a sweep, but only ${listed(works.map(({ name }) => name!))} is submitted.`,
    'Omit --array, or divide the harvest with stages.harvest.array in the section submit of the file.',
    'submit/array-without-task',
  );
}

const notBoth = (message: string) =>
  new UsageRefusal(
    message,
    'Write the command after --, as in: sae-pipe submit slurm --time 60 -- harvest …; or --chain with the file of a sweep.',
    'submit/chain-and-command',
  );

/** Checks where a command writes. */
interface Written {
  readonly out: string;
  readonly overwrite?: boolean;
  readonly shard?: string;
}

async function checkedWork(
  stage: StageName,
  words: readonly string[],
  array: number | undefined,
  configOf: ConfigOf,
): Promise<Work> {
  const tasks = array ?? 1;
  const written = async (of: readonly string[], task: number) =>
    (await configOf(stage, wordsOfTask(of, task, tasks))).config as Written;
  const first = await written(words, 0);
  const { out, overwrite = false } = first;
  if (words.some((word) => word === '-' || word.endsWith('=-'))) {
    throw new UsageRefusal(
      '- is a pipe from or to another command, which a job does not have.',
      'Name a file or a directory.',
      'submit/not-submitted',
    );
  }
  if (array === undefined) return { stage, words, out, overwrite };
  const own = inParts(stage, words, first) ? [...words, '--shard', `${TASK}/${TASKS}`] : words;
  const second = await written(own, 1);
  // Parts of a harvest, and shares of a sweep, write to one place.
  if (second.out === out && !isOtherShard(first, second)) {
    throw new UsageRefusal(
      `All tasks of --array ${array} would write to ${out}.`,
      `Write ${TASK} where the number of the task belongs, in --out too: --seed ${TASK} --out runs/seed-${TASK}.`,
      'submit/array-without-task',
    );
  }
  return { stage, words: own, out: words[outAt(words)]?.replace(/^--out=/, '') ?? out, overwrite, tasks };
}

/** A harvest whose words are the same for all tasks: each task takes a part. */
const inParts = (stage: StageName, words: readonly string[], { shard }: Written): boolean =>
  stage === 'harvest' && shard === undefined && !words.some((word) => word.includes(TASK));

/** Does every task get its own shard? `auto` is resolved within the task. */
const isOtherShard = (one: Written, other: Written): boolean =>
  other.shard !== undefined && (other.shard !== one.shard || other.shard.startsWith('auto'));

/** Positions of the value of --out in a command's words. */
function outAt(words: readonly string[]): number {
  const at = words.indexOf('--out');
  return at >= 0 ? at + 1 : words.findIndex((word) => word.startsWith('--out='));
}
