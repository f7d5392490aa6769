import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { usesCuda } from '../../src/cli/uses-cuda.js';
import { sweepSchema } from '../../src/config/stages/sweep.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { temporaryDirectory } from '../temporary.js';

test('a command uses CUDA where the training, or the model that it harvests, is on it', () => {
  const config = (flags: object) => trainSchema.parse({ dSae: 8, out: 'o', ...flags });
  assert.equal(usesCuda('train', config({}), undefined), false);
  assert.equal(usesCuda('train', config({ device: 'webgpu' }), undefined), false);
  assert.equal(usesCuda('train', config({ device: 'cuda:1' }), undefined), true);
  assert.equal(usesCuda('train', config({ modelDevice: 'cuda' }), undefined), true);
});

test('a sweep uses CUDA where any of its stages does, or one of its runs', (t) => {
  const file = join(temporaryDirectory(t), 'sweep.yaml');
  const uses = (yaml: string, runs?: object[]) => {
    writeFileSync(file, yaml);
    return usesCuda('sweep', sweepSchema.parse({ out: 'o', ...(runs && { runs }) }), file);
  };
  assert.equal(uses('train:\n  d-sae: 8\n'), false);
  assert.equal(uses('train:\n  device: cpu\n  model-device: cuda\n'), true);
  assert.equal(uses('train:\n  d-sae: 8\neval:\n  device: cuda\n'), true);
  assert.equal(uses('harvest:\n  device: cuda:0\n'), true);
  assert.equal(uses('train:\n  d-sae: 8\n', [{ device: ['cpu', 'cuda'] }]), true);
  // What a sweep does not run.
  assert.equal(uses('features:\n  device: cuda\n'), false);
  assert.equal(usesCuda('train', trainSchema.parse({ dSae: 8, out: 'o' }), file), false);
});
