import type { ExploreSae, FeaturePage } from '../api.js';
import { type Child, el } from './dom.js';
import { logitEffects, relatedFeatures } from './effects.js';
import { exampleBands, heatLegend } from './examples.js';
import { activationText, cosineText, integerText, shareText } from './format.js';
import { activationHistogram } from './histogram.js';
import { labelEditor } from './label-editor.js';
import type { PageContext } from './page-context.js';
import { addressOf, type FeaturePlace } from './route.js';

/** One feature: what it fires on, how often, its effects and its neighbours. */
export function featureView(page: FeaturePage, place: FeaturePlace, context: PageContext): HTMLElement {
  const sae = context.sae(page.sae);
  const related = relatedSections(page, place, context);
  return el(
    'article',
    { class: 'feature' },
    el(
      'header',
      {},
      el(
        'div',
        { class: 'title' },
        el('h1', { tabindex: -1 }, el('span', { class: 'quiet' }, 'Feature '), page.feature),
        el('p', { class: 'quiet' }, saeText(sae)),
        actions(context),
      ),
      labelEditor(page, context),
      statistics(page),
    ),
    el(
      'div',
      { class: 'columns' },
      el(
        'section',
        { class: 'examples', 'aria-label': 'Examples' },
        examplesHead(page, place),
        examplesOf(page, place, context),
      ),
      el(
        'aside',
        { class: 'effects', 'aria-label': 'Effects and neighbours' },
        titled('Activations', activationHistogram(page) ?? el('p', { class: 'none' }, 'None.')),
        titled(sae.hookOut === null ? 'Logits' : `Logits, from ${sae.hookOut}`, logitEffects(page)),
        related,
      ),
    ),
  );
}

function actions({ source, step, compare, tryText }: PageContext): HTMLElement {
  const button = (text: string, title: string, run: () => void) =>
    el('button', { type: 'button', title, onclick: run }, text);
  return el(
    'nav',
    { 'aria-label': 'Feature' },
    button('←', 'Previous in the list: k', () => step(-1)),
    button('→', 'Next in the list: j', () => step(1)),
    button('Compare', 'Shortcut: c', compare),
    source.index.live.text && button('Run a text', 'Shortcut: t', tryText),
  );
}

/** Hook and kind of an SAE: "gated, 16,384 features at blocks.6.hook_resid_post". */
export function saeText({ architecture, dSae, hook, hookOut, k }: ExploreSae): string {
  const kind = k === null ? architecture : `${architecture}, k ${k}`;
  return `${kind} · ${integerText(dSae)} features · ${hook}${hookOut === null ? '' : ` → ${hookOut}`}`;
}

/** The statistics of a feature: name, value, and meaning. */
export function statisticsOf(page: FeaturePage): readonly (readonly [name: string, value: string, meaning: string])[] {
  return [
    ['fires on', shareText(page.frequency), `${integerText(page.activeTokens)} tokens have f > 0`],
    ['maximum', activationText(page.max), 'largest f'],
    ['mean', activationText(page.mean), 'mean of f over the tokens where it fires'],
    ['share of x̂', shareText(page.normShare), 'Σ f·‖d‖ of this feature / Σ over all features'],
    ['‖d‖', activationText(page.decoderNorm), 'norm of its decoder direction'],
    ['‖e‖', activationText(page.encoderNorm), 'norm of its encoder direction'],
    ['cos(e, d)', cosineText(page.encoderDecoderCosine), 'cosine of its encoder and decoder directions'],
  ];
}

function statistics(page: FeaturePage): HTMLElement {
  return el(
    'dl',
    { class: 'statistics' },
    statisticsOf(page).map(([name, value, title]) => el('div', { title }, el('dt', {}, name), el('dd', {}, value))),
  );
}

function examplesHead({ max }: FeaturePage, place: FeaturePlace): HTMLElement {
  const other = place.lines === 'aligned' ? 'wrapped' : 'aligned';
  const toggle = { class: 'quiet', href: addressOf({ ...place, lines: other }), id: 'lines', title: 'Shortcut: w' };
  return el(
    'div',
    { class: 'head' },
    el('h2', {}, 'Examples'),
    max > 0 && heatLegend(max),
    el('a', toggle, other === 'wrapped' ? 'Full lines' : 'Aligned lines'),
  );
}

function examplesOf(page: FeaturePage, place: FeaturePlace, { sae, announce }: PageContext): Child {
  if (page.activeTokens === 0) {
    return el(
      'p',
      { class: 'none' },
      `It never fires on the ${integerText(sae(page.sae).tokens)} tokens of this text.`,
    );
  }
  return exampleBands(page, place.lines, announce);
}

function relatedSections(page: FeaturePage, place: FeaturePlace, { source, sae }: PageContext): HTMLElement[] {
  const places = {
    feature: (feature: number) => addressOf({ ...place, feature }),
    compare: (feature: number) => {
      const [left, right] = [page.feature, feature].map((one) => ({ sae: page.sae, feature: one }));
      return addressOf({ view: 'compare', left: left!, right: right! });
    },
    only: source.index.only?.[page.sae] ?? null,
  };
  const cofiringTokens = integerText(sae(page.sae).cofiringTokens);
  return [
    titled('Nearest decoders', relatedFeatures(page.decoderNeighbours, places, 'None.'), 'cosine'),
    titled('Nearest encoders', relatedFeatures(page.encoderNeighbours, places, 'None.'), 'cosine'),
    titled(
      'Fires together with',
      relatedFeatures(page.cofiring, places, `None on the ${cofiringTokens} tokens compared.`),
      'correlation',
    ),
  ];
}

function titled(title: string, content: Child, unit = ''): HTMLElement {
  return el('section', {}, el('h2', {}, title, unit === '' ? null : el('span', { class: 'range' }, unit)), content);
}
