import { type FeatureChange, MOST_CHANGES, type SteerRequest } from '../steering-api.js';
import { ChangeRow, firstChange } from './change-row.js';
import { Continuations } from './continuations.js';
import { el, refill } from './dom.js';
import { LatestRun } from './latest-run.js';
import type { PageContext } from './page-context.js';
import { addressOf, type TextPlace } from './route.js';
import { numberIn, STEER_NUMBERS, type SteerNumber, type SteerPlace } from './steer-address.js';

const TITLES: Readonly<Record<SteerNumber['key'], readonly [title: string, meaning: string]>> = {
  tokens: ['Tokens', 'max tokens after the text'],
  temperature: ['Temperature', '0: the most probable token; above 0: sampled'],
  seed: ['Seed', 'the same seed gives the same text'],
};

/** Continues the view's text with features changed. All settings are in the address. */
export class SteerPanel {
  readonly element: HTMLElement;
  private readonly rows = el('ol', { class: 'changes' });
  private readonly feature = el('input', {
    ...{ type: 'text', inputmode: 'numeric', size: 7, autocomplete: 'off', placeholder: 'number' },
    'aria-label': 'Feature to change',
  });
  /** Hint shown while nothing is changed. */
  private readonly how = el('span', { class: 'state' }, 'or + next to a feature of the text');
  private readonly form: HTMLElement;
  private readonly numbers: ReadonlyMap<SteerNumber['key'], HTMLInputElement>;
  private readonly latest = new LatestRun();
  private readonly continuations: Continuations;
  private drawn = new Map<number, ChangeRow>();
  /** The last request, made here or by an address; null before the first address. */
  private asked: string | null = null;

  /** @param text contents of the view's text field */
  constructor(
    private place: TextPlace,
    private readonly context: PageContext,
    private readonly text: () => string,
  ) {
    this.continuations = new Continuations(context, this.latest);
    this.numbers = new Map(STEER_NUMBERS.map((bounds) => [bounds.key, this.numberField(bounds)]));
    const add = (event: Event) => {
      event.preventDefault();
      this.addTyped();
    };
    const run = (event: Event) => {
      event.preventDefault();
      this.run();
    };
    this.form = el(
      'form',
      { class: 'fields', onsubmit: run },
      [...this.numbers].map(([key, field]) => el('label', { title: TITLES[key][1] }, `${TITLES[key][0]} `, field)),
      el('button', { type: 'submit', class: 'primary' }, 'Steer'),
      this.latest.cancelButton,
    );
    this.element = el(
      'section',
      { class: 'steer', 'aria-label': 'Steer' },
      el('h2', {}, 'Steer', el('span', { class: 'range' }, 'the text continued with features changed')),
      this.rows,
      el(
        'form',
        { class: 'fields', onsubmit: add },
        el('label', {}, 'Feature ', this.feature),
        el('button', { type: 'submit' }, 'Add'),
        this.how,
      ),
      this.form,
      this.latest.state,
      this.continuations.element,
    );
  }

  /** Follows the address; runs a request that was not made here. */
  update(place: TextPlace): void {
    const before = this.place;
    this.place = place;
    if (before.text !== place.text || before.sae !== place.sae) this.continuations.clear();
    this.element.hidden = place.text === '';
    if (before.sae !== place.sae) this.drawn = new Map();
    this.drawRows(place);
    this.how.hidden = place.steer.changes.length > 0;
    this.form.hidden = place.steer.changes.length === 0;
    for (const [key, field] of this.numbers) {
      if (document.activeElement === field) continue;
      field.value = String(place.steer[key]);
      field.setAttribute('aria-invalid', 'false');
    }
    const request = requestAt(place);
    const known = this.asked === JSON.stringify(request);
    this.asked = JSON.stringify(request);
    if (place.steer.changes.length === 0) this.continuations.clear();
    else if (!known && place.text !== '') this.continuations.run(request);
    else this.continuations.compare(request);
  }

  /** Called when the view is left: nothing is computed that nobody sees. */
  leave(): void {
    this.latest.cancel('Cancelled.');
  }

  /** Adds a feature to change. */
  async add(feature: number): Promise<void> {
    const { changes } = this.place.steer;
    if (this.drawn.has(feature)) return this.latest.say(`Feature ${feature} is already changed.`);
    if (changes.length === MOST_CHANGES) return this.latest.say(`At most ${MOST_CHANGES} features are changed.`);
    try {
      const { max } = await this.context.source.feature(this.place.sae, feature, () => {});
      this.change([...this.place.steer.changes, firstChange(feature, max)]);
      this.latest.say('');
    } catch (error) {
      this.latest.say(error instanceof Error ? error.message : String(error));
    }
  }

  private async addTyped(): Promise<void> {
    const { dSae } = this.context.sae(this.place.sae);
    const feature = numberIn(this.feature.value, { least: 0, most: dSae - 1, whole: true });
    this.feature.setAttribute('aria-invalid', String(feature === null));
    if (feature === null) {
      this.latest.say(`${this.place.sae} has features 0 to ${dSae - 1}.`);
      this.feature.focus();
      return;
    }
    await this.add(feature);
    this.feature.value = '';
  }

  private run(): void {
    const [wrong] = [...this.drawn.values()].flatMap((row) => row.wrong ?? []);
    const field = wrong ?? [...this.numbers.values()].find((one) => one.getAttribute('aria-invalid') === 'true');
    if (field) {
      this.latest.say(wrong ? 'A strength is not a number.' : 'A number is not within its bounds.');
      field.focus();
      return;
    }
    const text = this.text();
    // Another text is steered once the address has it.
    if (text.trim() !== '' && text !== this.place.text) this.context.go({ ...this.place, text, at: null, next: null });
    else this.continuations.run(requestAt(this.place));
  }

  private change(changes: readonly FeatureChange[]): void {
    this.go({ ...this.place.steer, changes });
  }

  private go(steer: SteerPlace): void {
    // Runs on request, not at every step of a slider.
    this.asked = JSON.stringify(requestAt({ ...this.place, steer }));
    this.context.go({ ...this.place, steer }, { replace: true });
  }

  /** Rows persist as long as their features do: a slider being dragged is not replaced. */
  private drawRows({ sae, steer }: TextPlace): void {
    const rows = new Map(
      steer.changes.map((change) => [change.feature, this.drawn.get(change.feature) ?? this.row(sae, change)]),
    );
    for (const change of steer.changes) rows.get(change.feature)!.show(change);
    const same =
      rows.size === this.drawn.size && [...rows.keys()].every((feature, i) => feature === [...this.drawn.keys()][i]);
    this.drawn = rows;
    if (!same || this.rows.childElementCount !== rows.size)
      refill(
        this.rows,
        [...rows.values()].map(({ element }) => element),
      );
  }

  private row(sae: string, change: FeatureChange): ChangeRow {
    const { feature } = change;
    const others = () => this.place.steer.changes;
    const row = new ChangeRow(change, {
      href: addressOf({ view: 'feature', sae, feature, query: {}, lines: 'aligned' }),
      changed: (next) => this.change(others().map((one) => (one.feature === feature ? next : one))),
      removed: () => this.change(others().filter((one) => one.feature !== feature)),
    });
    this.context.source
      .feature(sae, feature, () => {})
      .then(
        (page) => row.describe(page),
        (error) => this.latest.say(error.message),
      );
    return row;
  }

  private numberField(bounds: SteerNumber): HTMLInputElement {
    const field = el('input', { type: 'text', inputmode: 'decimal', size: 5, autocomplete: 'off' });
    field.addEventListener('change', () => {
      const value = numberIn(field.value, bounds);
      field.setAttribute('aria-invalid', String(value === null));
      if (value !== null) this.go({ ...this.place.steer, [bounds.key]: value });
    });
    return field;
  }
}

const requestAt = ({ text, sae, steer }: TextPlace): SteerRequest => ({ text, sae, ...steer });
