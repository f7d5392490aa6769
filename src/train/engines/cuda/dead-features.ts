import type { FeatureRange } from './dense-slices.js';
import { COLUMN_THREADS, type KernelValues, type StepParts, THREADS, type TokenStarts } from './launcher.js';
import { WARP } from './plan.js';

/**
 * AuxK: of each token the largest of the features that were dead before the step reconstruct the error. Their entries
 * are a list after all others, and lie in the second half of the rows: of the mask, of where words begin, and behind r the
 * gradient by what they reconstruct. So dots, regrouping and updates take them as those of more tokens.
 */
export class DeadFeatures {
  constructor(private readonly parts: StepParts) {}

  /** Adds those of a slice, whose p is in p_slice, to the candidates. */
  shortlist(range: FeatureRange): void {
    this.perToken('shortlist', { ...this.selection(), ...range });
  }

  /** Marks those that are selected of them. */
  choose(): void {
    const { settings, device, arrays, plan } = this.parts;
    device.clear(arrays.at('dead_mask'), 4 * settings.batch * plan.words);
    this.perToken('choose', this.selection());
  }

  /** Lists these. */
  gather(starts: TokenStarts): void {
    this.perToken('gather', { ...this.selection(), first: 0, count: this.parts.settings.dSae, ...starts });
  }

  /** What they make of the error that all features leave, and the loss of that. */
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
