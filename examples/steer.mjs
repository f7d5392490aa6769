// @ts-check
// Which features fire on a text, and what one of them does to what the model writes:
//   node examples/steer.mjs SAE [MODEL] [TEXT]
// SAE is anything that --sae takes: a directory, OWNER/REPO/PATH of the hub, or RELEASE:ID as SAELens names it.
import { bundled, HookedTransformer, SAE, topFeatures } from 'sae-pipe';

const [reference, name = bundled.model, text = 'The receipts of the Treasury for the fiscal year'] =
  process.argv.slice(2);
if (reference === undefined) throw new Error('node examples/steer.mjs SAE [MODEL] [TEXT]');

const model = await HookedTransformer.fromPretrained(name);
const sae = await SAE.fromPretrained(reference);
console.log(`${sae.cfg.architecture} SAE with ${sae.cfg.dSae} features at ${sae.cfg.hookName}`);

const { tokens, features } = await topFeatures(model, sae, text, { count: 3 });
for (const { strToken, counted, features } of tokens) {
  const top = features.map(({ feature, activation }) => `${feature} (${activation.toFixed(2)})`);
  console.log(JSON.stringify(strToken).padEnd(14), counted ? top.join('  ') : '—');
}

// The strongest feature of the text, three times as strong as it ever is there, at every token.
const strongest = features[0];
if (strongest === undefined) throw new Error('no feature fires on this text');
const change = { sae, feature: strongest.feature, set: 3 * strongest.activation };
const { unsteered, steered } = await model.steer(text, change, { maxNewTokens: 24 });
console.log(`\nas it is:    ${JSON.stringify(unsteered.text)}`);
console.log(`feature ${change.feature}: ${JSON.stringify(steered.text)}`);
await sae.close();
await model.close();
