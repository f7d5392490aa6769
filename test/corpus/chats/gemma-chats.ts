import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '../../temporary.js';

// What scripts/golden_chats.py made with Hugging Face's transformers.

/** A conversation, its text, and its tokens by the bundled tokenizer as it is, and with the marks of turns as tokens. */
export interface GoldenChat {
  readonly messages: readonly { readonly role: string; readonly content: unknown }[];
  readonly text: string;
  readonly bundled: GoldenTokens;
  readonly 'with turns': GoldenTokens;
}

/** Masks have one digit per token: is it one of the assistant's, or of the user's? */
export interface GoldenTokens {
  readonly ids: readonly number[];
  readonly assistant: string;
  readonly user: string;
}

const [first, ...lines] = readFileSync('test/golden/chats.jsonl', 'utf8').trim().split('\n');
/** Gemma's template, and a copy that marks what is generated. */
export const { template, marked } = JSON.parse(first!) as { template: string; marked: string };
export const goldenChats = lines.map((line) => JSON.parse(line) as GoldenChat);

/**
 * The bundled model with a chat template.
 *
 * @param turns Gemma's marks of turns are special tokens; weights are left out, which have no row for them
 */
export function chatModel(source: string, turns = false): string {
  const directory = temporaryDirectory();
  const filter = (name: string) => !(turns && name.endsWith('.safetensors'));
  cpSync('assets/tiny-gemma', directory, { recursive: true, filter });
  writeFileSync(join(directory, 'chat_template.jinja'), source);
  if (!turns) return directory;
  const path = join(directory, 'tokenizer.json');
  const file = JSON.parse(readFileSync(path, 'utf8')) as { added_tokens: object[] };
  for (const [i, content] of ['<start_of_turn>', '<end_of_turn>'].entries()) {
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
    file.added_tokens.push({ id: 4096 + i, content, ...flags });
  }
  writeFileSync(path, JSON.stringify(file));
  return directory;
}
