import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from '../temporary.js';

/** A file laid out by hand: header length, header as it is given, data. */
export function rawFile(t: TestContext, header: unknown, data: Uint8Array = new Uint8Array(0)): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeUInt32LE(json.length);
  const path = join(temporaryDirectory(t), 'weights.safetensors');
  writeFileSync(path, Buffer.concat([length, json, data]));
  return path;
}
