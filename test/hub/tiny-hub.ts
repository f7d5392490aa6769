import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CheckConfig } from '../../src/hub/download.js';
import type { ModelSource } from '../../src/hub/model-source.js';
import { modelDirectory } from '../../src/hub/model-source.js';
import type { HubSettings } from '../../src/hub/request.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { temporaryDirectory } from '../temporary.js';
import { FakeHub, MODEL } from './fake-hub.js';

const TINY = 'assets/tiny-gemma';

/** The bundled model's files, and some that a download must leave alone. */
export function tinyFiles(): Map<string, Buffer> {
  const files = new Map(readdirSync(TINY).map((name) => [name, readFileSync(join(TINY, name))]));
  files.set('pytorch_model.bin', Buffer.from('not wanted'));
  files.set('optimizer.safetensors', Buffer.from('not wanted either'));
  return files;
}

/** A hub with the bundled model, an empty cache, and impatient settings. */
export async function tinyHub(t: { after: (end: () => void) => void }, files = tinyFiles()) {
  const hub = await FakeHub.start(t, files);
  const cache = join(temporaryDirectory(t), 'hub');
  const settings: HubSettings = {
    endpoint: hub.endpoint,
    cache,
    offline: false,
    token: undefined,
    patience: { attempts: 3, delay: 1, stall: 2000, poll: 20 },
  };
  const never: StopRequest = { signal: undefined };
  const fetch = (
    source: Partial<ModelSource> = {},
    changed: Partial<HubSettings> = {},
    progress: Progress = silent,
    stop = never,
    checkConfig?: CheckConfig,
  ) =>
    modelDirectory({ model: MODEL, revision: undefined, offline: false, ...source }, progress, stop, checkConfig, {
      ...settings,
      ...changed,
    });
  return { hub, cache, settings, fetch, home: join(cache, `models--${MODEL.replace('/', '--')}`) };
}
