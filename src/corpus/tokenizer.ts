import { join, resolve } from 'node:path';
import { readJsonFile } from '../disk/json.js';
import { Refusal } from '../errors/refusal.js';
import type { BosPolicy } from '../lm/family.js';
import { ByteLevelEncoder } from './bpe/byte-level.js';
import { readByteLevel } from './bpe/byte-level-recipe.js';
import { DocumentEncoder } from './bpe/document.js';
import { BpeEncoder } from './bpe/encoder.js';
import { BrokenPart, isToken, type Recipe, readRecipe, UnknownPart } from './bpe/recipe.js';
import { type Spelling, spellingOf } from './spelling.js';

/** Max bytes of a file; Gemma 3's tokenizer.json has 33 MiB. */
const MOST_TOKENIZER_BYTES = 2 ** 28;

/** Tokenizes one document, as its text arrives. */
interface DocumentTokens {
  /** Takes a piece of the text, split anywhere except within a character; returns the tokens known so far. */
  push(piece: string): Iterable<Int32Array>;
  /** The tokens of the rest. */
  end(): Iterable<Int32Array>;
}

/** Text to token ids. */
export interface Tokenizer {
  /** −1 if it has none. */
  readonly bosTokenId: number;
  /** Do documents and contexts begin with BOS? */
  readonly prependBos: boolean;
  /** Tokens that stand for no text, such as <eos>, by id. */
  readonly special: ReadonlyMap<number, string>;
  /** All tokens that are matched in the text before any merging, including special ones. */
  readonly added: ReadonlyMap<number, string>;
  /** Undefined if unknown. */
  readonly spelling?: Spelling;
  /** One more than the largest id in the vocabulary; added tokens may be beyond. */
  readonly vocabulary: number;
  /**
   * Starts a document, whose tokens come without BOS or other additions.
   *
   * @param source its name in messages
   */
  begin(source: string): DocumentTokens;
}

/** The settings in config.json that a tokenizer must agree with. */
export interface ExpectedTokens {
  /** −1 if none is given. */
  readonly bosTokenId: number;
  /** `always` if not given. */
  readonly bos?: BosPolicy;
  /** Rows of the embedding. */
  readonly vocabulary?: number;
  /** Tokens with a special role, by the key that gives it. */
  readonly special?: ReadonlyMap<string, readonly number[]>;
}

/**
 * Opens the tokenizer of a model directory (tokenizer.json and tokenizer_config.json); nothing is downloaded. A
 * tokenizer with parts that our encoder does not support is left to transformers.js.
 *
 * @throws Refusal if a file is missing or damaged, or it does not fit the weights
 */
export async function openTokenizer(directory: string, expected: ExpectedTokens): Promise<Tokenizer> {
  const file = await readTokenizerFile(directory, 'tokenizer.json');
  const config = await readTokenizerFile(directory, 'tokenizer_config.json');
  const { bos = 'always' } = expected;
  const prependBos = bos === 'tokenizer' ? prependsBos(file, config) : bos === 'always';
  const tokenizer = { ...(await openWith(directory, file, config, expected)), prependBos };
  checkFits(directory, tokenizer, expected);
  return tokenizer;
}

/**
 * Reads a file of a tokenizer.
 *
 * @throws Refusal if it is missing or damaged
 */
export function readTokenizerFile(directory: string, name: string): Promise<unknown> {
  return readJsonFile(
    join(directory, name),
    [`${directory} has no ${name}.`, 'Download the whole checkpoint, tokenizer included.', 'corpus/no-tokenizer'],
    `Download ${name} again.`,
    MOST_TOKENIZER_BYTES,
  );
}

/**
 * Does the tokenizer itself prepend BOS to every text? Determined by `add_bos_token` in tokenizer_config.json,
 * otherwise by the template in tokenizer.json.
 */
function prependsBos(file: unknown, config: unknown): boolean {
  const { add_bos_token: said } = config as TokenizerKeys;
  if (typeof said === 'boolean') return said;
  const bos = namedToken(config, 'bos_token');
  const { post_processor: processor } = file as TokenizerKeys;
  const steps = [processor, (processor as TokenizerKeys | null | undefined)?.processors].flat() as (
    | TokenizerKeys
    | null
    | undefined
  )[];
  const templates = steps.map((step) => step?.single).filter(Array.isArray);
  return templates.some(
    ([first]) => bos !== '' && (first as { SpecialToken?: TokenizerKeys })?.SpecialToken?.id === bos,
  );
}

type TokenizerKeys = Readonly<Record<string, unknown>>;

type UnsettledTokenizer = Omit<Tokenizer, 'prependBos'>;

async function openWith(
  directory: string,
  file: unknown,
  config: unknown,
  expected: ExpectedTokens,
): Promise<UnsettledTokenizer> {
  try {
    const byteLevel = readByteLevel(file, config);
    const recipe = byteLevel ?? readRecipe(file, config);
    const bos = namedToken(config, 'bos_token');
    const encoder = byteLevel ? new ByteLevelEncoder(byteLevel) : new BpeEncoder(readRecipe(file, config));
    let vocabulary = 0;
    for (const id of recipe.vocabulary.values()) vocabulary = Math.max(vocabulary, id + 1);
    return {
      bosTokenId: bosOf(recipe, bos) ?? (byteLevel && unnamedBos(recipe, bos, expected)) ?? -1,
      special: new Map(recipe.added.filter((token) => token.special).map(({ id, content }) => [id, content])),
      added: new Map(recipe.added.map(({ id, content }) => [id, content])),
      spelling: spellingOf(recipe, encoder),
      vocabulary,
      begin: (source) => new DocumentEncoder(encoder, source),
    };
  } catch (cause) {
    if (cause instanceof BrokenPart) {
      throw new Refusal(
        `The tokenizer in ${directory} ${cause.message}.`,
        'Download tokenizer.json again.',
        'corpus/broken-tokenizer',
        { cause },
      );
    }
    if (!(cause instanceof UnknownPart)) throw cause;
    if (!cause.libraryAgrees) {
      throw new Refusal(
        `The tokenizer in ${directory} has ${cause.part}, which is not supported.`,
        'Use the tokenizer.json that came with the checkpoint; those of Gemma, GPT-2, Pythia, Llama 3 and Qwen are known.',
        'corpus/unsupported-tokenizer',
        { cause },
      );
    }
    return openLibraryTokenizer(directory, file, cause.part);
  }
}

function bosOf({ added, vocabulary }: Pick<Recipe, 'added' | 'vocabulary'>, bos: string): number | undefined {
  return added.find(({ content }) => content === bos)?.id ?? vocabulary.get(bos);
}

/** GPT-2's tokenizer_config.json names no BOS; its class has one, and so does the model's config.json. */
function unnamedBos({ added }: Pick<Recipe, 'added'>, bos: string, { bosTokenId }: ExpectedTokens): number | undefined {
  return bos === '' && added.some(({ id, special }) => special && id === bosTokenId) ? bosTokenId : undefined;
}

/** The text of a token named in tokenizer_config.json: a string, or an object containing one. */
function namedToken(config: unknown, key: string): string {
  const value = (config as TokenizerKeys)[key];
  const text = value !== null && typeof value === 'object' ? (value as { content?: unknown }).content : value;
  return typeof text === 'string' ? text : '';
}

function checkFits(directory: string, tokenizer: Tokenizer, expected: ExpectedTokens): void {
  const refuse = (what: string) => {
    throw new Refusal(what, 'Tokenizer and weights must be of one checkpoint.', 'corpus/other-tokenizer');
  };
  const { bosTokenId: bos, vocabulary, special } = tokenizer;
  // If no BOS is written, config.json may name one that the tokenizer does not have.
  const named = expected.bosTokenId;
  if (tokenizer.prependBos && (bos < 0 || (named >= 0 && bos !== named))) {
    const found = bos < 0 ? 'no token' : `token ${bos}`;
    const there = named < 0 ? 'not named' : named;
    refuse(`BOS is ${found} for the tokenizer in ${directory} and ${there} in its config.json.`);
  }
  // The embedding may have spare rows; added tokens without a row are refused when a text contains one.
  const rows = expected.vocabulary ?? vocabulary;
  if (vocabulary > rows || 2 * vocabulary < rows) {
    refuse(`The tokenizer in ${directory} has ${vocabulary} tokens, and the model's vocabulary has ${rows}.`);
  }
  for (const [key, ids] of expected.special ?? []) {
    for (const id of ids) {
      if (!special.has(id))
        refuse(`config.json has ${key} ${id}, which is not a special token of the tokenizer in ${directory}.`);
    }
  }
}

/** Max characters of a document if it is not known where this tokenizer's texts may be split. */
const LONGEST_DOCUMENT = 2 ** 20;

/**
 * The tokenizer of a model directory as implemented by transformers.js: slow, but it supports more kinds.
 *
 * @param file the parsed tokenizer.json
 * @param part why our encoder could not be used, to be read after "has"
 * @throws Refusal if it cannot be opened, or its tokens are known to differ from Python's
 */
async function openLibraryTokenizer(directory: string, file: unknown, part: string): Promise<UnsettledTokenizer> {
  const { AutoTokenizer, env } = await import('@huggingface/transformers');
  env.allowRemoteModels = false;
  const broken = (what: string, cause?: unknown) =>
    new Refusal(`The tokenizer in ${directory} ${what}.`, 'Download tokenizer.json again.', 'corpus/broken-tokenizer', {
      cause,
    });
  const reason = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause));
  const tokenizer = await AutoTokenizer.from_pretrained(resolve(directory), { local_files_only: true }).catch(
    (cause) => {
      throw broken(`could not be opened: ${reason(cause)}`, cause);
    },
  );
  const { added_tokens: list, model } = file as { added_tokens?: unknown; model?: { vocab?: unknown } };
  const added = (Array.isArray(list) ? list : []) as {
    id: unknown;
    content: unknown;
    special?: unknown;
    [flag: string]: unknown;
  }[];
  // It disagrees with Python about words, and about the white space that tokens consume.
  for (const [flag, token] of ['single_word', 'lstrip', 'rstrip'].map(
    (name) => [name, added.find((t) => t?.[name])] as const,
  )) {
    if (!token) continue;
    throw new Refusal(
      `The tokenizer in ${directory} has ${part}, and the added token ${JSON.stringify(token.content)} with ${flag}: the two are not supported together.`,
      'Use the tokenizer.json of a Gemma checkpoint.',
      'corpus/unsupported-tokenizer',
    );
  }
  const encode = (text: string): Int32Array => {
    let ids: readonly unknown[];
    try {
      ids = tokenizer.encode(text, { add_special_tokens: false });
    } catch (cause) {
      throw broken(`cannot encode a text: ${reason(cause)}`, cause);
    }
    for (const id of ids) if (!isToken(id)) throw broken(`gives ${JSON.stringify(id)} where a token's number belongs`);
    return Int32Array.from(ids as number[]);
  };
  return {
    bosTokenId: isToken(tokenizer.bos_token_id) ? tokenizer.bos_token_id : -1,
    special: new Map(
      added
        .filter((token) => token?.special && isToken(token.id))
        .map(({ id, content }) => [id as number, typeof content === 'string' ? content : `token ${id}`]),
    ),
    added: new Map(
      added
        .filter((token) => isToken(token?.id) && typeof token.content === 'string')
        .map(({ id, content }) => [id as number, content as string]),
    ),
    vocabulary: vocabularySize(model?.vocab),
    begin: (source) => new WholeDocument(encode, source, part),
  };
}

function vocabularySize(vocab: unknown): number {
  let size = 0;
  for (const id of Object.values(vocab ?? {})) if (isToken(id)) size = Math.max(size, id + 1);
  return Array.isArray(vocab) ? vocab.length : size;
}

/** A document that is encoded once it is complete. */
class WholeDocument implements DocumentTokens {
  private text = '';

  constructor(
    private readonly encode: (text: string) => Int32Array,
    private readonly source: string,
    private readonly part: string,
  ) {}

  push(piece: string): Int32Array[] {
    this.text += piece;
    if (this.text.length <= LONGEST_DOCUMENT) return [];
    throw new Refusal(
      `${this.source} has more than ${LONGEST_DOCUMENT} characters, and the tokenizer has ${this.part}, for which it is not known where texts may be split.`,
      'Split the document into several.',
      'corpus/document-too-long',
    );
  }

  end(): Int32Array[] {
    return this.text === '' ? [] : [this.encode(this.text)];
  }
}
