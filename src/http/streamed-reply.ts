import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Writes a piece of a body. Resolves once its reader has room for more, or has disconnected. */
export type WritePiece = (piece: string) => Promise<void>;

/** A reply whose body is written while it is computed. */
export interface StreamedReply {
  readonly status: number;
  readonly type: string;
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * Writes the body. Called once for every such reply, even if its reader has already disconnected.
   *
   * @param gone aborted when the reader has disconnected, or has not read for longer than a connection may be idle
   */
  stream(write: WritePiece, gone: AbortSignal): Promise<void>;
}

/**
 * Sends the body of a streamed reply, whose head has been written. The idle timeout applies only to a reader that does
 * not read, not to a piece that takes long to compute.
 *
 * @param socket the request's: a response has none before those of earlier requests have ended
 * @param idle milliseconds that the reader may leave data unread
 */
export async function streamBody(
  socket: Socket,
  response: ServerResponse,
  reply: StreamedReply,
  idle: number,
): Promise<void> {
  const gone = new AbortController();
  const leave = () => gone.abort();
  // Several replies on one connection may be pending.
  socket.setMaxListeners(0);
  socket.once('close', leave);
  if (socket.destroyed) leave();
  let room: Promise<void> | undefined;
  const write = async (piece: string) => {
    if (gone.signal.aborted || response.write(piece)) return;
    room ??= roomAgain(socket, response, idle).then(() => {
      room = undefined;
    });
    await room;
  };
  try {
    await reply.stream(write, gone.signal);
    response.end();
  } catch {
    // A truncated body is recognised as such; a properly ended one is not.
    socket.destroy();
  } finally {
    socket.off('close', leave);
  }
}

function roomAgain(socket: Socket, response: ServerResponse, idle: number): Promise<void> {
  socket.setTimeout(idle);
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      socket.off('close', done).setTimeout(0);
      resolve();
    };
    response.once('drain', done);
    socket.once('close', done);
  });
}
