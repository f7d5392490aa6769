import { Refusal } from '../errors/refusal.js';
import { openCandidate } from '../eval/candidates.js';
import { rowChanges, unchangedRow } from '../generate/changes.js';
import { continueTexts } from '../generate/continuation.js';
import { modelNotFinite } from '../generate/generate.js';
import { openTextModel, promptTokens, type TextModel } from '../generate/prompts.js';
import { tokenChooser } from '../generate/sampling.js';
import type { SteeredSae } from '../generate/steering-graph.js';
import { Stepper } from '../generate/stepper.js';
import { tooStrong } from '../generate/too-strong.js';
import { choosePrecision } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import type { Change } from '../sae/feature-changes.js';
import { type AttributionNews, attributeText, type FoundEffects } from './attributed-text.js';
import type { Audience } from './audience.js';
import { bosOf, checkSameSae, directoryOfSae, type ModelSettings, openExploredModel } from './explored-model.js';
import {
  type AttributeRequest,
  type Both,
  MOST_ATTRIBUTED_TOKENS,
  MOST_PROMPT_TOKENS,
  type SteerEvent,
  type SteeredEnding,
  type SteerRequest,
} from './steering-api.js';

/** Min tokens that a graph has room for; larger graphs use powers of two, so that the next text can reuse them. */
const LEAST_ROOM = 256;

/** The open session for continuing texts with one SAE. */
interface OpenStepper {
  readonly sae: string;
  readonly longest: number;
  readonly stepper: Stepper;
}

type Tell = (event: SteerEvent) => void;

/** A model for continuing texts with features of one SAE changed; SAEs are opened on demand. */
export class SteeredModel {
  private open: OpenStepper | undefined;
  private readonly saes = new Map<string, SteeredSae>();

  private constructor(
    private readonly settings: ModelSettings,
    private readonly model: TextModel,
    private readonly placement: Placement,
  ) {}

  /** @throws Refusal if the model cannot be opened, or is not the one that the features were collected from */
  static async open(settings: ModelSettings): Promise<SteeredModel> {
    const checkpoint = await openExploredModel(settings);
    const model = await openTextModel(checkpoint, bosOf(settings.record));
    return new SteeredModel(settings, model, choosePrecision(settings.precision, settings.device, checkpoint));
  }

  /**
   * Continues a text with and without the changes, sending both as they are generated.
   *
   * @returns why each ended; null if nobody is listening any more
   * @throws Refusal if the text is too long, an SAE has changed, or logits are not finite
   */
  async steer(request: SteerRequest, tell: Tell, audience: Audience): Promise<Both<SteeredEnding> | null> {
    const { model, placement } = this;
    const tokens = this.tokensOf(request);
    const stepper = await this.stepperFor(request.sae, tokens.length + request.tokens, tell, audience);
    if (stepper === null) return null;
    tell({ kind: 'reading' });
    const changes = request.changes.map(
      (change): Change => ({ ...change, sae: 0, strength: change.operation === 'ablate' ? 0 : change.strength }),
    );
    const rows = [unchangedRow(changes, 1), rowChanges(changes, 1, (position) => position >= this.first)];
    const refusals = [modelNotFinite(model.checkpoint.name, placement), tooStrong(changes, [{ path: request.sae }])];
    const { temperature, seed } = request;
    const pieces = ['', ''];
    const continued = await continueTexts(
      stepper,
      rows.map((row, i) => ({
        ...{ tokens, changes: row, notFinite: refusals[i]! },
        // The same random choices for both.
        choose: tokenChooser({ temperature, seed }, 0),
      })),
      {
        ...{ most: request.tokens, ends: model.ends, stops: [], bytes: model.bytes, stop: audience },
        onText: (i, piece) => {
          pieces[i] += piece;
        },
        onStep: (step) => {
          tell({ kind: 'text', tokens: step, unsteered: pieces[0]!, steered: pieces[1]! });
          pieces.fill('');
          audience.hears();
        },
      },
    );
    if (audience.signal !== undefined) return null;
    return { unsteered: continued[0]!.ending, steered: continued[1]!.ending };
  }

  /** First token with features: after a leading BOS. */
  private get first(): number {
    return this.model.tokenizer.prependBos ? 1 : 0;
  }

  async close(): Promise<void> {
    await this.open?.stepper.release();
    this.open = undefined;
  }

  /**
   * Which features contributed to the next-token logit at a token of a text.
   *
   * @returns null if nobody is listening any more
   * @throws Refusal if the text has no such token, or an SAE has changed
   */
  async attribute(
    request: AttributeRequest,
    tell: (news: AttributionNews) => void,
    audience: Audience,
  ): Promise<FoundEffects | null> {
    const { text, sae, at } = request;
    const all = promptTokens(this.model, text);
    const most = Math.min(all.length, MOST_ATTRIBUTED_TOKENS, this.model.checkpoint.config.maxContext);
    if (at >= most) {
      throw new Refusal(
        `The prediction at token ${at} cannot be attributed: the text has ${all.length} tokens, and only those before ${most} can be chosen.`,
        'Choose an earlier token, or shorten the text.',
        'generate/positions',
      );
    }
    tell({ kind: 'opening' });
    // It uses other graphs: close this session first, so that the model is not open twice.
    await this.close();
    const saes = [await this.steeredSae(sae)];
    if (audience.signal !== undefined) return null;
    tell({ kind: 'reading' });
    const { checkpoint } = this.model;
    const { threads } = this.settings;
    const about = { checkpoint, placement: this.placement, threads, saes, tokens: all.slice(0, at + 1) };
    return attributeText(about, this.first, request, tell, audience);
  }

  /** @throws Refusal if there are too many of them */
  private tokensOf({ text, tokens: more }: SteerRequest): number[] {
    const { maxContext } = this.model.checkpoint.config;
    const tokens = promptTokens(this.model, text);
    const most = Math.min(MOST_PROMPT_TOKENS, maxContext - more);
    if (tokens.length <= most) return tokens;
    const bound =
      most === MOST_PROMPT_TOKENS
        ? `at most ${MOST_PROMPT_TOKENS} can be steered here`
        : `the model has only ${maxContext} positions for it and the ${more} new ones`;
    throw new Refusal(
      `The text has ${tokens.length} tokens, but ${bound}.`,
      'Shorten the text, or generate fewer tokens.',
      'generate/prompt-too-long',
    );
  }

  /** The session for texts of this many tokens; null if nobody is listening any more. */
  private async stepperFor(sae: string, tokens: number, tell: Tell, audience: Audience): Promise<Stepper | null> {
    if (audience.signal !== undefined) return null;
    if (this.open?.sae === sae && this.open.longest >= tokens) return this.open.stepper;
    tell({ kind: 'opening' });
    await this.close();
    const { checkpoint } = this.model;
    const { placement } = this;
    const saes = [await this.steeredSae(sae)];
    if (audience.signal !== undefined) return null;
    const room = Math.max(LEAST_ROOM, 2 ** Math.ceil(Math.log2(tokens)));
    const longest = Math.min(room, checkpoint.config.maxContext);
    const stepper = await Stepper.open(checkpoint, { placement, longest, threads: this.settings.threads, saes });
    this.open = { sae, longest, stepper };
    return audience.signal === undefined ? stepper : null;
  }

  private async steeredSae(name: string): Promise<SteeredSae> {
    const found = this.saes.get(name);
    if (found) return found;
    const { record } = this.settings;
    const sae = record.saes.find(({ folder }) => folder === name)!;
    const directory = await directoryOfSae(this.settings, sae);
    // The model is known to match the features; whether it matches the SAE was checked by `features`.
    const asked = { hook: sae.hook, model: record.model.name, anyModel: true };
    const { files, unchanged, hook, input } = await openCandidate(sae.path, asked, this.model.checkpoint, directory);
    checkSameSae(directory, unchanged.digest, sae);
    const opened = { files, hook, input, errorTerm: true };
    this.saes.set(name, opened);
    return opened;
  }
}
