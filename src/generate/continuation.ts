import { StreamedText, type TokenBytes } from '../corpus/token-bytes.js';
import type { Refusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { stopRequested } from '../progress/stop.js';
import type { RowChanges } from './changes.js';
import type { ChooseToken } from './sampling.js';
import type { Stepper } from './stepper.js';

/** A text to continue. */
export interface TextToContinue {
  /** Its tokens, BOS included where it begins with one. */
  readonly tokens: readonly number[];
  readonly choose: ChooseToken;
  readonly changes?: RowChanges;
  /** The error to report if its logits are not finite. */
  readonly notFinite: Refusal;
}

/** Why a text ended: it reached the maximum number of tokens, the model ended it, or a stop string occurred. */
export type Ending = 'length' | 'end' | 'stop';

export interface ContinuedText {
  /** Tokens after the prompt, without an end token. */
  readonly ids: readonly number[];
  /** Their text, up to the stop string. */
  readonly text: string;
  readonly ending: Ending;
}

export interface ContinuationSettings {
  /** Max tokens after the prompt. */
  readonly most: number;
  /** Tokens that end a text. */
  readonly ends: ReadonlySet<number>;
  /** Stop strings. */
  readonly stops: readonly string[];
  readonly bytes: TokenBytes;
  /** Called with new text as it is generated. */
  readonly onText?: (text: number, piece: string) => void;
  /** Called with the logits after the prompts, [texts × vocabulary]. */
  readonly onFirst?: (logits: Float32Array) => void;
  /** Called with the number of steps done. */
  readonly onStep?: (steps: number) => void;
  readonly stop: StopRequest;
}

/** Max tokens of a prompt per forward pass: attention scores take this many times all tokens. */
const PROMPT_STEP = 512;

/**
 * Continues texts as one batch; if a signal asks to stop, returns what has been generated so far.
 *
 * @throws Refusal if logits are not finite
 */
export async function continueTexts(
  stepper: Stepper,
  texts: readonly TextToContinue[],
  settings: ContinuationSettings,
): Promise<ContinuedText[]> {
  const longest = Math.max(...texts.map(({ tokens }) => tokens.length));
  const pads = texts.map(({ tokens }) => longest - tokens.length);
  const changes = texts.flatMap((text) => text.changes ?? []);
  stepper.begin({ pads, ...(changes.length > 0 && { changes }) });
  let logits = await readPrompts(stepper, texts, pads, settings.stop);
  settings.onFirst?.(logits);
  const growing = texts.map((_, i) => new GrowingText(settings, (piece) => settings.onText?.(i, piece)));
  for (let step = 1; ; step++) {
    const width = logits.length / texts.length;
    const next = texts.map(({ choose, notFinite, tokens }, i) => {
      const own = logits.subarray(i * width, (i + 1) * width);
      if (growing[i]!.ending !== undefined) return tokens[0]!;
      checkLogits(own, notFinite);
      const id = choose(own);
      growing[i]!.push(id);
      return id;
    });
    settings.onStep?.(step);
    if (growing.every(({ ending }) => ending !== undefined)) break;
    if (await stopRequested(settings.stop)) break;
    logits = await stepper.step(next);
  }
  return growing.map((text) => text.result());
}

/** Runs the model over the prompts; returns the logits of the next token. */
async function readPrompts(
  stepper: Stepper,
  texts: readonly TextToContinue[],
  pads: readonly number[],
  stop: StopRequest,
): Promise<Float32Array> {
  const rows = texts.map(({ tokens }, i) => [...new Array<number>(pads[i]!).fill(tokens[0]!), ...tokens]);
  const { length } = rows[0]!;
  let logits = new Float32Array(0);
  for (let first = 0; first < length; first += PROMPT_STEP) {
    logits = (await stepper.step(rows.flatMap((row) => row.slice(first, first + PROMPT_STEP)))) as typeof logits;
    if (first + PROMPT_STEP < length && (await stopRequested(stop))) break;
  }
  return logits;
}

/** @throws Refusal if a logit is not finite, or all are equal: norms of overflowing values are 0 */
function checkLogits(logits: Float32Array, notFinite: Refusal): void {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  // By index: an iterator takes six times as long over a large vocabulary, a tenth of a step of several texts.
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id]!;
    if (!Number.isFinite(value)) throw notFinite;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  if (least === most) throw notFinite;
}

/** The continuation of a prompt, as its tokens are generated. */
class GrowingText {
  ending: Ending | undefined;
  private readonly ids: number[] = [];
  private readonly streamed: StreamedText;
  private text = '';
  /** Characters already reported. */
  private told = 0;

  constructor(
    private readonly settings: ContinuationSettings,
    private readonly tell: (piece: string) => void,
  ) {
    this.streamed = new StreamedText(settings.bytes);
  }

  push(id: number): void {
    const { ends, most } = this.settings;
    if (ends.has(id)) {
      this.finish('end');
      return;
    }
    this.ids.push(id);
    const before = this.text.length;
    this.text += this.streamed.push(id);
    const found = this.stopFrom(before);
    if (found !== undefined) {
      this.text = this.text.slice(0, found);
      this.finish('stop');
    } else if (this.ids.length === most) this.finish('length');
    else this.tellUpTo(this.text.length - this.mayBecomeStop());
  }

  result(): ContinuedText {
    return { ids: this.ids, text: this.text, ending: this.ending ?? 'length' };
  }

  private finish(ending: Ending): void {
    if (ending !== 'stop') this.text += this.streamed.end();
    this.ending = ending;
    this.tellUpTo(this.text.length);
  }

  /** Start of the first stop string that ends beyond `before` characters. */
  private stopFrom(before: number): number | undefined {
    const places = this.settings.stops.map((stop) => this.text.indexOf(stop, Math.max(0, before - stop.length + 1)));
    const found = places.filter((place) => place >= 0);
    return found.length > 0 ? Math.min(...found) : undefined;
  }

  /** Length of the longest suffix that may begin a stop string. */
  private mayBecomeStop(): number {
    const shared = (stop: string) => {
      for (let n = Math.min(stop.length - 1, this.text.length); n > 0; n--)
        if (this.text.endsWith(stop.slice(0, n))) return n;
      return 0;
    };
    return Math.max(0, ...this.settings.stops.map(shared));
  }

  private tellUpTo(end: number): void {
    if (end <= this.told) return;
    this.tell(this.text.slice(this.told, end));
    this.told = end;
  }
}
