import type { GivenCommand } from '../config/flags.js';
import { shellWord } from '../config/shell-word.js';
import type { WorkKind } from './work.js';

/**
 * A recorded command as typed in the current directory.
 *
 * @param more words to append; paths among them are absolute
 */
export function commandLine(stage: WorkKind, { directory, words }: GivenCommand, more: readonly string[]): string {
  const command = ['sae-pipe', stage, ...words, ...more].map(shellWord).join(' ');
  return directory === process.cwd() ? command : `cd ${shellWord(directory)} && ${command}`;
}
