import type { FeaturePage } from '../api.js';
import { type FeatureChange, type FeatureOperation, featureOperations } from '../steering-api.js';
import { el, refill } from './dom.js';
import { tokenChip } from './effects.js';
import { strengthIn } from './steer-address.js';

/** Range of a slider if the feature's maximum is not known. */
const USUAL_MAX = 10;

const NAMES: Readonly<Record<FeatureOperation, string>> = {
  set: 'set to',
  add: 'add',
  scale: 'multiply by',
  ablate: 'ablate',
};

/** A change in words: "17 = 8", "17 + 4", "17 × 2". */
export function changeText({ feature, operation, strength }: FeatureChange): string {
  const sign = { set: '=', add: strength < 0 ? '−' : '+', scale: '×', ablate: '=' }[operation];
  const value = operation === 'add' ? Math.abs(strength) : strength;
  return `${feature} ${sign} ${String(operation === 'ablate' ? 0 : value).replace('-', '−')}`;
}

/** The default change of a feature: to its own maximum, where its effect is visible. */
export function firstChange(feature: number, max: number): FeatureChange {
  return { feature, operation: 'set', strength: usualStrength('set', max) };
}

function usualStrength(operation: FeatureOperation, max: number): number {
  const reach = Number((max > 0 ? max : USUAL_MAX).toPrecision(2));
  return { set: reach, add: reach, scale: 2, ablate: 0 }[operation];
}

/** Range of a slider. */
function rangeOf(operation: FeatureOperation, max: number): readonly [number, number] {
  const reach = Number((2 * (max > 0 ? max : USUAL_MAX)).toPrecision(2));
  return { set: [0, reach], add: [-reach, reach], scale: [-4, 4], ablate: [0, 1] }[operation] as [number, number];
}

interface RowParts {
  /** From the feature's page. */
  readonly href: string;
  changed(change: FeatureChange): void;
  removed(): void;
}

/** One changed feature: the operation and its strength, with a slider and a number. */
export class ChangeRow {
  readonly element: HTMLElement;
  private readonly name: HTMLElement;
  private readonly operation = el('select', {});
  private readonly slider = el('input', { type: 'range' });
  private readonly number = el('input', { type: 'text', inputmode: 'decimal', size: 7, autocomplete: 'off' });
  private max = 0;

  constructor(
    private change: FeatureChange,
    { href, changed, removed }: RowParts,
  ) {
    const { feature } = change;
    this.name = el('a', { class: 'name', href }, el('span', { class: 'id' }, feature));
    this.operation.append(...featureOperations.map((one) => el('option', { value: one }, NAMES[one])));
    this.operation.setAttribute('aria-label', `Operation on feature ${feature}`);
    this.slider.setAttribute('aria-label', `Strength of feature ${feature}, slider`);
    this.number.setAttribute('aria-label', `Strength of feature ${feature}`);
    const take = (next: FeatureChange) => {
      this.change = next;
      this.show(next);
      changed(next);
    };
    this.operation.addEventListener('change', () => {
      const operation = featureOperations[this.operation.selectedIndex]!;
      take({ feature, operation, strength: usualStrength(operation, this.max) });
    });
    this.slider.addEventListener('input', () => {
      this.number.value = this.slider.value;
      this.mark(true);
    });
    this.slider.addEventListener('change', () => take({ ...this.change, strength: Number(this.slider.value) }));
    this.number.addEventListener('change', () => {
      const strength = strengthIn(this.number.value);
      this.mark(strength !== null);
      if (strength !== null) take({ ...this.change, strength });
    });
    const remove = {
      type: 'button',
      class: 'quiet',
      'aria-label': `Stop changing feature ${feature}`,
      onclick: removed,
    };
    this.element = el('li', {}, this.name, this.operation, this.slider, this.number, el('button', remove, '×'));
    this.show(change);
  }

  /** The field whose strength is not a number; null if there is none. */
  get wrong(): HTMLInputElement | null {
    return this.number.getAttribute('aria-invalid') === 'true' ? this.number : null;
  }

  /** Shows what the address says. */
  show(change: FeatureChange): void {
    const { operation, strength } = change;
    this.change = change;
    const [least, most] = rangeOf(operation, this.max);
    const step = 10 ** (Math.floor(Math.log10(most)) - 2);
    for (const [key, value] of Object.entries({ min: least, max: most, step }))
      this.slider.setAttribute(key, String(value));
    this.operation.value = operation;
    this.slider.value = String(strength);
    this.number.value = String(strength);
    this.mark(true);
    for (const field of [this.slider, this.number]) field.hidden = operation === 'ablate';
  }

  /** Shows what is known about the feature. */
  describe({ label, max, bands }: FeaturePage): void {
    const [strongest] = bands[0]?.examples ?? [];
    const token = strongest?.tokens[strongest.peak];
    const what = label ?? (token === undefined ? null : tokenChip(token));
    refill(this.name, el('span', { class: 'id' }, this.change.feature), ' ', what);
    this.max = max;
    this.show(this.change);
  }

  private mark(right: boolean): void {
    this.number.setAttribute('aria-invalid', String(!right));
  }
}
