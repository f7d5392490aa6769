import type { FeatureRange } from './dense-slices.js';
import type { StepParts } from './launcher.js';

/** The encoder's product p = xc W_enc, computed one slice at a time. */
export class EncoderProduct {
  /** The slice whose p is in p_slice, unmodified. */
  private encoded = -1;

  constructor(private readonly parts: StepParts) {}

  /** Marks p_slice as overwritten, or of another batch. */
  forget(): void {
    this.encoded = -1;
  }

  /** Computes p of a slice into p_slice; returns the range of its features. */
  encode(s: number): FeatureRange {
    const { arrays, plan, settings, device } = this.parts;
    const { dInRow, precision, slice } = plan;
    const first = s * slice;
    const count = Math.min(slice, settings.dSae - first);
    if (this.encoded === s) return { first, count };
    const [suffix, bytes] = precision === 'bfloat16' ? ['_bfloat16', 2] : ['', 4];
    device.multiply({
      m: settings.batch,
      n: count,
      k: dInRow,
      a: arrays.at(`xc${suffix}`),
      b: arrays.at(`W_enc${suffix}`) + BigInt(bytes * first * dInRow),
      transposedB: true,
      c: arrays.at('p_slice'),
      strideC: slice,
      precision,
    });
    this.encoded = s;
    return { first, count };
  }
}
