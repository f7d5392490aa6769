import type { ExploreIndex } from '../api.js';
import { jsonAt } from './answers.js';
import { EmbeddedSource } from './embedded-source.js';
import { LiveSource, type Source } from './source.js';
import { StaticSource } from './static-source.js';

/** The page's data: embedded in the page, or at the location given there. */
export async function sourceOfPage(): Promise<Source> {
  const embedded = document.getElementById('data');
  if (embedded) return new EmbeddedSource(JSON.parse(embedded.textContent ?? '{}'));
  const index = await jsonAt<ExploreIndex>('data/index.json');
  return index.live.list ? new LiveSource(index) : new StaticSource(index);
}
