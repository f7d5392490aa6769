import type { Context, LeftOut } from '../corpus/contexts.js';
import { isLeftOut, leftOutTokens } from '../corpus/contexts.js';
import { openTokenizer, type Tokenizer } from '../corpus/tokenizer.js';
import { type Encoder, openEncoder } from '../features/encoder.js';
import type { FeaturesOfSae } from '../features/folder.js';
import { strongestFeatures } from '../features/strongest.js';
import { type ForwardPass, openForwardPass } from '../harvest/forward-pass.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import { findHook } from '../lm/hooks.js';
import { openSameSae } from '../sae/saelens.js';
import type { TextRequest } from './api.js';
import { bosOf, checkSameSae, directoryOfSae, type ModelSettings, openExploredModel } from './explored-model.js';

/** The results for a text, in numeric form. */
export interface TriedText {
  readonly tokens: readonly number[];
  readonly counted: readonly boolean[];
  readonly cut: boolean;
  readonly saes: readonly {
    readonly sae: string;
    /** Positions left out because of their norm. */
    readonly long: readonly number[];
    readonly top: readonly (readonly [feature: number, value: number][])[];
  }[];
  readonly heat: readonly number[] | null;
}

/** Context lengths, one of which fits most texts: a pass costs as much as its context, however short the text. */
const SHORT = 128;
/** Features per token by default. */
const USUAL_COUNT = 5;

/** A model for running texts, up to the SAEs' hooks; each SAE is opened on first use. */
export class TriedModel {
  private pass: { readonly context: number; readonly run: ForwardPass } | undefined;
  private readonly encoders = new Map<string, Promise<Encoder>>();

  private constructor(
    private readonly settings: ModelSettings,
    private readonly checkpoint: Checkpoint,
    private readonly tokenizer: Tokenizer,
    private readonly leftOut: LeftOut,
  ) {}

  /** @throws Refusal if the model cannot be opened, or is not the one that the features were collected from */
  static async open(settings: ModelSettings): Promise<TriedModel> {
    const { directory, record } = settings;
    const checkpoint = await openExploredModel(settings);
    const { bosTokenId, vocabulary, special } = checkpoint.config;
    const tokenizer = await openTokenizer(directory, { bosTokenId, vocabulary, special, bos: bosOf(record) });
    const leftOut = leftOutTokens(record.prepend_bos ? tokenizer.bosTokenId : null, record.exclude_special_tokens);
    return new TriedModel(settings, checkpoint, tokenizer, leftOut);
  }

  /**
   * @throws Refusal if an SAE is missing, or has changed since its features were collected
   */
  async run({ text, saes, count = USUAL_COUNT, feature }: TextRequest): Promise<TriedText> {
    const { record } = this.settings;
    const asked = record.saes.filter(({ folder }) => saes?.includes(folder) ?? true);
    const heated = record.saes.find(({ folder }) => folder === feature?.sae);
    const encoded = this.encode(text);
    const all = [...new Set([...asked, ...(heated ? [heated] : [])])];
    const x = await this.activations(encoded.tokens);
    const found = new Map<FeaturesOfSae, SaeFinding>();
    for (const sae of all) {
      const { rows, norms } = x.get(sae.hook)!;
      const finding = new SaeFinding(
        { counted: encoded.counted, long: longRows(norms, sae.norm_limit) },
        sae.d_sae,
        asked.includes(sae) ? count : 0,
        sae === heated ? feature!.feature : null,
      );
      const encoder = await this.encoder(sae);
      if (rows.length > 0) await encoder.run(rows, (f, first) => finding.take(f, first));
      found.set(sae, finding);
    }
    return {
      ...encoded,
      saes: asked.map((sae) => {
        const { long, top } = found.get(sae)!;
        return { sae: sae.folder, long, top };
      }),
      heat: heated ? found.get(heated)!.heat : null,
    };
  }

  async close(): Promise<void> {
    await this.pass?.run.release();
    for (const encoder of this.encoders.values()) await (await encoder.catch(() => undefined))?.release();
  }

  /** The tokens of a text that fit in a context, and which of them count. */
  private encode(text: string) {
    const { tokenizer, leftOut } = this;
    const most = Math.min(this.settings.record.context, this.checkpoint.config.maxContext);
    const document = tokenizer.begin('the text');
    const ids = [...document.push(text), ...document.end()].flatMap((part) => [...part]);
    // With the BOS that contexts begin with, as when features are collected.
    if (tokenizer.prependBos && ids[0] !== tokenizer.bosTokenId) ids.unshift(tokenizer.bosTokenId);
    const tokens = ids.slice(0, most);
    return { tokens, counted: tokens.map((token) => !isLeftOut(token, leftOut)), cut: ids.length > most };
  }

  /** x of the counted tokens at each hook, by name: float32 [tokens, width]; and |x| of each. */
  private async activations(tokens: readonly number[]): Promise<Map<string, HookRows>> {
    const { leftOut } = this;
    const hooks = this.hooks();
    const counted = tokens.filter((token) => !isLeftOut(token, leftOut)).length;
    const none = new Float32Array(0);
    if (counted === 0) return new Map(hooks.map(({ name }) => [name, { rows: none, norms: none }]));
    const { context, run } = await this.passFor(tokens.length);
    // Causal attention: padding after the tokens does not change them; the limit excludes it.
    const filled = Int32Array.from({ length: context }, (_, i) => tokens[i] ?? tokens[0]!);
    const padded: Context = { index: 0, tokens: filled, documents: new Uint32Array(context) };
    const { rows, norms } = await run.run([padded], leftOut, counted);
    return new Map(hooks.map(({ name }, i) => [name, { rows: rows[i]!.activation as Float32Array, norms: norms[i]! }]));
  }

  private hooks() {
    const names = new Set(this.settings.record.saes.map(({ hook }) => hook));
    return [...names].map((name) => findHook(name, this.checkpoint.config));
  }

  private async passFor(length: number) {
    const longest = Math.min(this.settings.record.context, this.checkpoint.config.maxContext);
    const context = length <= SHORT ? Math.min(SHORT, longest) : longest;
    if (this.pass?.context === context) return this.pass;
    const before = this.pass;
    this.pass = undefined;
    await before?.run.release();
    const { device, precision, threads } = this.settings;
    const run = await openForwardPass(this.checkpoint, this.hooks(), context, {
      dtype: 'float32',
      device,
      precision,
      threads,
    });
    this.pass = { context, run };
    return this.pass;
  }

  private encoder(sae: FeaturesOfSae): Promise<Encoder> {
    const opened = this.encoders.get(sae.folder) ?? this.openEncoder(sae);
    this.encoders.set(sae.folder, opened);
    opened.catch(() => this.encoders.delete(sae.folder));
    return opened;
  }

  private async openEncoder(sae: FeaturesOfSae): Promise<Encoder> {
    const directory = await directoryOfSae(this.settings, sae);
    const { files, unchanged } = await openSameSae(directory, 'transcoder');
    checkSameSae(directory, unchanged.digest, sae);
    return openEncoder(files, this.settings);
  }
}

/** Activations at a hook, and their norms. */
interface HookRows {
  readonly rows: Float32Array;
  readonly norms: Float32Array;
}

/** Rows left out because of their norm. */
function longRows(norms: Float32Array, limit: FeaturesOfSae['norm_limit']): number[] {
  if (!limit) return [];
  return [...norms.keys()].filter((row) => norms[row]! > limit.multiple * limit.median);
}

/** The strongest features at each token, and one feature at all tokens. */
class SaeFinding {
  readonly top: [number, number][][];
  readonly heat: number[];
  /** Positions left out because of their norm. */
  readonly long: number[];
  private readonly positions: number[];

  /** @param tokens which count, and which of the counted ones are too long, by index among them */
  constructor(
    { counted, long }: { readonly counted: readonly boolean[]; readonly long: readonly number[] },
    private readonly dSae: number,
    private readonly count: number,
    private readonly heated: number | null,
  ) {
    this.top = counted.map(() => []);
    this.heat = counted.map(() => 0);
    this.positions = counted.flatMap((counts, position) => (counts ? [position] : []));
    this.long = long.map((row) => this.positions[row]!);
  }

  /** Adds f [rows, d_sae] of the counted tokens, from `first` on. */
  take(f: Float32Array, first: number): void {
    for (let row = 0; row < f.length / this.dSae; row++) {
      const position = this.positions[first + row]!;
      if (this.long.includes(position)) continue;
      const values = f.subarray(row * this.dSae, (row + 1) * this.dSae);
      if (this.heated !== null) this.heat[position] = values[this.heated]!;
      if (this.count > 0) this.top[position] = strongestFeatures(values, this.count);
    }
  }
}
