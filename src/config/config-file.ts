import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Alias, Node } from 'yaml';
import { UsageRefusal } from '../errors/refusal.js';
import { STAGES, type StageName } from './stages.js';
import { insteadOfStage } from './suggest.js';

/** Bytes of a configuration file, at most: a thousand times what is written by hand, and parsed in a second. */
const LARGEST_CONFIG = 256 * 1024;
const FIX = 'Fix the YAML; see configs/ for examples.';

/**
 * The section of a stage as the file has it, unchecked; empty where there is none.
 *
 * @throws UsageRefusal when the file cannot be read, is not YAML, or has a section that no stage has
 */
export function section(file: string, stage: StageName): Record<string, unknown> {
  const document = parsedYaml(file, configText(file));
  if (document === null || typeof document !== 'object' || Array.isArray(document)) {
    throw new UsageRefusal(
      `${file} has no sections.`,
      `Give each stage a section: "${stage}:", with the flags as keys.`,
      'config/no-sections',
    );
  }
  const stages = Object.keys(STAGES);
  for (const name of Object.keys(document)) {
    if (stages.includes(name)) continue;
    const remedy = insteadOfStage(name) ?? `Sections are named like the commands: ${stages.join(', ')}.`;
    throw new UsageRefusal(`${file}, ${name} is not known.`, remedy, 'config/unknown-section');
  }
  const found = (document as Record<string, unknown>)[stage] ?? {};
  if (typeof found !== 'object' || Array.isArray(found)) {
    throw new UsageRefusal(
      `${file}: the section "${stage}" is not a mapping of flags to values.`,
      'Write a line for each flag: "name: value".',
      'config/wrong-section',
    );
  }
  return found as Record<string, unknown>;
}

/** The text of a regular file of bounded size; a pipe or a device may never end. */
function configText(file: string): string {
  try {
    // A pipe that nobody writes to would keep a plain open waiting.
    const handle = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const status = fstatSync(handle);
      if (!status.isFile()) throw notRegular(file, status.isDirectory());
      if (status.size > LARGEST_CONFIG) throw tooLarge(file);
      return new TextDecoder('utf-8', { fatal: true }).decode(bytesOf(file, handle));
    } finally {
      closeSync(handle);
    }
  } catch (cause) {
    if (cause instanceof UsageRefusal) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') {
      throw new UsageRefusal(`${file} is not UTF-8 text, so it is not YAML.`, 'Save it as UTF-8.', 'config/not-utf8');
    }
    throw new UsageRefusal(
      `The configuration file ${file} could not be read (${code}).`,
      'Check the path and its permissions.',
      'config/file-not-readable',
    );
  }
}

/** All of it, but no more than is allowed even where it grows while it is read. */
function bytesOf(file: string, handle: number): Uint8Array {
  const buffer = Buffer.alloc(LARGEST_CONFIG + 1);
  let length = 0;
  for (;;) {
    const read = readSync(handle, buffer, length, buffer.length - length, null);
    length += read;
    if (length > LARGEST_CONFIG) throw tooLarge(file);
    if (read === 0) return buffer.subarray(0, length);
  }
}

const notRegular = (file: string, directory: boolean) =>
  new UsageRefusal(
    `The configuration file ${file} is ${directory ? 'a directory' : 'a pipe or a device, not a regular file'}.`,
    'Write the YAML to a file and name that.',
    'config/not-a-file',
  );

const tooLarge = (file: string) =>
  new UsageRefusal(
    `The configuration file ${file} is larger than ${LARGEST_CONFIG / 1024} KiB.`,
    'Name a YAML file with a section for each command; see configs/ for examples.',
    'config/file-too-large',
  );

let last: { text: string; document: unknown } | undefined;

/** What a YAML text says. A sweep asks for the same one once for each run. */
function parsedYaml(file: string, text: string): unknown {
  if (last?.text === text) return last.document;
  try {
    // Loaded only where a file is given: `--help` must be quick.
    const { isAlias, parseDocument } = createRequire(import.meta.url)('yaml') as typeof import('yaml');
    // yaml compares every key with every other; and it would say on standard error what it makes of keys that are lists.
    const document = parseDocument(text, { uniqueKeys: false, logLevel: 'error' });
    // What yaml only warns of (a tag that it does not know) would be read as something else than is meant.
    const [wrong] = [...document.errors, ...document.warnings];
    if (wrong) throw wrong;
    checkNodes(document.contents, isAlias);
    last = { text, document: document.toJS() };
    return last.document;
  } catch (cause) {
    throw new UsageRefusal(
      `${file} is not YAML that can be read: ${wordsFor(cause as Error)}.`,
      FIX,
      'config/not-yaml',
    );
  }
}

/** What yaml says, in a sentence; of some limits it speaks as to a programmer. */
function wordsFor({ message }: Error): string {
  if (message.includes('call stack')) return 'it is nested too deeply';
  if (message.includes('alias count')) return 'its aliases grow without end';
  if (message.includes('multiple documents')) return 'it holds several documents, with --- between them';
  return message.split('\n')[0]!.replace(/[.:]$/, '');
}

/** Aliases (`*name`) of a file, at most. */
const MOST_ALIASES = 100;

/** What is asked of any node: of a scalar or a list without anchor, most is not there. */
interface AnyNode {
  readonly items?: readonly unknown[];
  readonly anchor?: string;
  readonly range?: readonly [start: number, value: number, end: number];
}

/**
 * Checks a parsed document for what yaml does not look for, or takes ever longer over: it compares each key with all
 * others, and an alias within what it stands for has no end.
 *
 * @throws Error for a mapping with the same key twice, an alias within its own anchor, and too many aliases
 */
function checkNodes(root: unknown, isAlias: (node: unknown) => node is Alias): void {
  const left: unknown[] = [root];
  const anchors: { name: string; start: number; end: number }[] = [];
  const aliases: { name: string; at: number }[] = [];
  while (left.length > 0) {
    const node = left.pop();
    const { items = [], anchor, range } = (node ?? {}) as AnyNode;
    if (anchor !== undefined && range) anchors.push({ name: anchor, start: range[0], end: range[1] });
    if (isAlias(node)) aliases.push({ name: node.source, at: node.range?.[0] ?? 0 });
    if (aliases.length > MOST_ALIASES) throw new Error(`it has more than ${MOST_ALIASES} aliases`);
    left.push(...childrenOf(items));
  }
  for (const { name, at } of aliases) {
    const within = anchors.some((anchor) => anchor.name === name && anchor.start <= at && at < anchor.end);
    if (within) throw new Error(`the alias *${name} stands within its own anchor`);
  }
}

/** Items of a list; values of a mapping, and keys that are no scalars. */
function* childrenOf(items: readonly unknown[]): Generator<unknown> {
  const keys = new Set<string>();
  for (const item of items) {
    const { key, value } = (item ?? {}) as { key?: Node | null; value?: unknown };
    if (key === undefined) {
      yield item;
      continue;
    }
    yield key;
    yield value;
    const name = String((key as { value?: unknown } | null)?.value ?? key);
    if (keys.has(name)) throw new Error(`the key "${name}" is there twice`);
    keys.add(name);
  }
}
