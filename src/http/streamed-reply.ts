import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Writes a piece of a body. Resolves when its reader has room for more, or has gone. */
export type WritePiece = (piece: string) => Promise<void>;

/** A reply whose body is written while it is computed. */
export interface StreamedReply {
  readonly status: number;
  readonly type: string;
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * Writes the body. It is called once for every such reply, even where its reader has gone by then.
   *
   * @param gone aborted when the reader has gone, or has not read for longer than a connection may be idle
   */
  stream(write: WritePiece, gone: AbortSignal): Promise<void>;
}

/**
 * Sends the body of a streamed reply, whose head is written. However long the next piece takes to be computed, patience
 * with the reader ends only where it does not read.
 *
 * @param socket of the request: a response has none before those of earlier requests have ended
 * @param idle milliseconds that the reader may leave what was written unread
 */
export async function streamBody(
  socket: Socket,
  response: ServerResponse,
  reply: StreamedReply,
  idle: number,
): Promise<void> {
  const gone = new AbortController();
  const leave = () => gone.abort();
  // Several replies of one connection may be waited for.
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
    // A body that is cut off is seen to be; one that ends is not.
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
