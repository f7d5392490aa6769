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
  /** Whether texts begin with BOS, if the caller said so; takes precedence over an SAE's training. */
  readonly prependBos: boolean | undefined;
}

/** Min tokens that a graph has room for; larger graphs use powers of two, so that the next text can reuse them. */
const LEAST_ROOM = 32;

/** An open session and its key. */
interface Keyed<T> {
  readonly key: string;
  readonly opened: T;
}

/** Open sessions of a model: the most recently used one for each kind of graph. */
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

  /** Runs `work` after all earlier work: an open session handles one call at a time. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.before.then(work);
    // Its result belongs to the caller, and is not kept.
    this.before = turn.then(
      () => {},
      () => {},
    );
    return turn;
  }

  /**
   * The values of hooks at every token, by name. Calls must not overlap.
   *
   * @throws Refusal if a value is not finite
   */
  async read(tokens: Int32Array, hooks: readonly Hook[]): Promise<Map<string, Activations>> {
    const { maxContext } = this.model.checkpoint.config;
    const room = Math.min(maxContext, 2 ** Math.ceil(Math.log2(Math.max(LEAST_ROOM, tokens.length))));
    const pass = await this.passFor(hooks, room);
    // Causal attention: padding after the tokens does not change them, and gives no rows.
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
   * The session for texts of up to `longest` tokens with these SAEs in the model. Calls must not overlap.
   *
   * @param errorTerm whether to keep what the SAEs do not reconstruct
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

  /** @throws Refusal if the SAE belongs to another model or hook */
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
   * Whether a text for these SAEs begins with BOS: as the caller said, otherwise as in training.
   *
   * @throws Refusal if they disagree and the caller did not say
   */
  bosFor(saes: readonly Candidate[]): boolean {
    const { model, settings } = this;
    if (settings.prependBos !== undefined || saes.length === 0) return model.tokenizer.prependBos;
    sharedBos(saes, model.checkpoint.config);
    const said = saes.map(({ files }) => files.metadata.prepend_bos).find((bos) => bos !== undefined);
    return said ?? model.tokenizer.prependBos;
  }

  /**
   * The model, with or without BOS at the beginning of its texts.
   *
   * @throws Refusal if BOS is required but its tokenizer has none
   */
  withBos(prependBos: boolean): TextModel {
    const { tokenizer, directory } = this.model;
    if (prependBos && tokenizer.bosTokenId < 0) {
      throw new Refusal(
        `The tokenizer in ${directory} has no BOS token, with which texts should begin.`,
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
