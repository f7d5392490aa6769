import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** A number of characters of the bundled validation text, from character `from` on. */
export function prose(characters: number, from = 0): string {
  const lines = gunzipSync(readFileSync('assets/corpus/validation.jsonl.gz')).toString('utf8').trimEnd().split('\n');
  const text = lines.map((line) => (JSON.parse(line) as { text: string }).text).join('\n\n');
  return text.slice(from, from + characters);
}
