import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { version } from '../config/flags.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import type { CorpusFile } from '../corpus/file-kind.js';
import type { Text } from '../corpus/text.js';

/** The settings that determine the tokens of a text. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'];

/**
 * Identity of a text as tokens, known without reading it: SHA-256 over sae-pipe's version, the settings that decide
 * how files are read, the tokenizer, and every file's path, size and hash. Undefined if files can only be identified by
 * reading them, or documents are not in file order.
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
