// @ts-check
// Activations of a text at hook points: node examples/hooks.mjs [MODEL] [TEXT]
import { bundled, HookedTransformer } from 'sae-pipe';

const [name = bundled.model, text = 'The receipts of the Treasury for the fiscal year were small.'] =
  process.argv.slice(2);

const model = await HookedTransformer.fromPretrained(name);
console.log(`${model.cfg.modelName}: ${model.cfg.nLayers} layers of width ${model.cfg.dModel}`);

// Names are TransformerLens's; a pattern stands for the hooks of all layers, which share one forward pass.
const { strTokens, cache } = await model.runWithCache(text, 'blocks.*.hook_resid_post');

// How long the residual stream is at each token (columns: layers): BOS, the first, is an attention sink.
for (const [position, token] of strTokens.entries()) {
  const norms = [...cache.values()].map((x) =>
    Math.hypot(...x.row(position))
      .toFixed(1)
      .padStart(8),
  );
  console.log(JSON.stringify(token).padEnd(14), ...norms);
}
await model.close();
