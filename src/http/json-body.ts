import type { IncomingMessage } from 'node:http';
import { parseJson } from '../disk/json.js';

/** A request that is not taken: a status and a sentence for whoever sent it. */
export class NotTaken extends Error {
  constructor(
    readonly status: number,
    sentence: string,
  ) {
    super(sentence);
  }
}

/**
 * The JSON of a POST from a page of this server. Another page can make a browser send a form or plain text anywhere
 * without asking whether it may, but not application/json; and a browser says where a request comes from.
 *
 * @param hosts names of this server, with the port
 * @param most bytes, at most
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

/** The bytes of a request. It is not destroyed where there are too many: the reply has to reach its sender. */
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
