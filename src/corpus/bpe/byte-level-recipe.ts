import { isJsonObject, type JsonObject } from '../../disk/json.js';
import {
  type AddedToken,
  absent,
  BrokenPart,
  quoted,
  readAdded,
  readMerges,
  readVocabulary,
  UnknownPart,
} from './recipe.js';

// Byte-level byte-pair encoding (Radford et al. 2019): a regular expression splits a text into words, and the bytes of
// each word are merged. Used by GPT-2, GPT-NeoX, Llama 3 and Qwen.

/** How a text is split into words. */
export interface WordPattern {
  /** Matches the words, one after another; sticky or global, with the flag u. */
  readonly words: RegExp;
  /** May a word that ends in punctuation include the line ends after it? */
  readonly takesLineEnds: boolean;
}

/** Everything that determines the tokens of a text. */
export interface ByteLevelRecipe {
  /** Normalise the text to Unicode's composed form (NFC) first. */
  readonly composed: boolean;
  /** Every digit is a word. */
  readonly digitsAlone: boolean;
  readonly pattern: WordPattern;
  /** A word that is in the vocabulary is a token, regardless of the merges. */
  readonly wholeWords: boolean;
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Pairs of tokens in order of priority, as [left, right, merged, …]. */
  readonly merges: Int32Array;
  readonly added: readonly AddedToken[];
}

/** The character that represents each byte in the vocabulary. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  const shown = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let others = 0;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(shown(byte) ? byte : 256 + others++));
})();

// \s, \p{L} and \p{N} as in Python's tokenizers; JavaScript's \s includes U+FEFF, and not U+0085.
const S = '\\p{White_Space}';
const NOT_S = '\\P{White_Space}';
const OTHER = `[^${S}\\p{L}\\p{N}]`;
/** 's, 't, 're …, in either case; for s, also the long s. */
const ENDINGS = "'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])";

/** GPT-2's: the pattern of ByteLevel when it splits the text itself. */
const GPT_2: WordPattern = {
  words: new RegExp(`'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?${OTHER}+|${S}+(?!${NOT_S})|${S}+`, 'gu'),
  takesLineEnds: false,
};

/** Those of Llama 3 and Qwen, which differ in the number of digits per word. */
const later = (digits: string): WordPattern => ({
  words: new RegExp(
    [
      `${ENDINGS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?${OTHER}+[\\r\\n]*`,
      `${S}*[\\r\\n]+|${S}+(?!${NOT_S})|${S}+`,
    ].join('|'),
    'gu',
  ),
  takesLineEnds: true,
});

const laterSource = (digits: string) =>
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/** Patterns by their source in tokenizer.json. */
const PATTERNS: ReadonlyMap<string, WordPattern> = new Map([
  [laterSource(String.raw`\p{N}{1,3}`), later('\\p{N}{1,3}')],
  [laterSource(String.raw`\p{N}`), later('\\p{N}')],
]);

/** Tokenizer classes fully described by tokenizer.json. */
const CLASSES = /^((GPT2|GPTNeoX|Qwen2|PreTrained|Llama)Tokenizer(Fast)?|TokenizersBackend)$/;

/**
 * Reads a tokenizer.json into a recipe; null if it is not byte-level.
 *
 * @throws UnknownPart if it has a part that is not supported, BrokenPart if it is malformed
 */
export function readByteLevel(file: unknown, config: unknown): ByteLevelRecipe | null {
  if (!isJsonObject(file) || !isJsonObject(config)) return null;
  const steps = preTokenizers(file.pre_tokenizer);
  const { model } = file;
  // Early files, including GPT-2's own, do not name the type of their model.
  const isBpe = isJsonObject(model) && (model.type ?? (Array.isArray(model.merges) ? 'BPE' : '')) === 'BPE';
  if (!isBpe || !steps.some(({ type }) => type === 'ByteLevel')) return null;
  if (file.version !== undefined && file.version !== '1.0') throw new UnknownPart(`version ${quoted(file.version)}`);
  // An unknown token is never needed: every byte has its own token.
  for (const key of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix', 'byte_fallback']) {
    if (!absent(model[key])) throw new UnknownPart(`${key} ${quoted(model[key])}`);
  }
  const name = config.tokenizer_class;
  if (!absent(name) && !CLASSES.test(String(name))) throw new UnknownPart(`tokenizer_class ${quoted(name)}`);
  if (config.add_prefix_space === true) throw new UnknownPart('add_prefix_space');
  const vocabulary = readVocabulary(model.vocab);
  const lacking = BYTE_CHARACTERS.findIndex((character) => !vocabulary.has(character));
  if (lacking >= 0) throw new UnknownPart(`no token for byte ${lacking}`);
  return {
    composed: readComposed(file.normalizer),
    ...readWords(steps),
    wholeWords: model.ignore_merges === true,
    vocabulary,
    merges: readMerges(model.merges, vocabulary),
    added: readAdded(file.added_tokens, vocabulary),
  };
}

function preTokenizers(value: unknown): JsonObject[] {
  if (!isJsonObject(value)) return [];
  const steps = value.type === 'Sequence' ? value.pretokenizers : [value];
  return Array.isArray(steps) ? steps.filter(isJsonObject) : [];
}

/** Is the text composed? No other normalizer is supported. */
function readComposed(normalizer: unknown): boolean {
  if (normalizer === null || normalizer === undefined) return false;
  const steps = isJsonObject(normalizer) && normalizer.type === 'Sequence' ? normalizer.normalizers : [normalizer];
  if (!Array.isArray(steps)) throw new BrokenPart('has a normalizer without steps');
  const other = (steps as unknown[]).find((step) => !isJsonObject(step) || step.type !== 'NFC');
  if (other !== undefined) throw new UnknownPart(`the normalizer ${quoted(other)}`);
  return steps.length > 0;
}

/** ByteLevel that splits by itself, or after a Split by a known pattern; digits may be split off first. */
function readWords(steps: readonly JsonObject[]): Pick<ByteLevelRecipe, 'digitsAlone' | 'pattern'> {
  const unknown = (step: unknown): never => {
    throw new UnknownPart(`the pre-tokenizer ${quoted(step)}`);
  };
  const bytes = steps.at(-1)!;
  if (bytes.type !== 'ByteLevel' || bytes.add_prefix_space === true) return unknown(bytes);
  let digitsAlone = false;
  let pattern: WordPattern | undefined;
  for (const step of steps.slice(0, -1)) {
    if (step.type === 'Digits' && step.individual_digits === true && !digitsAlone && !pattern) digitsAlone = true;
    else if (step.type === 'Split' && !pattern) pattern = splitPattern(step) ?? unknown(step);
    else return unknown(step);
  }
  // By its own pattern unless it says otherwise.
  const itself = bytes.use_regex !== false;
  if (itself === (pattern !== undefined)) return unknown(bytes);
  return { digitsAlone, pattern: pattern ?? GPT_2 };
}

function splitPattern({ pattern, behavior, invert }: JsonObject): WordPattern | undefined {
  if (!isJsonObject(pattern) || behavior !== 'Isolated' || !absent(invert)) return undefined;
  return PATTERNS.get(String(pattern.Regex));
}
