import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { providers } from '../../src/doctor/machine.js';
import { temporaryDirectory } from '../temporary.js';

function checkGpu(...flags: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['dist/bench/check-gpu.js', ...flags], (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

test('without a GPU, the check says what is missing, writes nothing and exits 3', async (t) => {
  const cuda = (await providers()).find(({ name }) => name === 'cuda')!;
  if (cuda.available) return t.skip('this machine has a GPU that ONNX Runtime can use');
  const directory = temporaryDirectory(t);
  const { code, stdout, stderr } = await checkGpu('--directory', directory);
  assert.equal(code, 3);
  assert.equal(stdout, '');
  assert.match(stderr, /^ONNX Runtime's CUDA provider cannot be used here: .+\. README\.md says .+\.\n$/);
  assert.ok(stderr.includes(cuda.reasons[0]!));
  assert.deepEqual(readdirSync(directory), []);
});

test('the small model on the CPU, without the peer: rates, memory and losses, and nothing left behind', async (t) => {
  const directory = temporaryDirectory(t);
  const small = ['--size', 'small', '--device', 'cpu', '--without-peer', '--context', '32', '--batch', '2'];
  const { code, stdout, stderr } = await checkGpu(...small, '--directory', directory);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^\| sae-pipe \| \d+ \(\d+ to \d+\) \| \d+ \(\d+ to \d+\) \| .+ \| \d+\.\d s \|$/m);
  // Blind guesses among 8000 tokens lose 9 nats. Repeated tokens are guessed better, until the zero ablation makes the
  // model forget which token stands there.
  const [clean, zero] = /Loss (\S+) nats, zero-ablated (\S+);/.exec(stdout)!.slice(1).map(Number) as [number, number];
  assert.ok(clean > 1 && clean < 12, `${clean}`);
  assert.ok(zero > 1 && zero < 12 && Math.abs(zero - clean) > 0.1, `${clean}, ${zero}`);
  assert.deepEqual(readdirSync(directory), []);
});

test('a wrong flag is refused with exit code 2', async () => {
  for (const flags of [['--size', '9b'], ['--device', 'tpu'], ['--context', '2'], ['--batch', '0.5'], ['--nothing']]) {
    const { code, stderr } = await checkGpu(...flags);
    assert.equal(code, 2, `${flags.join(' ')}: ${stderr}`);
    assert.ok(stderr.length > 10);
  }
});
