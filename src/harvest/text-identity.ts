import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { version } from '../config/flags.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import type { CorpusFile } from '../corpus/file-kind.js';
import type { Text } from '../corpus/text.js';

/** What makes tokens of text. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'];

/**
 * Identity of a text as tokens, known without reading it: SHA-256 over the program's version, its settings that decide
 * how files are read, the tokenizer, and every file's path, size and hash. Undefined where files can only be known by
 * reading them, or documents come in another order than that of the files.
 *
 * @param model the model's directory
 */
export async function textIdentity(
  { idsField, idsDtype, textField, encoding, chatField }: HarvestConfig,
  files: readonly CorpusFile[],
  text: Text,
  model: string,
): Promise<string | undefined> {
  if (!text.keepsPositions || files.some(({ identity }) => identity === undefined)) return undefined;
  const settings = { idsField, idsDtype, textField, encoding, chatField };
  const hash = createHash('sha256').update(JSON.stringify([version(), settings]));
  for (const name of TOKENIZER_FILES) hash.update(await readFile(join(model, name)));
  for (const { identity, bytes } of files) hash.update(`${JSON.stringify([identity, bytes])}\n`);
  return hash.digest('hex');
}
