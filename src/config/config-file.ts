import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Alias, Node } from 'yaml';
import { UsageRefusal } from '../errors/refusal.js';
import { STAGES, type StageName } from './stages.js';
import { insteadOfStage } from './suggest.js';

/** Max bytes of a configuration file: a thousand times what anyone writes by hand, and still parsed in a second. */
const LARGEST_CONFIG = 256 * 1024;
const FIX = 'Fix the YAML; see configs/ for examples.';

/**
 * A stage's section of the file, unchecked; empty if the file has none.
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

/** The text of a regular file of bounded size. Pipes and devices are refused: reading one may never end. */
function configText(file: string): string {
  try {
    // A plain open would block on a pipe without a writer.
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

/** The whole file, but never more than the limit, even if it grows while being read. */
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

/** Parses YAML text. Cached: a sweep parses the same text once per run. */
function parsedYaml(file: string, text: string): unknown {
  if (last?.text === text) return last.document;
  try {
    // Loaded only if a file is given, to keep `--help` fast.
    const { isAlias, parseDocument } = createRequire(import.meta.url)('yaml') as typeof import('yaml');
    // yaml compares every pair of keys (uniqueKeys), and would warn on standard error about keys that are lists.
    const document = parseDocument(text, { uniqueKeys: false, logLevel: 'error' });
    // yaml only warns about unknown tags, but the value would be misread.
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

/** yaml's error as a phrase; some of its limit errors are written for programmers. */
function wordsFor({ message }: Error): string {
  if (message.includes('call stack')) return 'it is nested too deeply';
  if (message.includes('alias count')) return 'its aliases grow without end';
  if (message.includes('multiple documents')) return 'it contains several documents, with --- between them';
  return message.split('\n')[0]!.replace(/[.:]$/, '');
}

/** Max aliases (`*name`) per file. */
const MOST_ALIASES = 100;

/** The properties read from any node; scalars and lists without an anchor lack most of them. */
interface AnyNode {
  readonly items?: readonly unknown[];
  readonly anchor?: string;
  readonly range?: readonly [start: number, value: number, end: number];
}

/**
 * Checks that yaml skips, or does in quadratic time (it compares all pairs of keys): duplicate keys, and aliases that
 * contain themselves and would expand forever.
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
    if (within) throw new Error(`the alias *${name} is inside its own anchor`);
  }
}

/** Items of a list; for a mapping, its values and its non-scalar keys. */
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
    if (keys.has(name)) throw new Error(`the key "${name}" appears twice`);
    keys.add(name);
  }
}
