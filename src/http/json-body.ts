import type { IncomingMessage } from 'node:http';
import { parseJson } from '../disk/json.js';

/** A rejected request: a status and a sentence for the sender. */
export class NotTaken extends Error {
  constructor(
    readonly status: number,
    sentence: string,
  ) {
    super(sentence);
  }
}

/**
 * The JSON of a POST from a page of this server. Another site can make a browser send a form or plain text anywhere
 * without permission, but not application/json; and browsers report where a request comes from.
 *
 * @param hosts names of this server, with the port
 * @param most max bytes
 * @throws NotTaken
 */
export async function jsonBody(request: IncomingMessage, hosts: readonly string[], most: number): Promise<unknown> {
  const { headers } = request;
  const { origin, 'sec-fetch-site': site } = headers;
  const own = origin === undefined || hosts.some((host) => origin === `http://${host}`);
  if (!own || (site !== undefined && site !== 'same-origin' && site !== 'none'))
    throw new NotTaken(403, 'Only pages of this server may ask for that.');
  const [type] = (headers['content-type'] ?? '').split(';');
  if (type?.trim().toLowerCase() !== 'application/json') throw new NotTaken(415, 'The body must be application/json.');
  if (Number(headers['content-length'] ?? 0) > most) throw tooLong(most);
  const bytes = await bodyOf(request, most);
  try {
    return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new NotTaken(400, 'The body is not JSON.');
  }
}

/** The bytes of a request. It is not destroyed if there are too many: the reply must reach the sender. */
function bodyOf(request: IncomingMessage, most: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    const take = (piece: Buffer) => {
      bytes += piece.length;
      if (bytes <= most) {
        pieces.push(piece);
        return;
      }
      request.off('data', take).pause();
      reject(tooLong(most));
    };
    request.on('data', take);
    request.once('end', () => resolve(Buffer.concat(pieces)));
    request.once('error', reject);
    request.once('close', () => reject(new NotTaken(400, 'The body was cut short.')));
  });
}

const tooLong = (most: number) => new NotTaken(413, `The body has more than ${most} bytes.`);
