import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** A command that a page shows. */
export interface DocumentedCommand {
  readonly page: string;
  readonly line: number;
  /** The words after `sae-pipe`. */
  readonly words: readonly string[];
  /** In a line of prose, or with something left to the reader: its flags can be checked, their values cannot. */
  readonly partial: boolean;
}

/** README.md, and every page below docs. */
export function pages(root: string): string[] {
  const below = readdirSync(join(root, 'docs'), { recursive: true, withFileTypes: true });
  const found = below.filter((entry) => entry.isFile() && entry.name.endsWith('.md'));
  return ['README.md', ...found.map((entry) => relative(root, join(entry.parentPath, entry.name)))].sort();
}

/** The commands of sae-pipe in the code blocks and in the inline code of a page. */
export function commandsOf(root: string, page: string): DocumentedCommand[] {
  const lines = readFileSync(join(root, page), 'utf8').split('\n');
  const commands: DocumentedCommand[] = [];
  let fenced = false;
  for (let k = 0; k < lines.length; k++) {
    const line = lines[k]!;
    if (/^\s*```/.test(line)) fenced = !fenced;
    else if (fenced || /^ {4}/.test(line)) {
      const at = k;
      let text = line;
      while (text.endsWith('\\') && k + 1 < lines.length) text = `${text.slice(0, -1)} ${lines[++k]!.trim()}`;
      commands.push(...ofShell(text).map((words) => command(page, at, words, false)));
    } else {
      for (const [, code] of line.matchAll(/`(sae-pipe [^`]+)`/g)) {
        commands.push(...ofShell(code!).map((words) => command(page, k, words, true)));
      }
    }
  }
  return commands;
}

/** Dots and names in capitals stand for what the reader fills in, and a run that is resumed has to be there. */
const LEFT_TO_THE_READER = /…|\.\.\.|^\[|\]$|\$|^[A-Z][A-Z0-9_]*$|^--resume$/;

function command(page: string, at: number, words: string[], inProse: boolean): DocumentedCommand {
  return { page, line: at + 1, words, partial: inProse || words.some((word) => LEFT_TO_THE_READER.test(word)) };
}

/** The words of each sae-pipe command in a line of shell: of pipes, lists and assignments the commands alone. */
function ofShell(text: string): string[][] {
  const found: string[][] = [];
  let [words, word, quote]: [string[], string | undefined, string] = [[], undefined, ''];
  const endWord = () => {
    if (word !== undefined) words.push(word);
    word = undefined;
  };
  const endCommand = () => {
    endWord();
    const name = words.findIndex((each) => /^(sae-pipe|bin\/sae-pipe\.js|.*\/bin\/sae-pipe(\.js)?)$/.test(each));
    const before = words.slice(0, Math.max(name, 0));
    if (
      name >= 0 &&
      before.every((each) => /^(\$|npx|node|time|nohup|srun|exec|[A-Z_]+=.*|nice|-n|[0-9]+)$/.test(each))
    ) {
      found.push(words.slice(name + 1));
    }
    words = [];
  };
  // <path> stands for a word: its brackets redirect nothing.
  for (const character of text.replace(/<([\w|. -]+)>/g, (_, name: string) => name.toUpperCase().replace(/\W/g, '_'))) {
    if (quote) {
      if (character === quote) quote = '';
      else word = (word ?? '') + character;
    } else if (character === '"' || character === "'") {
      [quote, word] = [character, word ?? ''];
    } else if (character === '#' && word === undefined) break;
    else if ('|;&<>('.includes(character)) endCommand();
    else if (/\s/.test(character)) endWord();
    else word = (word ?? '') + character;
  }
  endCommand();
  return found;
}
