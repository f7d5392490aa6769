import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { appendToJournal } from '../disk/journal.js';
import { type Addition, extendManifest, journalName, type Manifest, writeManifest } from './manifest.js';

/** A journal may have this share of the bytes of its manifest, */
const SHARE = 0.5;
/** and at least this many. */
const LEAST_ROOM = 2 ** 16;

/**
 * The manifest of a store that is being written. What a shard or a window adds is appended to a journal; the manifest
 * is rewritten when the journal has grown to a share of it, so the bytes written in all grow with the number of shards,
 * not with its square. A complete store has no journal.
 *
 * A journal is read only where manifest.json names it, and each manifest names a new one. So neither a kill between
 * writing the manifest and removing the journal before it, nor one during --overwrite, lists anything that does
 * not exist.
 */
export class GrowingManifest {
  /**
   * Bytes left in the journal. None before the manifest is first written here: a journal found on disk is not
   * continued.
   */
  private room = 0;
  private begun = false;

  constructor(
    private readonly directory: string,
    readonly manifest: Manifest,
    private readonly leastRoom = LEAST_ROOM,
  ) {}

  /** Lists a shard or a window, whose files exist. */
  async add(addition: Addition): Promise<void> {
    const { manifest, directory } = this;
    extendManifest(manifest, [addition]);
    // Where a part ends is known when the windows after its last one have been read.
    if ('window' in addition && !manifest.part && manifest.rows === manifest.rows_wanted) return this.complete();
    if (this.room <= 0 || manifest.journal === undefined) return this.rewrite();
    this.room -= await appendToJournal(join(directory, manifest.journal), addition, this.begun);
    this.begun = true;
  }

  /** The store is complete: drops what only resuming needs. */
  complete(): Promise<void> {
    const { manifest } = this;
    manifest.complete = true;
    for (const key of ['text_identity', 'text_position', 'command'] as const) {
      if (manifest[key] !== undefined) manifest[key] = undefined;
    }
    return this.rewrite();
  }

  /** Writes the current manifest. */
  async rewrite(): Promise<void> {
    const { manifest, directory } = this;
    const { journal: before } = manifest;
    manifest.journal = manifest.complete ? undefined : journalName(randomBytes(8).toString('hex'));
    const bytes = await writeManifest(directory, manifest);
    this.room = Math.max(this.leastRoom, SHARE * bytes);
    this.begun = false;
    if (before !== undefined) await rm(join(directory, before), { force: true });
  }
}
