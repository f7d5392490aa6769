import { dirname, join } from 'node:path';
import { z } from 'zod';
import { JsonLines } from '../disk/growing-file.js';
import { parseJson, readTextFile } from '../disk/json.js';
import { requireStillOwner } from '../disk/lock.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import { LABELS_FILE } from '../features/folder.js';
import { type FeatureLabel, MOST_LABEL, MOST_NOTE } from './api.js';
import type { LabelView } from './query.js';

/** Max bytes of labels.jsonl. */
const MOST_LABELS = 2 ** 28;

const labelLine = z.object({
  feature: z.number().int().nonnegative(),
  label: z.string().max(MOST_LABEL).nullable(),
  note: z.string().max(MOST_NOTE).nullable(),
  source: z.string().max(MOST_LABEL).nullable().default(null),
  /** When it was given, for display. */
  time: z.string().max(64).optional(),
});
type LabelLine = z.infer<typeof labelLine>;

/** The fields of a label that are given; surrounding white space is dropped. */
export type GivenLabel = Pick<FeatureLabel, 'feature' | 'label' | 'note'> & Partial<Pick<FeatureLabel, 'source'>>;

/** The labels of an SAE, in memory and on disk. */
export class LabelFile implements LabelView {
  version = 0;
  private readonly labels = new Map<number, FeatureLabel>();
  private lines: JsonLines<LabelLine> | undefined;
  /** Pending write: lines are written one after another. */
  private writing: Promise<unknown> = Promise.resolve();

  private constructor(private readonly path: string) {}

  /**
   * Reads the labels of an SAE; nothing is written before a label is given.
   *
   * @param directory the SAE's directory in the folder
   * @throws Refusal naming a line that is not a label, or refers to a feature that does not exist
   */
  static async read(directory: string, features: number): Promise<LabelFile> {
    const file = new LabelFile(join(directory, LABELS_FILE));
    const { lines } = await readLines(file.path);
    for (const [i, line] of lines.entries()) {
      if (line.feature >= features) {
        throw new Refusal(
          `${file.path}:${i + 1} labels feature ${line.feature}, but the SAE has only ${features} features.`,
          'Move the file to the features it belongs to, or delete that line.',
          'explore/label-without-feature',
        );
      }
      file.take(line);
    }
    return file;
  }

  get byFeature(): ReadonlyMap<number, FeatureLabel> {
    return this.labels;
  }

  /** All labels, by feature. */
  all(): FeatureLabel[] {
    return [...this.labels.values()].sort((a, b) => a.feature - b.feature);
  }

  /**
   * Saves labels durably: they survive a power failure once this resolves. Only to be called by the owner of the
   * folder's lock.
   *
   * @throws Refusal if they cannot be written; none of them counts then
   */
  save(given: readonly GivenLabel[]): Promise<FeatureLabel[]> {
    const saved = this.writing.then(() => this.append(given));
    this.writing = saved.catch(() => {});
    return saved;
  }

  /** Ends writing; earlier labels are saved. */
  async close(): Promise<void> {
    await this.writing;
    await this.lines?.close();
    this.lines = undefined;
  }

  private async append(given: readonly GivenLabel[]): Promise<FeatureLabel[]> {
    // The lock is on the folder, which contains a directory for each SAE.
    await requireStillOwner(dirname(dirname(this.path)));
    this.lines ??= await openLines(this.path);
    const time = new Date().toISOString();
    const taken: LabelLine[] = given.map(({ feature, label, note, source = null }) => {
      return { feature, label: tidy(label), note: tidy(note), source, time };
    });
    await this.lines.appendAll(taken);
    await this.lines.sync();
    return taken.map((line) => this.take(line));
  }

  private take({ feature, label, note, source }: LabelLine): FeatureLabel {
    const taken = { feature, label, note, source };
    if (label === null && note === null) this.labels.delete(feature);
    else this.labels.set(feature, taken);
    this.version++;
    return taken;
  }
}

/** Text without surrounding white space; null if nothing is left. */
const tidy = (text: string | null) => text?.trim() || null;

/** The lines of a labels file, and whether text after the last of them is torn, or only lacks its newline. */
async function readLines(path: string): Promise<{ lines: LabelLine[]; end: 'whole' | 'open' | 'torn' }> {
  const text = (await readTextFile(path, 'Move it elsewhere, or fix it.', MOST_LABELS)) ?? '';
  const pieces = text.split('\n');
  const last = pieces.pop()!;
  const lines = pieces.map((piece, i) => {
    const line = lineIn(piece);
    if (line) return line;
    throw new Refusal(`${path}:${i + 1} is not a label.`, 'Fix or delete that line.', 'explore/broken-label');
  });
  const torn = last.trim() === '' ? undefined : lineIn(last);
  // A last line without a newline counts if it is a valid label, and is dropped if a power failure cut it short.
  if (torn) lines.push(torn);
  return { lines, end: last === '' ? 'whole' : torn ? 'open' : 'torn' };
}

function lineIn(text: string): LabelLine | undefined {
  try {
    return labelLine.parse(parseJson(text));
  } catch {
    return undefined;
  }
}

async function openLines(path: string): Promise<JsonLines<LabelLine>> {
  const { lines, end } = await readLines(path);
  if (end === 'open') await writeAside(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return JsonLines.open<LabelLine>(path, { keep: () => true });
}
