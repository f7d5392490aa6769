import type { DeadFeatures } from './dead-features.js';
import type { DenseSlices, FeatureRange } from './dense-slices.js';
import type { EncoderProduct } from './encoder-product.js';
import { cutDigits, PICK_THREADS } from './kernels/largest-of-batch.js';
import { type StepParts, THREADS, type TokenStarts } from './launcher.js';
import { WARP } from './plan.js';

/** The choices that determine which kernels list the entries of a step. */
export interface ListedKinds {
  /** For each slice a guess: is it computed by matrix products? If that is wrong, the step returns early. */
  readonly dense: readonly boolean[];
  /** With AuxK: was a feature dead before the step? */
  readonly revives: boolean;
}

/** Launches the kernels that list the entries of a batch, token-major, with p computed a slice at a time. */
export class EntrySelection {
  constructor(
    private readonly parts: StepParts,
    private readonly product: EncoderProduct,
    private readonly denseSlices: DenseSlices,
    private readonly deadFeatures: DeadFeatures,
  ) {}

  /** For a slice computed by matrix products, its part of the reconstructions is added, too. */
  select({ dense, revives }: ListedKinds): void {
    const { k, wholeBatch, lists } = this.parts.plan;
    if (wholeBatch) this.selectLargestOfBatch(revives);
    else if (k > 0) this.selectLargest(revives);
    else this.selectPositive(dense);
    if (!revives) return;
    this.deadFeatures.choose();
    this.deadFeatures.gather(this.startTokens(lists));
  }

  /** The entries above 0: each slice determines its own. */
  private selectPositive(dense: readonly boolean[]): void {
    const { settings, plan, launcher } = this.parts;
    const perToken = { blocks: settings.batch, threads: THREADS };
    if (dense.includes(true)) this.denseSlices.begin();
    for (let s = 0; s < plan.slices; s++) {
      const range = this.product.encode(s);
      const listed = Number(!dense[s]);
      launcher.run('mark', perToken, { ...range, listed });
      const list = this.startTokens(s);
      this.judge(s, range, listed, list);
      if (dense[s]) this.denseSlices.forward(range);
      else launcher.run('gather', perToken, { ...range, ...list, most: 0 });
    }
  }

  /** The k largest per token. */
  private selectLargest(revives: boolean): void {
    const { settings, plan, device, arrays, launcher } = this.parts;
    const perToken = { blocks: settings.batch, threads: THREADS };
    const selected = { most: plan.k, candidates: plan.candidates, from_dead: 0 };
    for (let s = 0; s < plan.slices; s++) {
      const range = this.product.encode(s);
      launcher.run('shortlist', perToken, { ...range, ...selected });
      if (revives) this.deadFeatures.shortlist(range);
    }
    device.clear(arrays.at('mask'), 4 * settings.batch * plan.words);
    launcher.run('choose', perToken, selected);
    launcher.run('gather', perToken, { first: 0, count: settings.dSae, most: plan.k, ...this.startTokens(0) });
  }

  /** The k · B largest of the batch: slice by slice, the largest of the slices so far. */
  private selectLargestOfBatch(revives: boolean): void {
    const { settings, plan, device, arrays, launcher } = this.parts;
    const { batch, dSae } = settings;
    const perToken = { blocks: batch, threads: THREADS };
    const digits = cutDigits(dSae, batch);
    for (let s = 0; s < plan.slices; s++) {
      const range = this.product.encode(s);
      launcher.run('openCut', { blocks: 1, threads: WARP }, { fresh: Number(s === 0) });
      for (const digit of digits) {
        launcher.run('tally', perToken, { ...range, ...digit, lists: s });
        launcher.run('pick', { blocks: 1, threads: PICK_THREADS }, digit);
      }
      launcher.run('markLargest', perToken, range);
      const { token_start, total } = this.startTokens(s, 'candidate_');
      const candidates = {
        feature: arrays.at('candidate'),
        p: arrays.at('candidate_p'),
        room: batch * plan.candidates,
        most: 0,
      };
      launcher.run('gather', perToken, { ...range, ...candidates, token_start, total });
      if (revives) this.deadFeatures.shortlist(range);
    }
    device.clear(arrays.at('mask'), 4 * batch * plan.words);
    launcher.run('keepLargest', perToken);
    launcher.run('placeLargest', perToken, { token_start: this.startTokens(0).token_start });
  }

  /**
   * From the counts of a list's tokens.
   *
   * @param of entries, or of candidates
   */
  private startTokens(list: number, of: '' | 'candidate_' = ''): TokenStarts {
    const { arrays, settings, launcher } = this.parts;
    const starts = arrays.at(of === '' ? 'token_start' : 'candidate_start') + BigInt(4 * list * settings.batch);
    const before = arrays.at(`${of}totals`) + BigInt(8 * list);
    const total = before + 8n;
    launcher.scan(settings.batch, { counts: arrays.at('counts'), starts, before, end: total });
    return { token_start: starts, total };
  }

  /** Was the guess about the slice right? */
  private judge(s: number, { count }: FeatureRange, listed: number, { token_start, total }: TokenStarts): void {
    const { settings, plan, arrays, launcher } = this.parts;
    const blocks = listed ? 1 : Math.ceil((settings.batch + 1) / THREADS);
    const lists = { starts: token_start, before: total - 8n, end: total };
    const found = arrays.at('found') + BigInt(8 * s);
    launcher.run('judge', { blocks, threads: THREADS }, { ...lists, found, listed, limit: plan.mostListed(count) });
  }
}
