import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeShard, encodeContexts, encodeShard } from '../../src/activations/arrow-rows.js';
import { checkIpcFile, checkMessage } from '../../src/disk/ipc-check.js';
import { refuses } from '../config/refuses.js';
import { context, randomRows } from './synthetic.js';

const whole = Buffer.from(encodeShard(randomRows(10, 3, 'float32'), 3, 'float32'));

/** Where the metadata of the record batch lies: apache-arrow begins a file with it, the schema is in the footer. */
function batchAt(file: Buffer): { at: number; length: number } {
  assert.equal(file.readInt32LE(8), -1);
  return { at: 16, length: file.readInt32LE(12) };
}

test('what is written here passes, and says how long its body is', () => {
  checkIpcFile(whole);
  checkIpcFile(encodeContexts([context(0), context(1)]));
  const { at, length } = batchAt(whole);
  // 10 rows of 3 float32, and three columns of 10 int32, each padded to 8 bytes or more.
  const body = checkMessage(whole.subarray(at, at + length));
  assert.ok(body >= 240 && body <= 240 + 8 * 64, `${body}`);
});

test('setting any number of the batch or the footer to a billion is refused or harmless, at once', () => {
  const { at, length } = batchAt(whole);
  const footer = whole.readInt32LE(whole.length - 10);
  const places = [...words(at, length), ...words(whole.length - 10 - footer, footer + 4)];
  let refused = 0;
  const began = process.cpuUsage();
  for (const place of places) {
    for (const value of [2 ** 30, -1, 2 ** 31 - 1]) {
      const lying = Buffer.from(whole);
      lying.writeInt32LE(value, place);
      try {
        const rows = decodeShard(lying, 3, 'float32', 'shard');
        assert.deepEqual([rows.token.length, rows.activation.length], [10, 30]);
      } catch (error) {
        assert.equal((error as Error).name, 'Refusal', `${place}: ${(error as Error).stack}`);
        refused++;
      }
    }
  }
  assert.ok(refused > places.length, `${refused} of ${3 * places.length}`);
  // Each was a loop of minutes before there was a check.
  assert.ok(process.cpuUsage(began).user < 20e6);
});

const words = (from: number, length: number) => Array.from({ length: length >> 2 }, (_, i) => from + 4 * i);

test('a file that is not an Arrow file, or was cut, is refused', async () => {
  for (const bytes of [Buffer.alloc(0), Buffer.from('ARROW1'), Buffer.from('{"schema":1}'), whole.subarray(0, -1)]) {
    assert.throws(() => checkIpcFile(bytes), RangeError);
    await refuses(
      () => decodeShard(bytes, 3, 'float32', 'shard'),
      'activations/foreign-shard',
      'shard',
      'not an Arrow IPC file',
    );
  }
});
