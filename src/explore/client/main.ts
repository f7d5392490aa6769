import { el, refill } from './dom.js';
import { Explorer } from './explorer.js';
import { sourceOfPage } from './open-source.js';
import { problemText } from './trouble.js';

/** Opens the page's data, and shows the place in its address. */
async function start(): Promise<void> {
  const main = document.querySelector('main')!;
  try {
    const source = await sourceOfPage();
    const empty = source.index.saes.length === 0;
    if (empty) refill(main, el('p', { class: 'none' }, 'This folder contains no SAE.'));
    else new Explorer(source, main).start();
  } catch (error) {
    refill(main, problemText(error, start));
  }
}

start();
