import { setTimeout as sleep } from 'node:timers/promises';
import { Refusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { OpenFileBlob } from './open-file-blob.js';
import { API_BOUNDS, type Asked, boundedFetch, type HubSettings, hubFetch, mayPass, passing } from './request.js';
import { watchConnection } from './transfer.js';
import { refusedUpload } from './upload-refusals.js';

/**
 * `fetch` for an upload. Files sent to the storage are retried if a connection breaks or stalls; requests to the hub
 * itself are sent once, within limits: a commit whose response was lost must not be made twice.
 *
 * @param tell called with the bytes sent so far
 */
export function sendingFetch(
  settings: HubSettings,
  asked: Asked,
  stop: StopRequest,
  tell: (bytes: number) => void,
): typeof fetch {
  const hub = hubFetch(settings, asked, refusedUpload);
  const sent = new Map<string, number>();
  const send = async (url: string, body: OpenFileBlob, init: RequestInit): Promise<Response> => {
    const watch = watchConnection({ patience: settings.patience, stop });
    const told = body.telling((bytes) => {
      watch.alive(bytes);
      sent.set(url, (sent.get(url) ?? 0) + bytes);
      tell([...sent.values()].reduce((sum, one) => sum + one, 0));
    });
    sent.set(url, 0);
    const signals = [watch.signal, ...(init.signal ? [init.signal] : [])];
    try {
      const signal = AbortSignal.any(signals);
      const response = await hub(url, { ...init, ...UNCOPIED, body: told, signal });
      // Only its headers are needed.
      await response.body?.cancel();
      return response;
    } catch (error) {
      if (error instanceof Refusal || init.signal?.aborted || stop.signal) throw error;
      throw cutShort(url, error);
    } finally {
      watch.end();
    }
  };
  return async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input);
    const { body } = init;
    if (!(body instanceof OpenFileBlob)) {
      const bytes = body instanceof Blob ? body.size : typeof body === 'string' ? body.length : 0;
      // A slow line may take a minute per MiB.
      const limit = AbortSignal.timeout(Math.round(settings.patience.stall * (1 + bytes / 2 ** 20)));
      const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit;
      return boundedFetch(hub, API_BOUNDS)(url, { ...init, signal }).catch((error) => {
        throw limit.aborted && !(error instanceof Refusal) ? cutShort(url, error) : error;
      });
    }
    const { attempts, delay } = settings.patience;
    for (let attempt = 1; ; attempt++) {
      try {
        return await send(url, body, init);
      } catch (error) {
        const again = error instanceof Refusal && mayPass(error) && attempt < attempts && !stop.signal;
        if (!again) throw error;
        await sleep(delay * 2 ** (attempt - 1));
      }
    }
  };
}

/** Otherwise fetch keeps everything sent in memory in case of a redirect. */
const UNCOPIED = { window: null, redirect: 'error' } as const;

function cutShort(url: string, cause: unknown): Refusal {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return passing(
    new Refusal(
      `The upload to ${new URL(url).origin} was interrupted: ${reason}.`,
      'Run the same command again: uploaded files are not sent again.',
      'hub/upload-cut-short',
      { cause },
    ),
  );
}
