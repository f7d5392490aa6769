import type { FeaturePage, LogitEffect, RelatedFeature } from '../api.js';
import { type Child, el } from './dom.js';
import { cosineText, integerText, signedText } from './format.js';
import { isHit, tokenPieces, writtenToken } from './token-text.js';

/**
 * A token by itself, with visible white space.
 *
 * @param searched highlights the token if it contains this text, in any case
 */
export function tokenChip(token: string, searched = ''): HTMLElement {
  const pieces = tokenPieces(token).map(({ text, mark }) => (mark ? el('span', { class: 'mark' }, text) : text));
  const title = writtenToken(token);
  return el('span', { class: isHit(token, searched) ? 'token hit' : 'token', ...(title && { title }) }, pieces);
}

/** The tokens that the feature makes more and less likely, directly: two lists of bars on the same scale. */
export function logitEffects({
  topLogits,
  bottomLogits,
}: Pick<FeaturePage, 'topLogits' | 'bottomLogits'>): HTMLElement {
  if (topLogits.length + bottomLogits.length === 0) {
    return el('p', { class: 'none' }, 'There is no linear path from here to the logits.');
  }
  const largest = Math.max(...[...topLogits, ...bottomLogits].map(({ value }) => Math.abs(value)));
  const list = (title: string, kind: string, effects: readonly LogitEffect[]) =>
    el(
      'div',
      { class: kind },
      el('h3', {}, title),
      el(
        'ol',
        { class: 'bars' },
        effects.map(({ id, token, value }) =>
          barRow(Math.abs(value) / largest, [tokenChip(token)], signedText(value), { title: `token ${id}` }),
        ),
      ),
    );
  return el('div', { class: 'logits' }, list('Raises', 'up', topLogits), list('Lowers', 'down', bottomLogits));
}

/** Addresses that `relatedFeatures` links to. */
export interface RelatedPlaces {
  /** Addresses of a related feature, and of its comparison with this one. */
  readonly feature: (feature: number) => string;
  readonly compare: (feature: number) => string;
  /** Features that have a page; null: all. */
  readonly only: readonly number[] | null;
}

/** Features related to one, as rows of bars that link to them. */
export function relatedFeatures(related: readonly RelatedFeature[], places: RelatedPlaces, none: string): HTMLElement {
  if (related.length === 0) return el('p', { class: 'none' }, none);
  return el(
    'ol',
    { class: 'bars related' },
    related.map(({ feature, value, together, label, tokens }) => {
      const has = places.only === null || places.only.includes(feature);
      const name = [
        el('span', { class: 'id' }, feature),
        ' ',
        label ?? tokens.slice(0, 3).map((token) => tokenChip(token)),
      ];
      const tokensText = together === undefined ? null : `${integerText(together)} tokens together`;
      return barRow(
        Math.max(0, value),
        [has ? el('a', { href: places.feature(feature) }, name) : el('span', {}, name)],
        cosineText(value),
        { title: tokensText },
        has &&
          el('a', { class: 'versus', href: places.compare(feature), 'aria-label': `Compare with ${feature}` }, '⇄'),
      );
    }),
  );
}

function barRow(
  share: number,
  name: Child,
  value: string,
  properties: Readonly<Record<string, string | null>>,
  action: Child = null,
): HTMLElement {
  return el(
    'li',
    { ...properties, '--share': share.toFixed(4) },
    el('span', { class: 'name' }, name),
    action,
    el('span', { class: 'number' }, value),
  );
}
