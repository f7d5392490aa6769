// One process of `npm run bench:soak` that evaluates and sweeps again and again until it is stopped.
import { rmSync } from 'node:fs';
import { loadConfig } from '../src/config/load.js';
import { evalSchema } from '../src/config/stages/eval.js';
import { evaluate } from '../src/eval/evaluate.js';
import { silent } from '../src/progress/progress.js';
import { sweep } from '../src/sweep/sweep.js';

const [sae, file, out] = process.argv.slice(2) as [string, string, string];
const never = { signal: undefined };
let stopped = false;
process.on('SIGINT', () => {
  stopped = true;
});
while (!stopped) {
  const evaluation = evalSchema.parse({
    ...{ sae: [sae], model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', tokens: 4000 },
    ...{ context: 128, out: `${out}-eval`, overwrite: true },
  });
  await evaluate(evaluation, silent, never);
  // Its activations are there; its SAEs are new every time.
  rmSync(`${out}-sweep`, { recursive: true, force: true });
  await sweep(loadConfig('sweep', { out: `${out}-sweep` }, file), file, silent, never);
}
