import { isJsonObject, type JsonObject } from '../../disk/json.js';

/** A token that is matched in the text before any merging. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Only if no letter, digit or underscore is adjacent. */
  readonly singleWord: boolean;
  /** Consumes the white space before it, or after it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Matched in normalized form in the normalized text. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** Everything that determines the tokens of a text. Characters are UTF-16 units. */
export interface Recipe {
  /** The normalizer's replacements of single characters. */
  readonly replaced: ReadonlyMap<number, number>;
  /** The character that begins a word, if the text is first split into words: by `▁?[^▁]+`. */
  readonly wordStart: number | null;
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Pairs of tokens in order of priority, as [left, right, merged, …]. */
  readonly merges: Int32Array;
  /** The token of each byte. */
  readonly bytes: Int32Array;
  readonly added: readonly AddedToken[];
}

/** A tokenizer.json has a part that this encoder does not support. */
export class UnknownPart extends Error {
  /**
   * @param part description, to be read after "has"
   * @param libraryAgrees whether transformers.js is known to give Python's tokens for it
   */
  constructor(
    readonly part: string,
    readonly libraryAgrees = false,
  ) {
    super(`The tokenizer has ${part}`);
  }
}

/** A file has malformed content. */
export class BrokenPart extends Error {}

/** Tokens are stored as int32. */
export const isToken = (id: unknown): id is number =>
  Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31;
export const absent = (value: unknown) =>
  value === undefined || value === null || value === '' || value === false || value === 0;
export const quoted = (value: unknown) => String(JSON.stringify(value)).slice(0, 120);

/**
 * Reads a tokenizer.json into a recipe.
 *
 * @throws UnknownPart if it has a part that Gemma's do not have, BrokenPart if it is malformed
 */
export function readRecipe(file: unknown, config: unknown): Recipe {
  if (!isJsonObject(file) || !isJsonObject(config)) throw new BrokenPart('is not an object');
  if (file.version !== undefined && file.version !== '1.0') throw new UnknownPart(`version ${quoted(file.version)}`);
  const model = file.model;
  if (!isJsonObject(model)) throw new BrokenPart('has no model');
  if (model.type !== 'BPE') throw new UnknownPart(`a model of type ${quoted(model.type)}`);
  const vocabulary = readVocabulary(model.vocab);
  // What is always refused comes before what may be left to the library.
  const added = readAdded(file.added_tokens, vocabulary);
  const unknown: UnknownPart[] = [];
  const attempt = <T>(part: () => T): T | undefined => {
    try {
      return part();
    } catch (error) {
      if (!(error instanceof UnknownPart)) throw error;
      unknown.push(error);
      return undefined;
    }
  };
  attempt(() => checkModel(model));
  attempt(() => checkConfig(config));
  const replaced = attempt(() => readNormalizer(file.normalizer)) ?? new Map<number, number>();
  const wordStart = attempt(() => readPreTokenizer(file.pre_tokenizer, replaced)) ?? null;
  const merges = readMerges(model.merges, vocabulary);
  const bytes = model.byte_fallback === true ? attempt(() => readBytes(vocabulary)) : undefined;
  // A part that the library supports must not hide another that it does not.
  const first = unknown.find((part) => !part.libraryAgrees) ?? unknown[0];
  if (first) throw first;
  return { replaced, wordStart, vocabulary, merges, bytes: bytes!, added };
}

function checkConfig(config: JsonObject): void {
  for (const key of ['remove_space', 'do_lowercase_and_remove_accent']) {
    if (!absent(config[key])) throw new UnknownPart(key);
  }
  const name = config.tokenizer_class;
  if (!absent(name) && (typeof name !== 'string' || !/^(Gemma|PreTrained)Tokenizer(Fast)?$/.test(name))) {
    throw new UnknownPart(`tokenizer_class ${quoted(name)}`, typeof name === 'string');
  }
}

function checkModel(model: JsonObject): void {
  for (const key of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix']) {
    if (!absent(model[key])) throw new UnknownPart(`${key} ${quoted(model[key])}`);
  }
  if (!absent(model.ignore_merges)) throw new UnknownPart('ignore_merges', true);
  if (model.byte_fallback !== true) throw new UnknownPart('no byte_fallback', typeof model.unk_token === 'string');
}

export function readVocabulary(vocab: unknown): Map<string, number> {
  if (!isJsonObject(vocab)) throw new BrokenPart('has no vocabulary');
  const vocabulary = new Map<string, number>();
  const seen = new Set<number>();
  for (const [token, id] of Object.entries(vocab)) {
    if (!isToken(id)) throw new BrokenPart(`gives ${quoted(id)} where a token's number belongs`);
    if (seen.has(id)) throw new UnknownPart(`two tokens of number ${id}`);
    seen.add(id);
    vocabulary.set(token, id);
  }
  return vocabulary;
}

/** Replacements of one character by another: Gemma's of " " by "▁". */
function readNormalizer(normalizer: unknown): Map<number, number> {
  const replaced = new Map<number, number>();
  if (normalizer === null || normalizer === undefined) return replaced;
  const steps = isJsonObject(normalizer) && normalizer.type === 'Sequence' ? normalizer.normalizers : [normalizer];
  if (!Array.isArray(steps)) throw new BrokenPart('has a normalizer without steps');
  for (const step of steps as unknown[]) {
    const pattern =
      isJsonObject(step) && step.type === 'Replace' && isJsonObject(step.pattern) ? step.pattern.String : undefined;
    const content = isJsonObject(step) ? step.content : undefined;
    if (!isUnit(pattern) || !isUnit(content)) {
      const other = (steps as unknown[]).find((one) => !isAgreed(one));
      throw new UnknownPart(`the normalizer ${quoted(other ?? step)}`, other === undefined);
    }
    const [from, to] = [pattern.charCodeAt(0), content.charCodeAt(0)];
    for (const [key, value] of replaced) if (value === from) replaced.set(key, to);
    if (!replaced.has(from)) replaced.set(from, to);
  }
  return replaced;
}

/**
 * Normalizers for which transformers.js agrees with Python; it differs in white space and lower-casing, for example.
 */
function isAgreed(step: unknown): boolean {
  if (!isJsonObject(step)) return false;
  if (step.type === 'Prepend') return typeof step.prepend === 'string';
  if (step.type !== 'Replace') return /^NFK?[CD]$/.test(String(step.type));
  const text = isJsonObject(step.pattern) ? step.pattern.String : undefined;
  // JavaScript treats "$" specially in replacements.
  return typeof text === 'string' && text !== '' && typeof step.content === 'string' && !step.content.includes('$');
}

/** A character that is one UTF-16 unit. */
const isUnit = (text: unknown): text is string => typeof text === 'string' && /^[^\ud800-\udfff]$/s.test(text);

const WORD_PATTERN = '▁?[^▁]+';

function readPreTokenizer(split: unknown, replaced: ReadonlyMap<number, number>): number | null {
  if (split === null || split === undefined) return null;
  const known = isJsonObject(split) && split.type === 'Split' && absent(split.invert) && isJsonObject(split.pattern);
  if (!known)
    throw new UnknownPart(`the pre-tokenizer ${quoted(split)}`, isJsonObject(split) && split.type === 'Metaspace');
  const { pattern, behavior } = split as { pattern: JsonObject; behavior: unknown };
  if (pattern.Regex === WORD_PATTERN && behavior === 'Isolated') return WORD_PATTERN.charCodeAt(0);
  const { String: text } = pattern;
  // Gemma 3 splits at spaces, but its normalizer leaves none.
  if (isUnit(text) && replaced.has(text.charCodeAt(0)) && ![...replaced.values()].includes(text.charCodeAt(0)))
    return null;
  throw new UnknownPart(
    `the pre-tokenizer ${quoted(split)}`,
    !!text && typeof text === 'string' && behavior === 'Isolated',
  );
}

export function readMerges(merges: unknown, vocabulary: ReadonlyMap<string, number>): Int32Array {
  if (!Array.isArray(merges)) throw new BrokenPart('has no merges');
  const read = new Int32Array(3 * merges.length);
  const kind = typeof merges[0];
  for (const [i, merge] of (merges as unknown[]).entries()) {
    const parts: unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : [];
    const [left, right] = parts;
    if (typeof merge !== kind || parts.length !== 2 || typeof left !== 'string' || typeof right !== 'string') {
      throw new BrokenPart(`has a merge of ${quoted(merge)}`);
    }
    for (const [k, token] of [left, right, left + right].entries()) {
      const id = vocabulary.get(token);
      if (id === undefined) throw new BrokenPart(`merges ${quoted(token)}, which is not in its vocabulary`);
      read[3 * i + k] = id;
    }
  }
  return read;
}

function readBytes(vocabulary: ReadonlyMap<string, number>): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => {
    const id = vocabulary.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
    // A one-byte character in the vocabulary never needs byte fallback: Gemma 2 has "\t" for <0x09>.
    const needed = byte >= 0x80 || !vocabulary.has(String.fromCharCode(byte));
    if (id === undefined && needed) throw new UnknownPart(`no token for byte ${byte}`);
    return id ?? -1;
  });
}

export function readAdded(list: unknown, vocabulary: ReadonlyMap<string, number>): AddedToken[] {
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw new BrokenPart('has added tokens that are not a list');
  const seen = new Set<string>();
  let largest = -1;
  return (list as unknown[]).map((token): AddedToken => {
    if (!isJsonObject(token) || typeof token.content !== 'string' || token.content === '') {
      throw new BrokenPart(`has an added token of ${quoted(token)}`);
    }
    const { id, content } = token;
    if (!isToken(id)) throw new BrokenPart(`gives ${quoted(id)} where a token's number belongs`);
    if (seen.has(content)) throw new UnknownPart(`${quoted(content)} twice among its added tokens`);
    seen.add(content);
    // Python uses the vocabulary's id, or the next free one, whatever the file says.
    const number = vocabulary.get(content) ?? Math.max(largest + 1, vocabulary.size);
    if (number !== id) throw new UnknownPart(`number ${id} for ${quoted(content)}, which Python gives ${number},`);
    largest = Math.max(largest, id);
    const flag = (key: string) => {
      if (typeof token[key] !== 'boolean')
        throw new BrokenPart(`has the added token ${quoted(content)} without ${key}`);
      return token[key];
    };
    return {
      ...{ id, content, singleWord: flag('single_word'), lstrip: flag('lstrip'), rstrip: flag('rstrip') },
      ...{ special: flag('special'), normalized: flag('normalized') },
    };
  });
}
