import assert from 'node:assert/strict';
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32c, maskedCrc32c } from '../../src/tensorboard/crc32c.js';
import { readEvent, summaryEvent } from '../../src/tensorboard/event.js';
import { checkEventFiles, checkLogDirectory, EventLog, isEventFile } from '../../src/tensorboard/event-log.js';
import { framed, recordsOfFile } from '../../src/tensorboard/record-file.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { pointSteps } from './point-steps.js';

test('CRC-32C has the check value of its catalogue entry, and is masked as in TFRecord files', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  // RFC 3720, appendix B.4: 32 bytes of zeros.
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(maskedCrc32c(Buffer.alloc(32)), (((0x8a9136aa >>> 15) | (0x8a9136aa << 17)) + 0xa282ead8) >>> 0);
});

test('an event has the bytes of the wire format', () => {
  const event = summaryEvent(300, [{ tag: 'a', value: 1 }]);
  // wall_time, then step 300 = ac 02, then a Summary of one value: tag "a", simple_value 1.
  assert.equal(event[0], 0x09);
  assert.equal(event.subarray(9).toString('hex'), ['10ac02', '2a0a', '0a08', '0a0161', '150000803f'].join(''));
  assert.deepEqual(readEvent(event), { step: 300 });
  assert.equal(readEvent(Buffer.from([0x12, 0x7f])), undefined);
});

const point = [{ tag: 'loss', value: 1 }];

test('a log that is continued has every step once, whatever came after the step that it continues from', async (t) => {
  const directory = temporaryDirectory(t);
  const out = join(directory, 'out');
  const first = await EventLog.open(directory, 'train', out, 0);
  for (const step of [0, 10, 20, 30]) await first.append(step, point);
  await first.close();
  // A kill in the middle of a record.
  const [name] = readdirSync(directory);
  appendFileSync(join(directory, name!), framed(summaryEvent(40, point)).subarray(0, 20));
  const second = await EventLog.open(directory, 'train', out, 20);
  assert.equal(second.last, 20);
  await second.append(30, point);
  await second.close();
  assert.deepEqual(await pointSteps(directory, 'train'), [0, 10, 20, 30]);
  const third = await EventLog.open(directory, 'train', out, 10);
  await third.append(20, point);
  await third.close();
  assert.deepEqual(await pointSteps(directory, 'train'), [0, 10, 20]);
  const names = readdirSync(directory);
  assert.ok(names.every(isEventFile), names.join());
});

test('points of training and of evaluation are kept apart', async (t) => {
  const directory = temporaryDirectory(t);
  for (const kind of ['train', 'eval'] as const) {
    const log = await EventLog.open(directory, kind, directory, 0);
    await log.append(7, point);
    await log.close();
  }
  await (await EventLog.open(directory, 'train', directory, 0)).close();
  assert.deepEqual(await pointSteps(directory, 'eval'), [7]);
  assert.deepEqual(await pointSteps(directory, 'train'), []);
});

test('a damaged length, and damaged data, end a file there', async (t) => {
  const path = join(temporaryDirectory(t), 'events');
  const records = [1, 2, 3].map((step) => framed(summaryEvent(step, point)));
  const size = records[0]!.length;
  for (const at of [size + 1, size + 20, size + 7]) {
    const bytes = Buffer.concat(records);
    bytes[at]! ^= 0x40;
    writeFileSync(path, bytes);
    const ends = [];
    for await (const { end } of recordsOfFile(path)) ends.push(end);
    assert.deepEqual(ends, [size]);
  }
});

test('event files of another run are left alone, and a directory inside --out is refused', async (t) => {
  const root = temporaryDirectory(t);
  const [directory, out] = [join(root, 'tb'), join(root, 'out')];
  const log = await EventLog.open(directory, 'train', out, 0);
  await log.append(0, point);
  await log.close();
  const [name] = readdirSync(directory);
  const before = readFileSync(join(directory, name!));
  await checkEventFiles(directory, 'train', out, true);
  await refuses(() => checkEventFiles(directory, 'train', out, false), 'tensorboard/log-dir-taken', '--overwrite');
  await refuses(() => checkEventFiles(directory, 'train', join(root, 'b'), true), 'tensorboard/log-dir-taken', out);
  await refusesUsage(() => checkLogDirectory(join(out, 'tb'), out), 'tensorboard/log-dir-in-out');
  await checkLogDirectory(out, out);
  assert.deepEqual(readFileSync(join(directory, name!)), before);
});
