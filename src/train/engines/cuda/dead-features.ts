import type { FeatureRange } from './dense-slices.js';
import { COLUMN_THREADS, type KernelValues, type StepParts, THREADS, type TokenStarts } from './launcher.js';
import { WARP } from './plan.js';

/**
 * AuxK: for each token, the largest of the features that were dead before the step reconstruct the error. Their entries
 * are a list after all others, and occupy the second half of the rows of the mask and of the words' starts; after r
 * comes the gradient with respect to their reconstruction. So dots, regrouping and updates treat them as entries of
 * more tokens.
 */
export class DeadFeatures {
  constructor(private readonly parts: StepParts) {}

  /** Adds the dead features of a slice, whose p is in p_slice, to the candidates. */
  shortlist(range: FeatureRange): void {
    this.perToken('shortlist', { ...this.selection(), ...range });
  }

  /** Marks the selected candidates. */
  choose(): void {
    const { settings, device, arrays, plan } = this.parts;
    device.clear(arrays.at('dead_mask'), 4 * settings.batch * plan.words);
    this.perToken('choose', this.selection());
  }

  /** Lists them. */
  gather(starts: TokenStarts): void {
    this.perToken('gather', { ...this.selection(), first: 0, count: this.parts.settings.dSae, ...starts });
  }

  /** Their reconstruction of the error left by all features, and its loss. */
  reconstruct(): void {
    const { settings, plan, arrays, launcher } = this.parts;
    const perColumns = { blocks: Math.ceil(plan.dOutRow / WARP), threads: COLUMN_THREADS };
    launcher.run('variance', perColumns, { yc: arrays.at('r_whole'), variance: arrays.at('error_variance') });
    launcher.run('decodeDead', { blocks: settings.batch, threads: plan.threads });
  }

  private selection(): KernelValues {
    const { arrays, plan } = this.parts;
    return {
      ...{ candidate: arrays.at('dead_candidate'), candidate_p: arrays.at('dead_candidate_p') },
      ...{ candidate_counts: arrays.at('dead_candidate_counts'), chosen_p: arrays.at('dead_p') },
      ...{ mask: arrays.at('dead_mask'), word_start: arrays.at('dead_word_start') },
      ...{ most: plan.kAux, candidates: plan.deadCandidates, from_dead: 1 },
    };
  }

  private perToken(kernel: 'shortlist' | 'choose' | 'gather', values: KernelValues): void {
    const { settings, launcher } = this.parts;
    launcher.run(kernel, { blocks: settings.batch, threads: THREADS }, values);
  }
}
