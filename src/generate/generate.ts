import type { GenerateConfig } from '../config/stages/generation.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { chooseBos, choosePrecision, notFiniteRemedy } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import { sayTf32 } from '../onnx/tf32.js';
import type { Progress, TextTerminal } from '../progress/progress.js';
import { throwIfStopped } from '../progress/stop.js';
import { type ContinuedText, continueTexts } from './continuation.js';
import { openModel, openTextModel, readPrompts, roomFor } from './prompts.js';
import { type SamplingSettings, tokenChooser } from './sampling.js';
import { Stepper } from './stepper.js';

export const STOPPED = 'The texts are incomplete.';

/** `generate`: continues prompts; a single one is printed as its tokens are generated. */
export async function generate(config: GenerateConfig, terminal: TextTerminal): Promise<void> {
  const { progress, stop, print, write } = terminal;
  const sampling = samplingOf(config);
  const checkpoint = await openModel(config, progress, stop);
  const model = await openTextModel(checkpoint, chooseBos(config.prependBos, checkpoint.config));
  const { tokens: prompts, shown } = await readPrompts(model, config);
  const longest = roomFor(prompts, config.tokens, checkpoint);
  const placement = choosePrecision(config.precision, config.device, checkpoint);
  throwIfStopped(stop, STOPPED);
  const stepper = await Stepper.open(checkpoint, { placement, longest, threads: config.threads });
  try {
    sayMemory(progress, stepper, prompts.length, longest);
    if (placement.precision === 'float32') sayTf32(progress.say, config.device);
    const streamed = prompts.length === 1 && !config.json;
    if (streamed) write(shown[0]!);
    else progress.begin('generating', config.tokens, 'step');
    const notFinite = modelNotFinite(checkpoint.name, placement);
    const texts = prompts.map((tokens, i) => ({ tokens, choose: tokenChooser(sampling, i), notFinite }));
    const continued = await continueTexts(stepper, texts, {
      ...{ most: config.tokens, ends: model.ends, stops: config.stop ?? [], bytes: model.bytes, stop },
      onText: streamed ? (_, piece) => write(piece) : undefined,
      onStep: streamed ? undefined : (steps) => progress.update(steps),
    });
    progress.end();
    if (streamed) write('\n');
    else if (config.json)
      print(JSON.stringify({ model: checkpoint.name, sampling, texts: inJson(config, continued) }, null, 1));
    else print(continued.map(({ text }, i) => `${shown[i]}${text}`).join('\n\n'));
    throwIfStopped(stop, STOPPED);
  } finally {
    await stepper.release();
  }
}

const inJson = ({ prompt }: GenerateConfig, continued: readonly ContinuedText[]) =>
  continued.map((text, i) => ({ prompt: prompt[i], ...text }));

/**
 * Sampling settings from flags.
 *
 * @throws UsageRefusal if --top-k or --top-p is given without a temperature
 */
export function samplingOf({ temperature, topK, topP, seed }: SamplingSettings): SamplingSettings {
  const unused = topK !== undefined ? '--top-k' : topP !== undefined ? '--top-p' : undefined;
  if (temperature > 0 || unused === undefined) return { temperature, topK, topP, seed };
  throw new UsageRefusal(
    `${unused} applies to sampling, but without --temperature the most probable token is chosen.`,
    'Add --temperature 1, or omit it.',
    'generate/no-temperature',
  );
}

/** The error for a model whose logits are not finite. */
export function modelNotFinite(name: string, placement: Placement): Refusal {
  return new Refusal(`The logits of ${name} are not finite.`, notFiniteRemedy(placement), 'generate/not-finite');
}

/** Reports the memory of the keys and values. */
export function sayMemory({ say }: Progress, stepper: Stepper, texts: number, longest: number): void {
  const mib = (stepper.keptBytes(texts) / 2 ** 20).toFixed(1);
  const those = texts === 1 ? 'a text' : `${texts} texts`;
  say(`Keys and values of ${those} of up to ${longest} tokens take ${mib} MiB.`);
}
