import { basename } from 'node:path';
import { commandWords, version } from '../config/flags.js';
import { shellWord } from '../config/shell-word.js';
import { type AttributeConfig, attributeSchema } from '../config/stages/generation.js';
import { UsageRefusal } from '../errors/refusal.js';
import type { Attribution } from '../generate/attribute.js';
import { EFFECTS } from '../generate/attribution-methods.js';
import { significant } from '../progress/progress.js';
import { captionedTable, Markup, markup, page } from './page.js';
import { checkOutputFile, writeOutputFile } from './page-file.js';

/** @throws Refusal if --page cannot be written, before anything is computed */
export async function checkAttributionPage({ page: path, sae, model }: AttributeConfig): Promise<void> {
  if (path === undefined) return;
  if (!path.endsWith('.html')) {
    throw new UsageRefusal(`--page ${path} is not an .html file.`, 'Give it this extension.', 'report/unknown-ending');
  }
  await checkOutputFile(path, [...sae, model], '--page');
}

/** Writes --page, if requested. */
export async function writeAttributionPage(found: Attribution, config: AttributeConfig): Promise<void> {
  const { page: path, overwrite } = config;
  if (path !== undefined) await writeOutputFile(path, attributionPage(found, config), overwrite, '--page');
}

/** The page: the text, and a bar for each activation. */
export function attributionPage(found: Attribution, config: AttributeConfig): string {
  const { token, minus, position, logit, method, remark, features, leftOut, model } = found;
  const difference = minus === undefined ? '' : ` − ${JSON.stringify(minus)}`;
  const title = `Attribution of the logit of ${JSON.stringify(token)}${difference}`;
  const words = commandWords(attributeSchema, config).map(shellWord);
  const rest = leftOut === 0 ? '' : ` ${leftOut} weaker activations were not ablated.`;
  const caption = `Effect: ${EFFECTS[method]}. Direct: contribution on the path that skips all blocks above. Position: index of its token, BOS included.${rest}`;
  return page({
    title,
    saes: 0,
    body: markup`<style>${STYLE}</style>
<header><h1>${title}</h1>
<p class="summary">Logit ${significant(logit, 4)} after token ${String(position)} of the text, which is outlined; ${model}.${remark === undefined ? '' : ` ${remark}`}</p></header>
<p class="text">${tokensOf(found)}</p>
${captionedTable(1, tableOf(features, config.featurePages), caption, markup` <span class="made">Made by <code>${['sae-pipe attribute', ...words].join(' ')}</code></span>`)}
<footer>sae-pipe ${version()}</footer>`,
  });
}

const STYLE = new Markup(`
p.text { margin: 1.6rem 0 0; max-width: none; line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere; }
p.text span { padding: 0.15em 0; border-radius: 2px; }
p.text .last { outline: 2px solid var(--axis); outline-offset: 1px; }
table.attribution { width: auto; }
table.attribution td.bar { width: 16rem; }
.bar i { display: block; height: 0.8em; }
.positive { background: var(--style-0); }
.negative { background: var(--style-1); }
`);

/** Tokens of the text, shaded by the effects at each; the last one predicts the token. */
function tokensOf({ text, features, position }: Attribution): Markup[] {
  const sums = text.map((_, at) => features.reduce((sum, one) => sum + (one.position === at ? one.effect : 0), 0));
  const most = Math.max(...sums.map(Math.abs)) || 1;
  return text.map((token, at) => {
    const share = Math.round((60 * Math.abs(sums[at]!)) / most);
    const colour = `color-mix(in srgb, var(--style-${sums[at]! < 0 ? 1 : 0}) ${share}%, transparent)`;
    const effect = `Token ${at}: ${significant(sums[at]!, 3)}`;
    return markup`<span class="${at === position ? 'last' : 'token'}" style="background: ${colour}" title="${effect}">${token}</span>`;
  });
}

function tableOf(features: Attribution['features'], pages: string | undefined): Markup {
  const most = Math.max(...features.map(({ effect }) => Math.abs(effect))) || 1;
  const several = new Set(features.map(({ sae }) => sae)).size > 1;
  const rows = features.map(({ effect, direct, activation, feature, sae, position, at }) => {
    const [sign, share] = [effect < 0 ? 'negative' : 'positive', Math.round((100 * Math.abs(effect)) / most)];
    const name = several ? `${basename(sae)}:${feature}` : String(feature);
    const address = `${pages}#/feature/${encodeURIComponent(basename(sae))}/${feature}`;
    return markup`<tr><td class="bar"><i class="${sign}" style="width: ${String(share)}%"></i></td>
<td class="number">${significant(effect, 3)}</td><td class="number">${direct === null ? '' : significant(direct, 3)}</td>
<td class="number">${significant(activation, 3)}</td><td>${pages === undefined ? name : markup`<a href="${address}">${name}</a>`}</td>
<td class="number">${String(position)}</td><td><code>${JSON.stringify(at)}</code></td></tr>
`;
  });
  return markup`<table class="attribution"><thead><tr><th></th><th class="number">Effect</th><th class="number">Direct</th>
<th class="number">f</th><th>Feature</th><th class="number">Position</th><th>Token</th></tr></thead>
<tbody>${rows}</tbody></table>`;
}
