import { oneLine, Refusal } from '../errors/refusal.js';
import { type Asked, type HubSettings, passing, withoutSecrets } from './request.js';

/** Bytes of an error's body that are read, and characters of its sentence that are shown, at most. */
const [MOST_BODY, MOST_SHOWN] = [2 ** 16, 300];

/** What the server itself says of an error, without the token; '' where that is not the hub's JSON. */
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
 * The sentence for a status while something is uploaded: reads and writes of the hub, and of the storage that it names.
 */
export async function refusedUpload(response: Response, settings: HubSettings, asked: Asked): Promise<Refusal> {
  const { endpoint } = settings;
  const { kind = 'model', model: name, revision } = asked;
  const { status } = response;
  const where = new URL(response.url || endpoint);
  const reason = await reasonOf(response, settings);
  const said = reason === '' ? '' : `: ${reason.replace(/\.$/, '')}`;
  const tokens = `${endpoint}/settings/tokens`;
  // The storage's addresses hold for a while only.
  if (status === 429 || status >= 500 || where.origin !== new URL(endpoint).origin) {
    return passing(
      new Refusal(
        `${where.origin} answered ${status} for ${name}${said}.`,
        'Run the same command again: what is uploaded is not sent twice.',
        'hub/refused-status',
      ),
    );
  }
  const full = [402, 413].includes(status) || (status === 403 && /\b(storage|quota|limit)\b/i.test(reason));
  if (full) {
    return new Refusal(
      `${name} takes no more (${status})${said}.`,
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
    'Run the same command again: what is uploaded is not sent twice.',
    'hub/other-commit',
  );
