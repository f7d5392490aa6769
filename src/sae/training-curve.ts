import { piecesOfFile } from '../disk/input-file.js';
import { parseJson } from '../disk/json.js';
import { formatBytes } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';

/** Name of the training curve beside the SAE. */
export const METRICS_FILE = 'metrics.jsonl';

/**
 * One line of metrics.jsonl. Values are means over the steps since the line before, except dead_fraction (as it stood
 * at `step`) and lr (of `step`).
 */
export interface MetricsRecord {
  /** Steps done. */
  step: number;
  /** Activations seen. */
  tokens: number;
  /** mse + l1 + aux, on normalised activations. */
  loss: number;
  /** Mean |x − x̂|², summed over d_in. */
  mse: number;
  /** λ · mean Σ_j ReLU(π_gate)_j (gated) or λ · mean Σ_j f_j (standard, --ablate l1-on-f). */
  l1: number;
  /** Mean |x − x̂_frozen(ReLU(π_gate))|²; 0 for standard and with --ablate no-auxiliary. */
  aux: number;
  /** Mean number of active features. */
  l0: number;
  /** 1 − Σ|x − x̂|² / Σ|x − x̄|²; null where the activations of each batch are all alike (batches of one), or so large that no float32 holds their variance. */
  explained_variance: number | null;
  /** Share of features that fired on none of the last dead-window activations; null while the run has seen fewer. */
  dead_fraction: number | null;
  lr: number;
  /** Dead features resampled since the line before, where there were any. */
  resampled?: number;
  /** Activations a second since the line before. */
  tokens_per_second: number;
}

/** Bytes of a curve, at most: a million lines. */
export const MOST_CURVE = 2 ** 28;
/** Bytes of a line, at most; ours have 300. */
const MOST_LINE = 2 ** 14;
/** Nothing that is measured is larger. */
const RANGE = 1e100;

const NUMBER = (value: unknown) => value === null || (typeof value === 'number' && Math.abs(value) < RANGE);
const COUNT = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;

/** The keys of a line, and what they hold. */
const KEYS: Readonly<Record<keyof MetricsRecord, (value: unknown) => boolean>> = {
  step: COUNT,
  tokens: COUNT,
  loss: NUMBER,
  mse: NUMBER,
  l1: NUMBER,
  aux: NUMBER,
  l0: NUMBER,
  explained_variance: NUMBER,
  dead_fraction: NUMBER,
  lr: NUMBER,
  resampled: COUNT,
  tokens_per_second: NUMBER,
};

/**
 * The lines of a metrics.jsonl written anew: an SAE may be a stranger's, and its curve a link to any file, so nothing of
 * the file is copied but numbers under the keys that training writes. A torn last line is left out.
 *
 * @param steps of the SAE, where they are known: while it is trained further its curve is longer, and it is not of those
 *   steps yet
 * @throws Refusal where it is not such a curve, naming the line
 */
export async function copiedCurve(path: string, steps = Number.POSITIVE_INFINITY): Promise<string> {
  const copied: Copied[] = [];
  let [rest, bytes, number] = ['', 0, 0];
  const broken = (what: string) =>
    new Refusal(`${path}, line ${number}, ${what}.`, 'Restore or remove the curve that training wrote.');
  const decoder = new TextDecoder();
  for await (const piece of piecesOfFile(path, 2 ** 16)) {
    bytes += piece.length;
    if (bytes > MOST_CURVE) throw broken(`is beyond ${formatBytes(MOST_CURVE)}`);
    const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      number++;
      if (line.trim() === '') continue;
      const copy = line.length > MOST_LINE ? undefined : copiedLine(line);
      if (copy === undefined) throw broken('is not a line that training writes');
      copied.push(copy);
    }
    if (rest.length > MOST_LINE) {
      number++;
      throw broken('is not a line that training writes');
    }
  }
  return copied
    .filter(({ step }) => step <= steps)
    .map(({ text }) => `${text}\n`)
    .join('');
}

/** A line written anew. */
interface Copied {
  readonly step: number;
  readonly text: string;
}

/** The numbers of a line as JSON, in their order; undefined where one is missing, or is not a number. */
function copiedLine(line: string): Copied | undefined {
  let json: unknown;
  try {
    json = parseJson(line);
  } catch {
    return undefined;
  }
  if (json === null || typeof json !== 'object' || Array.isArray(json)) return undefined;
  const found = Object.entries(json).filter(([key]) => Object.hasOwn(KEYS, key));
  const wanted = Object.keys(KEYS).filter((key) => key !== 'resampled');
  if (!wanted.every((key) => Object.hasOwn(json, key))) return undefined;
  if (!found.every(([key, value]) => KEYS[key as keyof MetricsRecord](value))) return undefined;
  return { step: (json as Record<'step', number>).step, text: JSON.stringify(Object.fromEntries(found)) };
}
