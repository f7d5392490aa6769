import { join } from 'node:path';
import { openRegular, readRegular } from '../disk/input-file.js';
import { parseJson } from '../disk/json.js';
import { formatBytes } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';
import { OpenFileBlob } from '../hub/open-file-blob.js';
import { withoutMachinePaths } from './machine-paths.js';

/** Everything that is pushed: nothing else is read or sent. */
export interface Contents {
  readonly kind: 'model' | 'data set';
  readonly files: readonly PushedFile[];
  /** README.md */
  readonly card: string;
  /** Notes for the user. */
  readonly notes: readonly string[];
}

/** A file as it will be in the folder. */
export interface PushedFile {
  readonly name: string;
  readonly content: Blob;
  /** SHA-256 of the content, if known. */
  readonly sha256?: string;
}

/** Max bytes of a file on the hub. */
const LARGEST = 50e9;
/** Max bytes of a JSON file. */
const MOST_JSON = 2 ** 26;

/** Files that stay open until they are sent. */
export class OpenFiles {
  private readonly open: { close(): Promise<void> }[] = [];

  /**
   * Opens a regular file.
   *
   * @throws Refusal if it is not one, or too large for the hub
   */
  async add(directory: string, name: string): Promise<PushedFile> {
    const path = join(directory, name);
    const file = await openRegular(path);
    if (!file) throw new Refusal(`${path} does not exist.`, 'Check the path.', 'disk/no-file');
    this.open.push(file.handle);
    if (file.size <= LARGEST) return { name, content: await OpenFileBlob.of(file) };
    throw new Refusal(
      `${path} has ${formatBytes(file.size)}, but the hub accepts at most ${formatBytes(LARGEST)} per file.`,
      'Harvest into smaller shards with --rows-per-shard.',
      'publish/file-too-large',
    );
  }

  async close(): Promise<void> {
    for (const handle of this.open) await handle.close();
  }
}

/** A text as a file. */
export const textFile = (name: string, text: string): PushedFile => ({ name, content: new Blob([text]) });

/** A JSON file, unchanged unless it contains local paths. */
export async function publicJson(directory: string, name: string): Promise<PushedFile> {
  const path = join(directory, name);
  const bytes = await readRegular(path, MOST_JSON);
  if (!bytes) throw new Refusal(`${path} does not exist.`, 'Check the path.', 'disk/no-file');
  let json: unknown;
  try {
    json = parseJson(bytes.toString('utf8'));
  } catch (cause) {
    throw new Refusal(`${path} is not JSON.`, 'Check that it is the file you mean.', 'disk/not-json', { cause });
  }
  const cleaned = withoutMachinePaths(json);
  if (JSON.stringify(cleaned) === JSON.stringify(json)) return { name, content: new Blob([new Uint8Array(bytes)]) };
  return textFile(name, `${JSON.stringify(cleaned, null, 2)}\n`);
}
