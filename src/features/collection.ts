import { createHash } from 'node:crypto';
import type { NormLimit } from '../activations/manifest.js';
import { type Context, countActivations, type LeftOut } from '../corpus/contexts.js';
import { Refusal } from '../errors/refusal.js';
import type { Candidate } from '../eval/candidates.js';
import type { ForwardPass } from '../harvest/forward-pass.js';
import type { SessionOptions } from '../onnx/session.js';
import { CofiringSample, samplingStep } from './cofiring.js';
import { type Encoder, openEncoder } from './encoder.js';
import { Entries, SortedEntries, scanRows } from './entries.js';
import { FILE_FEATURES } from './folder.js';
import { type ExampleSettings, Tally } from './tally.js';

/** Everything collected for one SAE. */
export class SaeCollection {
  /** The i-th contains features [i · FILE_FEATURES, (i + 1) · FILE_FEATURES). */
  readonly tallies: readonly Tally[];
  readonly sample: CofiringSample;
  /** Positions that do not count only because of their norm. */
  leftOut = 0;
  private readonly entries = new Entries();
  private readonly sorted: SortedEntries;

  constructor(
    readonly candidate: Candidate,
    settings: ExampleSettings,
    private readonly limit?: NormLimit,
  ) {
    const { dSae } = candidate.files;
    this.tallies = Array.from({ length: Math.ceil(dSae / FILE_FEATURES) }, (_, i) => {
      const first = i * FILE_FEATURES;
      return new Tally(first, Math.min(FILE_FEATURES, dSae - first), settings);
    });
    this.sample = new CofiringSample(dSae);
    this.sorted = new SortedEntries(dSae);
  }

  /**
   * Adds a context.
   *
   * @throws Refusal if an f is not finite
   */
  async add(encoder: Encoder, added: AddedContext): Promise<void> {
    const { entries, sorted, candidate } = this;
    const { dSae } = candidate.files;
    const { index, x, positions, counted, sampled } = this.limit ? withoutLong(added, this.limit) : added;
    this.leftOut += added.counted - counted;
    entries.clear();
    await encoder.run(x, (f, firstRow) => scanRows(f, dSae, positions.subarray(firstRow), entries));
    for (let i = 0; i < entries.length; i++) {
      if (!(entries.values[i]! < Number.POSITIVE_INFINITY)) throw notFinite(candidate, index, entries, i);
    }
    sorted.sort(entries);
    const end = counted === positions.length ? Number.POSITIVE_INFINITY : positions[counted]!;
    for (const tally of this.tallies) {
      for (let local = 0; local < tally.features; local++) {
        const feature = tally.first + local;
        const [from, to] = [sorted.starts[feature]!, sorted.starts[feature + 1]!];
        if (from < to) tally.add({ local, feature, context: index, end }, sorted, from, to);
      }
    }
    if (sampled) this.sample.add(entries, positions.subarray(0, counted));
  }
}

/** A context to add. */
interface AddedContext {
  readonly index: number;
  /** float32 [positions, d_in] */
  readonly x: Float32Array;
  /** |x| of each. */
  readonly norms: Float32Array;
  /** Tokens that are not left out and whose x is known. */
  readonly positions: Uint32Array;
  /** The first this many count; the others only appear in windows. */
  readonly counted: number;
  readonly sampled: boolean;
}

/** The context without positions that are too long: like BOS, they neither count nor show an f. */
function withoutLong(added: AddedContext, { multiple, median }: NormLimit): AddedContext {
  const { x, norms, positions, counted } = added;
  const kept = [...norms.keys()].filter((row) => norms[row]! <= multiple * median);
  if (kept.length === norms.length) return added;
  const d = x.length / norms.length;
  const few = new Float32Array(kept.length * d);
  for (const [to, row] of kept.entries()) few.set(x.subarray(row * d, (row + 1) * d), to * d);
  return {
    ...added,
    x: few,
    norms: Float32Array.from(kept, (row) => norms[row]!),
    positions: Uint32Array.from(kept, (row) => positions[row]!),
    counted: kept.filter((row) => row < counted).length,
  };
}

/** Settings of a collection. */
export interface CollectionSettings extends ExampleSettings {
  /** Exact number of positions that count. */
  readonly tokens: number;
  readonly leftOut: LeftOut;
  /** Which positions each SAE leaves out because of their norm; none if not given. */
  readonly limits?: readonly (NormLimit | undefined)[];
}

/** What one pass over a text collects for SAEs; a function of the contexts, in their order. */
export class Collection {
  /** Positions counted so far. */
  tokens = 0;
  /** Tokens of the contexts so far, 4 bytes per token, for showing examples. */
  readonly contexts: Int32Array[] = [];
  readonly saes: readonly SaeCollection[];
  private readonly hash = createHash('sha256');
  private readonly step: number;

  constructor(
    candidates: readonly Candidate[],
    private readonly settings: CollectionSettings,
  ) {
    this.saes = candidates.map((candidate, k) => new SaeCollection(candidate, settings, settings.limits?.[k]));
    this.step = samplingStep(settings.tokens);
  }

  /** SHA-256 of the contexts so far. */
  get textDigest(): string {
    return this.hash.copy().digest('hex');
  }

  get complete(): boolean {
    return this.tokens >= this.settings.tokens;
  }

  /** Runs contexts through the model and adds the SAEs' features, until enough tokens have counted. */
  async addGroup(group: readonly Context[], pass: ForwardPass, inputs: InputsOf, encoders: readonly Encoder[]) {
    const { leftOut } = this.settings;
    const { rows, norms } = await pass.run(group, leftOut, Number.POSITIVE_INFINITY);
    let from = 0;
    for (const context of group) {
      if (this.complete) return;
      const count = countActivations(context, leftOut);
      const counted = Math.min(count, this.settings.tokens - this.tokens);
      for (const [k, sae] of count === 0 ? [] : this.saes.entries()) {
        const input = inputs(sae.candidate);
        const { activation, pos } = rows[input]!;
        const { dIn } = sae.candidate.files;
        await sae.add(encoders[k]!, {
          index: context.index,
          x: (activation as Float32Array).subarray(from * dIn, (from + count) * dIn),
          norms: norms[input]!.subarray(from, from + count),
          positions: pos.subarray(from, from + count),
          counted,
          sampled: context.index % this.step === 0,
        });
      }
      from += count;
      this.tokens += counted;
      this.addText(context);
    }
  }

  /** Records that a context has been added, in this run or before a stop. */
  addText({ tokens }: Context): void {
    this.contexts.push(tokens);
    this.hash.update(Int32Array.from(tokens));
  }
}

/** Index of the pass's hook that an SAE reads. */
export type InputsOf = (candidate: Candidate) => number;

/** Opens the encoders of SAEs; if one fails, all are closed. */
export async function openEncoders(candidates: readonly Candidate[], options: SessionOptions): Promise<Encoder[]> {
  const encoders: Encoder[] = [];
  try {
    for (const { files } of candidates) encoders.push(await openEncoder(files, options));
    return encoders;
  } catch (error) {
    for (const encoder of encoders) await encoder.release();
    throw error;
  }
}

function notFinite({ path }: Candidate, context: number, { features, positions, values }: Entries, i: number): Refusal {
  return new Refusal(
    `${path} gives ${values[i]} for feature ${features[i]} in context ${context} at position ${positions[i]}.`,
    'Its weights are too large: use another SAE.',
    'features/not-finite',
  );
}
