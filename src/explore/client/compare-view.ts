import type { ExploreSae, FeaturePage, FeatureScatter } from '../api.js';
import { type Child, el } from './dom.js';
import { logitEffects } from './effects.js';
import { exampleBands } from './examples.js';
import { statisticsOf } from './feature-view.js';
import { cosineText, integerText, shareText } from './format.js';
import { activationHistogram } from './histogram.js';
import type { PageContext } from './page-context.js';
import { addressOf, type ComparePlace, type CompareSide } from './route.js';
import { ScatterPlot, scatterSentence } from './scatter.js';

/** Two features, or two SAEs, side by side. */
export async function compareView(place: ComparePlace, context: PageContext): Promise<HTMLElement> {
  const { left, right } = place;
  const whole = left.feature === null || right.feature === null;
  const body = whole ? await wholeSaes(left, right, context) : await twoFeatures(left, right, context);
  return el(
    'article',
    { class: 'compare' },
    el('h1', { tabindex: -1 }, whole ? 'Compare SAEs' : 'Compare features'),
    el('div', { class: 'pair' }, sideForm('left', place, context), sideForm('right', place, context)),
    el('p', { class: 'quiet' }, whole ? 'Choose a feature on both sides to compare features.' : null),
    body,
  );
}

/** Selects the SAE and the feature of one side; the feature may be left empty. */
function sideForm(side: 'left' | 'right', place: ComparePlace, { source, go }: PageContext): HTMLElement {
  const { sae, feature } = place[side];
  const names = source.index.saes.map(({ name }) => el('option', { value: name, selected: name === sae }, name));
  const title = side === 'left' ? 'Left' : 'Right';
  const select = el('select', { 'aria-label': `${title} SAE` }, names);
  const number = el('input', {
    ...{ type: 'text', inputmode: 'numeric', pattern: '\\d*', size: 8, placeholder: 'feature', autocomplete: 'off' },
    ...{ 'aria-label': `${title} feature`, value: feature ?? '' },
  });
  const apply = () => {
    const chosen = /^\d{1,9}$/.test(number.value.trim()) ? Number(number.value) : null;
    go({ ...place, [side]: { sae: select.value, feature: chosen } });
  };
  for (const field of [select, number]) field.addEventListener('change', apply);
  return el('form', { onsubmit: (event: Event) => event.preventDefault() }, select, ' ', number);
}

async function twoFeatures(left: CompareSide, right: CompareSide, context: PageContext): Promise<HTMLElement[]> {
  const pages = await Promise.all(
    [left, right].map(({ sae, feature }) => context.source.feature(sae, feature!, context.told)),
  );
  const [a, b] = pages as [FeaturePage, FeaturePage];
  const [one, other] = [statisticsOf(a), statisticsOf(b)];
  const rows: Child[] = one.map(([name, value, title], i) =>
    el('tr', { title }, el('td', {}, value), el('th', { scope: 'row' }, name), el('td', {}, other[i]![1])),
  );
  return [
    el('div', { class: 'pair heads' }, pages.map(pageHead)),
    el('table', { class: 'versus' }, el('tbody', {}, rows, relationRows(a, b))),
    el(
      'div',
      { class: 'pair' },
      pages.map((page) => el('section', {}, activationHistogram(page), logitEffects(page))),
    ),
    el(
      'div',
      { class: 'pair' },
      pages.map((page) =>
        el(
          'section',
          { 'aria-label': `Examples of ${page.sae} ${page.feature}` },
          exampleBands(page, 'wrapped', context.announce),
        ),
      ),
    ),
  ];
}

function pageHead({ sae, feature, label }: FeaturePage): HTMLElement {
  const href = addressOf({ view: 'feature', sae, feature, query: {}, lines: 'aligned' });
  return el('h2', {}, el('a', { href }, `${sae} ${feature}`), label === null ? null : el('span', {}, ` ${label}`));
}

/** Relations between the two, if they appear in each other's lists. */
function relationRows(a: FeaturePage, b: FeaturePage): HTMLElement[] {
  if (a.sae !== b.sae) return [];
  const between = (key: 'decoderNeighbours' | 'encoderNeighbours' | 'cofiring') =>
    a[key].find(({ feature }) => feature === b.feature) ?? b[key].find(({ feature }) => feature === a.feature);
  const found = [
    ['cosine of decoders', between('decoderNeighbours')],
    ['cosine of encoders', between('encoderNeighbours')],
    ['correlation of f', between('cofiring')],
  ] as const;
  return found.flatMap(([name, relation]) =>
    relation ? [el('tr', {}, el('td', { colspan: 3, class: 'both' }, `${name} ${cosineText(relation.value)}`))] : [],
  );
}

async function wholeSaes(left: CompareSide, right: CompareSide, context: PageContext): Promise<HTMLElement[]> {
  const saes = [context.sae(left.sae), context.sae(right.sae)];
  const scatters = await Promise.all(saes.map(({ name }) => context.source.scatter(name)));
  const facts = saes.map(saeFacts);
  const rows = facts[0]!.map(([name, value], i) =>
    el('tr', {}, el('td', {}, value), el('th', { scope: 'row' }, name), el('td', {}, facts[1]![i]![1])),
  );
  return [
    el('table', { class: 'versus' }, el('tbody', {}, rows)),
    el(
      'div',
      { class: 'pair' },
      saes.map(({ name }, i) => scatterOf(name, scatters[i]!, scatters, context)),
    ),
  ];
}

/** Facts about an SAE by name. */
export function saeFacts(sae: ExploreSae): readonly (readonly [string, string])[] {
  return [
    ['SAE', sae.name],
    ['architecture', sae.k === null ? sae.architecture : `${sae.architecture}, k ${sae.k}`],
    ['hook', sae.hookOut === null ? sae.hook : `${sae.hook} → ${sae.hookOut}`],
    ['features', integerText(sae.dSae)],
    ['that fire', `${integerText(sae.alive)} (${shareText(sae.alive / sae.dSae)})`],
    ['labelled', integerText(sae.labelled)],
    ['tokens left out', leftOutText(sae)],
  ];
}

/** How many tokens are left out because of their norm. */
function leftOutText({ leftOut, tokens }: ExploreSae): string {
  if (leftOut === null) return 'none';
  const share = shareText(leftOut.tokens / (leftOut.tokens + tokens));
  return `${integerText(leftOut.tokens)} (${share}), with norms above ${leftOut.multiple} × the median`;
}

function scatterOf(sae: string, data: FeatureScatter, common: readonly FeatureScatter[], context: PageContext) {
  const plot = new ScatterPlot({
    open: (feature) => context.go({ view: 'feature', sae, feature, query: {}, lines: 'aligned' }),
    bound: ({ frequency, max }) => context.go({ view: 'list', sae, query: { bounds: { frequency, max } } }),
    announce: context.announce,
  });
  plot.show(data, null, common);
  return el('section', {}, plot.element, el('p', { class: 'quiet' }, scatterSentence(data)));
}
