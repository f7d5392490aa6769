import { basename, join } from 'node:path';
import { findStores } from '../activations/find-stores.js';
import { manifestPath } from '../activations/manifest.js';
import type { PushConfig } from '../config/stages/publish.js';
import { exists } from '../disk/input-file.js';
import { formatBytes } from '../disk/space.js';
import { UsageRefusal } from '../errors/refusal.js';
import { checkRevision } from '../hub/cache.js';
import { type HubSettings, hubSettings } from '../hub/request.js';
import { checkMayUpload, type UploadFile, uploadFiles } from '../hub/upload.js';
import { type Terminal, textTable } from '../progress/progress.js';
import { CFG_FILE } from '../sae/saelens.js';
import { type Contents, OpenFiles } from './contents.js';
import { type Destination, destinationOf, placed } from './destination.js';
import { saeContents } from './sae-contents.js';
import { storeContents } from './store-contents.js';

/** Bytes above which --yes is required. */
const MUCH = 1e9;

const CARD = 'README.md';

/**
 * Uploads an SAE or an activation store with its card to a hub repository. Everything to be sent is listed first.
 *
 * @param settings from the environment if absent
 * @throws Refusal if it is neither, or the hub refuses
 */
export async function push(
  config: PushConfig,
  { progress, stop, print }: Terminal,
  settings?: HubSettings,
): Promise<void> {
  const to = destinationOf(config.to);
  checkTogether(config);
  const open = new OpenFiles();
  try {
    const hub = settings ?? (await hubSettings(process.env, false));
    if (!config.dryRun) checkMayUpload(hub);
    const mayPush = (bytes: number) => config.dryRun || checkMuch(config, bytes);
    const contents = (await isStore(config.what))
      ? await storeContents(storeFlags(config), mayPush, to, open, progress, stop)
      : await saeContents(config, to, open, progress, stop);
    const files = uploads(contents, to);
    const bytes = files.reduce((sum, { content }) => sum + content.size, 0);
    const page = `${hub.endpoint}/${contents.kind === 'model' ? '' : 'datasets/'}${to.repository}`;
    const folder = [page, 'tree', config.revision, ...(to.path === '' ? [] : [to.path])].join('/');
    print(listing(files, `${formatBytes(bytes)} to ${folder}`));
    for (const note of contents.notes) progress.say(note);
    if (config.dryRun) return print(`\n${CARD}:\n\n${contents.card}`);
    checkMuch(config, bytes);
    const asked = { kind: contents.kind, model: to.repository, revision: config.revision, pushed: true } as const;
    const message = config.message ?? `Add ${to.path === '' ? basename(config.what) : to.path}`;
    const done = await uploadFiles(asked, files, { ...config, message }, hub, progress, stop);
    if (done.same.length > 0) progress.say(`Already present with the same bytes: ${done.same.join(', ')}.`);
    const result = done.sent.length === 0 ? 'Nothing to upload' : `Uploaded ${done.sent.length} files`;
    print(`${result}; ${config.revision} is at ${done.commit}.`);
  } finally {
    await open.close();
  }
}

function checkTogether({ private: isPrivate, create, revision }: PushConfig): void {
  checkRevision(revision);
  if (isPrivate && !create) {
    throw new UsageRefusal(
      '--private applies to a repository created by --create.',
      'Add --create; make an existing repository private on its page.',
      'config/wrong-together',
    );
  }
}

/** @throws UsageRefusal for flags that only apply to SAEs */
function storeFlags(config: PushConfig): PushConfig {
  const flag = (['as', 'evaluation', 'baseModel'] as const).find((key) => config[key] !== undefined);
  if (flag === undefined) return config;
  throw new UsageRefusal(
    `--${flag === 'baseModel' ? 'base-model' : flag} applies to SAEs, but ${config.what} is an activation store.`,
    'Omit it.',
    'config/wrong-together',
  );
}

/** @throws UsageRefusal if the upload is suspiciously large */
export function checkMuch({ yes }: Pick<PushConfig, 'yes'>, bytes: number): void {
  if (bytes <= MUCH || yes) return;
  throw new UsageRefusal(`${formatBytes(bytes)} would be uploaded.`, 'Add --yes to confirm.', 'publish/large');
}

/** Is the path an activation store, or a directory with stores? */
async function isStore(what: string): Promise<boolean> {
  if (await exists(join(what, CFG_FILE))) return false;
  const [store] = await findStores(what);
  return exists(manifestPath(store!));
}

/**
 * The files with their paths in the repository. For a folder, the card is also added to the root if the repository has
 * none: the hub only shows, and searches, that one.
 */
function uploads({ files, card }: Contents, to: Destination): UploadFile[] {
  const content = new Blob([card]);
  return [
    ...files.map(({ name, ...file }) => ({ path: placed(to, name), ...file })),
    { path: placed(to, CARD), content },
    ...(to.path === '' ? [] : [{ path: CARD, content, onlyIfMissing: true } as const]),
  ];
}

function listing(files: readonly UploadFile[], total: string): string {
  const rows = files.map(({ path, content, onlyIfMissing }) => [
    onlyIfMissing ? `${path} (if the repository has none)` : path,
    formatBytes(content.size),
  ]);
  return [...textTable(rows, 1), total].join('\n');
}
