import { createHash } from 'node:crypto';
import { Interrupted, Refusal, UsageRefusal } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { throwIfStopped, unlessStopped } from '../progress/stop.js';
import { isCommit } from './cache.js';
import { asHub, listFolder, pinnedCommit } from './download.js';
import { OpenFileBlob } from './open-file-blob.js';
import { API_BOUNDS, type Asked, boundedFetch, type HubSettings, hubFetch } from './request.js';
import type { HubFile } from './transfer.js';
import { refusedUpload } from './upload-refusals.js';
import { sendingFetch } from './upload-transfer.js';

/** A file to upload. */
export interface UploadFile {
  /** Path in the repository, with `/` separators. */
  readonly path: string;
  readonly content: Blob;
  /** SHA-256 of the content, if known. */
  readonly sha256?: string;
  /** Skip it if the repository has a file of this name, whatever its contents. */
  readonly onlyIfMissing?: true;
}

export interface UploadChoices {
  /** Create the repository, and the branch, if missing. */
  readonly create: boolean;
  /** Visibility of a created repository. */
  readonly private: boolean;
  /** Replace files with different contents. */
  readonly overwrite: boolean;
  /** Title of the commit. */
  readonly message: string;
}

export interface Uploaded {
  /** The commit at the head of the branch. */
  readonly commit: string;
  readonly sent: readonly string[];
  /** Already present with the same bytes. */
  readonly same: readonly string[];
}

const KEPT = 'nothing was committed; uploaded files are kept, and the same command resumes from there.';

/**
 * Commits files to a branch of a hub repository in a single commit. Files already present with the same bytes are not
 * sent, nor are large files that the storage has from an interrupted upload.
 *
 * @param asked kind, repository and branch
 * @throws Refusal if the hub cannot be reached or refuses, a file exists with other bytes, or the branch has moved
 * @throws Interrupted when asked to stop
 */
export async function uploadFiles(
  asked: Asked,
  files: readonly UploadFile[],
  choices: UploadChoices,
  settings: HubSettings,
  progress: Progress,
  stop: StopRequest,
): Promise<Uploaded> {
  checkMayUpload(settings);
  const head = await unlessStopped(headOf(asked, choices, settings), stop, () => KEPT);
  const there = await unlessStopped(filesThere(asked, files, head, settings), stop, () => KEPT);
  const sent: UploadFile[] = [];
  const [same, others]: [string[], string[]] = [[], []];
  for (const file of files) {
    const found = there.get(file.path);
    if (found && file.onlyIfMissing) continue;
    throwIfStopped(stop, KEPT);
    if (!found) sent.push(file);
    else if (await isSame(file, found)) same.push(file.path);
    else {
      others.push(file.path);
      sent.push(file);
    }
  }
  if (others.length > 0 && !choices.overwrite) throw wouldOverwrite(asked, others);
  if (sent.length === 0) return { commit: head, sent: [], same };
  const parts = { title: choices.message, parentCommit: head, files: sent };
  const commit = await committed(asked, parts, settings, progress, stop);
  return { commit, sent: sent.map(({ path }) => path), same };
}

/** @throws Refusal when offline, or without an access token */
export function checkMayUpload({ offline, token, endpoint }: HubSettings): void {
  if (offline) {
    throw new UsageRefusal(
      'HF_HUB_OFFLINE is set, but pushing needs the hub.',
      'Unset it; --dry-run needs no network.',
      'hub/offline-push',
    );
  }
  if (token !== undefined) return;
  throw new Refusal(
    `Uploading to ${endpoint} needs an access token.`,
    `Set HF_TOKEN to one with write access (${endpoint}/settings/tokens).`,
    'hub/no-token',
  );
}

function wouldOverwrite({ model }: Asked, others: readonly string[]): Refusal {
  const [first, ...more] = others;
  const further = more.length > 0 ? ` and ${more.length} more` : '';
  return new Refusal(
    `${model} has ${first}${further} with different contents.`,
    '--overwrite replaces files in a new commit; or push to another path.',
    'hub/would-overwrite',
  );
}

const typeOf = ({ kind }: Asked) => (kind === 'data set' ? 'dataset' : 'model');
const asking = (settings: HubSettings, asked: Asked) =>
  boundedFetch(hubFetch(settings, asked, refusedUpload), API_BOUNDS);

/** The commit at the head of the branch; creates repository and branch if they are missing and that is allowed. */
async function headOf(asked: Asked, choices: UploadChoices, settings: HubSettings): Promise<string> {
  const made = new Set<string>();
  for (;;) {
    try {
      return await pinnedCommit(asked, settings, asking(settings, asked));
    } catch (error) {
      const code = error instanceof Refusal && choices.create ? error.code : undefined;
      if ((code !== 'hub/no-repository' && code !== 'hub/no-revision') || made.has(code)) throw error;
      made.add(code);
      await asHub(settings, () =>
        code === 'hub/no-repository' ? makeRepository(asked, choices, settings) : makeBranch(asked, settings),
      );
    }
  }
}

async function makeRepository(asked: Asked, choices: UploadChoices, settings: HubSettings): Promise<void> {
  const { createRepo } = await import('@huggingface/hub');
  const { endpoint: hubUrl } = settings;
  const visibility = choices.private ? 'private' : undefined;
  const repo = { type: typeOf(asked), name: asked.model } as const;
  // The token is added by the fetch.
  await createRepo({ repo, visibility, hubUrl, fetch: asking(settings, asked), accessToken: '' });
}

async function makeBranch(asked: Asked, settings: HubSettings): Promise<void> {
  const { createBranch } = await import('@huggingface/hub');
  const { endpoint: hubUrl } = settings;
  const repo = { type: typeOf(asked), name: asked.model } as const;
  await createBranch({ repo, branch: asked.revision, hubUrl, fetch: asking(settings, asked) });
}

/** The repository's contents in the folders of the files. */
async function filesThere(
  asked: Asked,
  files: readonly UploadFile[],
  head: string,
  settings: HubSettings,
): Promise<ReadonlyMap<string, HubFile>> {
  const folders = new Set(files.map(({ path }) => path.slice(0, Math.max(0, path.lastIndexOf('/')))));
  const there = new Map<string, HubFile>();
  const ask = asking(settings, asked);
  for (const folder of folders) {
    try {
      for (const [path, file] of await listFolder(asked, settings, ask, head, { folder })) there.set(path, file);
    } catch (error) {
      // The repository exists, so it is the folder that is missing.
      if (!(error instanceof Refusal) || error.code !== 'hub/no-repository' || folder === '') throw error;
    }
  }
  return there;
}

/** Are these the bytes listed by the hub? */
async function isSame({ content, sha256 }: UploadFile, { size, hash }: HubFile): Promise<boolean> {
  if (content.size !== size) return false;
  if (hash.length === 64 && sha256 !== undefined) return hash === sha256;
  // git hashes a blob with its kind and length prepended.
  const digest = hash.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  for await (const piece of content.stream()) digest.update(piece);
  return digest.digest('hex') === hash;
}

interface CommitParts {
  readonly files: readonly UploadFile[];
  readonly title: string;
  /** The commit that the branch must still point to. */
  readonly parentCommit: string;
}

/** Uploads what the storage does not have, and commits. @returns the commit */
async function committed(
  asked: Asked,
  { files, title, parentCommit }: CommitParts,
  settings: HubSettings,
  progress: Progress,
  stop: StopRequest,
): Promise<string> {
  const { commitIter } = await import('@huggingface/hub');
  const total = files.reduce((sum, { content }) => sum + content.size, 0);
  progress.begin('uploading', total, 'byte');
  const cancel = new AbortController();
  const watch = setInterval(() => {
    if (stop.signal) cancel.abort(new Error('stopped'));
  }, 100);
  // Once requested, the commit may exist even if the response is lost: wait for it.
  let committing = false;
  try {
    const steps = commitIter({
      repo: { type: typeOf(asked), name: asked.model },
      operations: files.map(({ path, content }) => ({ operation: 'addOrUpdate' as const, path, content })),
      ...{ title, branch: asked.revision, parentCommit, hubUrl: settings.endpoint },
      fetch: sendingFetch(settings, asked, stop, (bytes) => progress.update(Math.min(total, bytes))),
      abortSignal: cancel.signal,
      // The chunked protocol is not implemented: the storage also accepts complete files over plain HTTP.
      useXet: false,
    });
    const oid = await asHub(settings, async () => {
      for (;;) {
        const { value, done } = await steps.next();
        if (done) return value?.commit.oid;
        if (value.event !== 'phase' || value.phase !== 'committing') continue;
        for (const { content } of files) if (content instanceof OpenFileBlob) await content.checkUnchanged();
        throwIfStopped(stop, KEPT);
        clearInterval(watch);
        committing = true;
      }
    });
    if (oid === undefined || !isCommit(oid)) throw notACommit(settings, oid);
    progress.update(total);
    return oid;
  } catch (error) {
    throw stop.signal && !committing ? new Interrupted(stop.signal, KEPT) : error;
  } finally {
    clearInterval(watch);
    progress.end();
  }
}

const notACommit = ({ endpoint }: HubSettings, found: unknown) =>
  new Refusal(
    `${endpoint} does not respond like a hub: the new commit is ${JSON.stringify(found)}.`,
    'Check HF_ENDPOINT.',
    'hub/not-a-hub',
  );
