import { type Context, leftOutTokens } from '../corpus/contexts.js';
import { Refusal } from '../errors/refusal.js';
import { type Candidate, openCandidate, sharedBos } from '../eval/candidates.js';
import type { TextModel } from '../generate/prompts.js';
import { Stepper } from '../generate/stepper.js';
import { type ForwardPass, openForwardPass } from '../harvest/forward-pass.js';
import type { Hook } from '../lm/hooks.js';
import type { Placement } from '../lm/placement.js';
import { Activations } from './activations.js';
import type { SAE } from './sae.js';

/** How a model is run. */
interface SessionSettings {
  readonly placement: Placement;
  readonly threads: number;
  /** Whether texts begin with BOS, where the caller said so; it then goes before what an SAE was trained with. */
  readonly prependBos: boolean | undefined;
}

/** Tokens that an open pass has room for, at least; more are a power of two, so that the next text finds one open. */
const LEAST_ROOM = 32;

/** A key of what is open, and it. */
interface Keyed<T> {
  readonly key: string;
  readonly opened: T;
}

/** What is open of a model: of each kind of graph the one that was used last. */
export class ModelSession {
  private pass: Keyed<ForwardPass> | undefined;
  private stepper: Keyed<Stepper> | undefined;
  private readonly fitted = new WeakMap<SAE, Promise<Candidate>>();
  private readonly numbers = new WeakMap<SAE, number>();
  private saes = 0;
  private before: Promise<unknown> = Promise.resolve();

  constructor(
    readonly model: TextModel,
    readonly settings: SessionSettings,
  ) {}

  /** Does `work` when all before it is done: what is open is for one at a time. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.before.then(work);
    // What it came to is the caller's, and not kept.
    this.before = turn.then(
      () => {},
      () => {},
    );
    return turn;
  }

  /**
   * The values of hooks at every token, by name; to be called in turn.
   *
   * @throws Refusal where a value is not finite
   */
  async read(tokens: Int32Array, hooks: readonly Hook[]): Promise<Map<string, Activations>> {
    const { maxContext } = this.model.checkpoint.config;
    const room = Math.min(maxContext, 2 ** Math.ceil(Math.log2(Math.max(LEAST_ROOM, tokens.length))));
    const pass = await this.passFor(hooks, room);
    // What follows a token does not change it: what is filled up gives no rows.
    const padded: Context = {
      index: 0,
      tokens: Int32Array.from({ length: room }, (_, i) => tokens[i] ?? tokens[0]!),
      documents: new Uint32Array(room),
      counted: Uint8Array.from({ length: room }, (_, i) => (i < tokens.length ? 1 : 0)),
    };
    const { rows } = await pass.run([padded], leftOutTokens(null), tokens.length);
    return new Map(
      hooks.map(({ name, width }, i) => [name, new Activations(rows[i]!.activation as Float32Array, width)]),
    );
  }

  private async passFor(hooks: readonly Hook[], room: number): Promise<ForwardPass> {
    const key = [room, ...hooks.map(({ name }) => name)].join();
    if (this.pass?.key === key) return this.pass.opened;
    const { threads, placement } = this.settings;
    await this.releasePass();
    const opened = await openForwardPass(this.model.checkpoint, hooks, room, {
      ...{ dtype: 'float32', threads, ...placement },
    });
    this.pass = { key, opened };
    return opened;
  }

  /**
   * What continues texts of up to `longest` tokens with these SAEs in the model; to be called in turn.
   *
   * @param errorTerm does what the SAEs do not reconstruct stay?
   */
  async stepperFor(longest: number, saes: readonly SAE[], errorTerm: boolean): Promise<Stepper> {
    const room = Math.min(this.model.checkpoint.config.maxContext, 2 ** Math.ceil(Math.log2(longest)));
    const key = [room, errorTerm, ...saes.map((sae) => this.numberOf(sae))].join();
    if (this.stepper?.key === key) return this.stepper.opened;
    const { threads, placement } = this.settings;
    const steered = await Promise.all(saes.map((sae) => this.fit(sae)));
    await this.releaseStepper();
    const opened = await Stepper.open(this.model.checkpoint, {
      ...{ placement, longest: room, threads },
      saes: steered.map(({ files, hook, input }) => ({ files, hook, input, errorTerm })),
    });
    this.stepper = { key, opened };
    return opened;
  }

  /** @throws Refusal where the SAE belongs to another model or hook */
  fit(sae: SAE): Promise<Candidate> {
    const { name, files, options, cfg } = sae;
    const { checkpoint } = this.model;
    const asked = { hook: cfg.hookName, model: checkpoint.name, anyModel: options.anyModel ?? false };
    const found = this.fitted.get(sae) ?? openCandidate(name, asked, checkpoint, files.directory);
    this.fitted.set(sae, found);
    found.catch(() => this.fitted.delete(sae));
    return found;
  }

  /**
   * Whether a text that these SAEs read begins with BOS: as the caller said, or else as they were trained.
   *
   * @throws Refusal where they disagree, and the caller did not say
   */
  bosFor(saes: readonly Candidate[]): boolean {
    const { model, settings } = this;
    if (settings.prependBos !== undefined || saes.length === 0) return model.tokenizer.prependBos;
    sharedBos(saes, model.checkpoint.config);
    const said = saes.map(({ files }) => files.metadata.prepend_bos).find((bos) => bos !== undefined);
    return said ?? model.tokenizer.prependBos;
  }

  /**
   * The model, its texts begun with BOS or not.
   *
   * @throws Refusal where its tokenizer has no BOS to begin with
   */
  withBos(prependBos: boolean): TextModel {
    const { tokenizer, directory } = this.model;
    if (prependBos && tokenizer.bosTokenId < 0) {
      throw new Refusal(
        `The tokenizer in ${directory} has no BOS token, and texts are to begin with it.`,
        'Open the model with prependBos: false.',
        'corpus/other-tokenizer',
      );
    }
    return { ...this.model, tokenizer: { ...tokenizer, prependBos } };
  }

  async release(): Promise<void> {
    await this.releasePass();
    await this.releaseStepper();
  }

  private async releasePass(): Promise<void> {
    const { pass } = this;
    this.pass = undefined;
    await pass?.opened.release();
  }

  private async releaseStepper(): Promise<void> {
    const { stepper } = this;
    this.stepper = undefined;
    await stepper?.opened.release();
  }

  private numberOf(sae: SAE): number {
    const number = this.numbers.get(sae) ?? this.saes++;
    this.numbers.set(sae, number);
    return number;
  }
}
