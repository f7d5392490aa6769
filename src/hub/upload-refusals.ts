import { oneLine, Refusal } from '../errors/refusal.js';
import { type Asked, type HubSettings, passing, withoutSecrets } from './request.js';

/** Max bytes read of an error's body, and max characters shown of its message. */
const [MOST_BODY, MOST_SHOWN] = [2 ** 16, 300];

/** The server's own error message, without the token; '' if it is not the hub's JSON. */
async function reasonOf(response: Response, settings: HubSettings): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const piece of response.body ?? []) {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > MOST_BODY) return '';
    }
    const { error } = JSON.parse(Buffer.concat(pieces).toString('utf8')) as { error?: unknown };
    return typeof error === 'string' ? oneLine(withoutSecrets(error, settings)).slice(0, MOST_SHOWN) : '';
  } catch {
    return '';
  }
}

/**
 * The Refusal for a status during an upload, from the hub or the storage it designates.
 */
export async function refusedUpload(response: Response, settings: HubSettings, asked: Asked): Promise<Refusal> {
  const { endpoint } = settings;
  const { kind = 'model', model: name, revision } = asked;
  const { status } = response;
  const where = new URL(response.url || endpoint);
  const reason = await reasonOf(response, settings);
  const said = reason === '' ? '' : `: ${reason.replace(/\.$/, '')}`;
  const tokens = `${endpoint}/settings/tokens`;
  // Storage URLs expire.
  if (status === 429 || status >= 500 || where.origin !== new URL(endpoint).origin) {
    return passing(
      new Refusal(
        `${where.origin} answered ${status} for ${name}${said}.`,
        'Run the same command again: uploaded files are not sent again.',
        'hub/refused-status',
      ),
    );
  }
  const full = [402, 413].includes(status) || (status === 403 && /\b(storage|quota|limit)\b/i.test(reason));
  if (full) {
    return new Refusal(
      `${name} is out of storage (${status})${said}.`,
      `Free space, or get more, at ${endpoint}/settings/billing; or push less.`,
      'hub/storage-full',
    );
  }
  switch (status) {
    case 401:
      return new Refusal(
        `${endpoint} does not accept this token (401): it is invalid or expired.`,
        `Make one with write access at ${tokens}, and set HF_TOKEN to it.`,
        'hub/token-refused',
      );
    case 403:
      return new Refusal(
        `This token may not write to the ${kind} ${name} (403)${said}.`,
        `Make a token that may write there at ${tokens}, or push to a repository of its account.`,
        'hub/may-not-write',
      );
    case 404:
      return response.headers.get('x-error-code') === 'RevisionNotFound'
        ? new Refusal(
            `${name} has no branch "${revision}" (404).`,
            'Check --revision; --create makes the branch.',
            'hub/no-revision',
          )
        : new Refusal(
            `${endpoint} has no ${kind} ${name} (404), or this token may not see it.`,
            'Check the name; --create makes the repository.',
            'hub/no-repository',
          );
    case 409:
    case 412:
      return otherCommit(name, status);
    default:
      return new Refusal(
        `${endpoint} refused the upload to ${name} (${status})${said}.`,
        'Check the names of repository, path and branch, and HF_ENDPOINT.',
        'hub/upload-refused',
      );
  }
}

const otherCommit = (name: string, status: number) =>
  new Refusal(
    `${name} was changed by another commit at the same time (${status}); nothing was committed.`,
    'Run the same command again: uploaded files are not sent again.',
    'hub/other-commit',
  );
