import { z } from 'zod';
import { piecesOfFile } from '../disk/input-file.js';
import { type EveryKey, parseJson } from '../disk/json.js';
import { formatBytes } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';

/** Name of the training curve next to the SAE. */
export const METRICS_FILE = 'metrics.jsonl';

/** No measured value is larger, or smaller and nonzero: axes spanning the entire range of doubles overflow. */
export const RANGE = 1e100;

const count = z.int().nonnegative();

/** A value that is null in the file if unknown, since JSON has no NaN; NaN once read. */
const measured = z
  .number()
  .refine((value) => Math.abs(value) < RANGE, 'not a plausible value')
  .nullable()
  // A smaller --lr or --l1 would train nothing.
  .transform((value) => (value === null ? Number.NaN : Math.abs(value) > 1 / RANGE ? value : 0));

/**
 * One line of metrics.jsonl. Values are means over the steps since the previous line, except dead_fraction, lr and
 * lambda (values at `step`).
 */
export const metricsLine = z.object({
  /** Steps done. */
  step: count,
  /** Activations seen. */
  tokens: count,
  /** mse + l1 + aux, on normalised activations. */
  loss: measured,
  /** Mean |x − x̂|², summed over d_in. */
  mse: measured,
  /** λ · mean Σ_j ReLU(π_gate)_j (gated) or λ · mean Σ_j f_j (standard, --ablate l1-on-f). */
  l1: measured,
  /** Mean |x − x̂_frozen(ReLU(π_gate))|²; 0 for standard and with --ablate no-auxiliary. */
  aux: measured,
  /** Mean number of active features. */
  l0: measured,
  /**
   * 1 − Σ|x − x̂|² / Σ|x − x̄|²; null if the activations of each batch are all equal (batches of one), or their
   * variance overflows float32.
   */
  explained_variance: measured,
  /** Share of features that did not fire on the last dead-window activations; null until the run has seen that many. */
  dead_fraction: measured,
  lr: measured,
  /** λ at `step`, if it is adjusted to --l0; in the engines' convention. */
  lambda: measured.optional(),
  /** Dead features resampled since the previous line, if any. */
  resampled: count.optional(),
  /** Activations per second since the previous line. */
  tokens_per_second: measured,
});

/** A line as written: null for unknown values. */
export type MetricsLine = EveryKey<z.input<typeof metricsLine>>;
/** A line as read: NaN for unknown values. */
export type MetricsRecord = z.output<typeof metricsLine>;

/** Max bytes of a curve: a million lines. */
const MOST_CURVE = 2 ** 28;
/** Max bytes of a line; ours have 300. */
const MOST_LINE = 2 ** 14;

/**
 * Reads a metrics.jsonl. An SAE may be a stranger's, and its curve a link to any file, so only numbers under the keys
 * written by training are kept. A torn last line, left by a killed run, is dropped.
 *
 * @throws Refusal if it is not such a curve, naming the line
 */
export async function readCurve(path: string): Promise<MetricsRecord[]> {
  const curve: MetricsRecord[] = [];
  for await (const { record } of recordsOf(path)) curve.push(record);
  return curve;
}

/**
 * Re-serialises the lines of a metrics.jsonl, byte-identical to those training wrote.
 *
 * @param steps of the SAE, if known: while it is being trained further, its curve is longer than the SAE's own steps
 * @throws Refusal as readCurve does
 */
export async function copiedCurve(path: string, steps = Number.POSITIVE_INFINITY): Promise<string> {
  const lines: string[] = [];
  for await (const { record, keys } of recordsOf(path)) {
    const inOrder = keys
      .filter((key) => Object.hasOwn(record, key))
      .map((key) => [key, record[key as keyof MetricsRecord]]);
    if (record.step <= steps) lines.push(`${JSON.stringify(Object.fromEntries(inOrder))}\n`);
  }
  return lines.join('');
}

/** The lines of a curve, each with its keys in the file's order. */
async function* recordsOf(path: string): AsyncGenerator<{ record: MetricsRecord; keys: string[] }> {
  let number = 0;
  for await (const { text, ended } of linesOf(path)) {
    number++;
    if (text.trim() === '') continue;
    const json = parsedOrUndefined(text);
    if (json === undefined && !ended && number > 1) continue;
    const parsed = metricsLine.safeParse(json);
    if (!parsed.success) {
      const { path: key, message } = parsed.error.issues[0]!;
      throw notACurve(
        path,
        number,
        json === undefined ? 'not valid JSON' : `${key.join('.') || 'the line'}: ${message}`,
      );
    }
    yield { record: parsed.data, keys: Object.keys(json as object) };
  }
}

function notACurve(path: string, line: number, why: string): Refusal {
  return new Refusal(
    `${path}, line ${line}, is not a valid line of a training curve (${why}).`,
    'Restore the original curve, or remove the file.',
    'sae/broken-curve',
  );
}

function parsedOrUndefined(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

/** The lines of a file of bounded size; `ended` is false if the last has no newline. */
async function* linesOf(path: string): AsyncGenerator<{ text: string; ended: boolean }> {
  let [rest, bytes, number] = ['', 0, 1];
  const decoder = new TextDecoder();
  for await (const piece of piecesOfFile(path, 2 ** 16)) {
    bytes += piece.length;
    const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
    rest = lines.pop()!;
    for (const text of lines) {
      if (text.length > MOST_LINE) throw notACurve(path, number, 'it is too long');
      yield { text, ended: true };
      number++;
    }
    if (rest.length > MOST_LINE) throw notACurve(path, number, 'it is too long');
    if (bytes > MOST_CURVE) throw notACurve(path, number, `the file is larger than ${formatBytes(MOST_CURVE)}`);
  }
  if (rest !== '') yield { text: rest, ended: false };
}
