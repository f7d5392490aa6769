// @ts-check
// A plot, cell by cell; paste the cells into a notebook (Deno's Jupyter kernel, Observable) or run the file:
//   npm install --ignore-scripts ./sae-pipe-0.2.0.tgz @observablehq/plot linkedom
//   node examples/plot.mjs SAE [OUT.svg] [MODEL] [TEXT]

// %% Packages
import { writeFileSync } from 'node:fs';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { bundled, HookedTransformer, SAE, topFeatures } from 'sae-pipe';

const [
  reference = '',
  out = 'features.svg',
  name = bundled.model,
  text = 'The receipts of the Treasury for the fiscal year',
] = process.argv.slice(2);

// %% The strongest features of a text
const model = await HookedTransformer.fromPretrained(name);
const sae = await SAE.fromPretrained(reference);
const { tokens, features } = await topFeatures(model, sae, text, { count: 12 });

// %% Each of them at every token that counts
const { hookName = '' } = sae.cfg;
const ids = tokens.map(({ token }) => token);
const x = (await model.runWithCache(ids, hookName)).cache.get(hookName);
if (x === undefined) throw new Error(`nothing was read at ${hookName}`);
const f = await sae.encode(x);
const label = (/** @type {number} */ position) => `${position} ${tokens[position]?.strToken}`;
const positions = [...tokens.keys()].filter((position) => tokens[position]?.counted);
const cells = positions.flatMap((position) =>
  features.map(({ feature }) => ({
    token: label(position),
    feature: String(feature),
    activation: f.row(position)[feature],
  })),
);

// %% The plot
const { document } = parseHTML('<html></html>');
const plot = Plot.plot({
  document,
  width: 640,
  marginBottom: 90,
  marginLeft: 60,
  x: { label: 'token', domain: positions.map(label), tickRotate: -45 },
  y: { label: 'feature', domain: features.map(({ feature }) => String(feature)) },
  color: { scheme: 'blues', label: 'activation' },
  marks: [Plot.cell(cells, { x: 'token', y: 'feature', fill: 'activation' })],
});
plot.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
writeFileSync(out, plot.outerHTML);
console.log(out);
await sae.close();
await model.close();
