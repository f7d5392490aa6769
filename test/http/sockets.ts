import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

/** Limits of a server that a test need not wait for. */
export const HASTY = {
  ...{ maxHeaderSize: 8192, headersTimeout: 300, requestTimeout: 300, keepAliveTimeout: 300 },
  ...{ connectionsCheckingInterval: 50, idle: 500, answer: 30_000, connections: 16, waiting: 4 },
};

/** A connection that the test's end closes. */
export function openSocket(port: number, t: TestContext): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  t.after(() => socket.destroy());
  return new Promise((resolve) => socket.once('connect', () => resolve(socket)));
}

/** What a server answers to these bytes before it closes the connection. */
export async function answerTo(port: number, t: TestContext, bytes: Uint8Array | string): Promise<string> {
  const socket = await openSocket(port, t);
  let text = '';
  socket.setEncoding('latin1').on('data', (data) => {
    text += data;
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.end(bytes);
  await closed;
  return text;
}
