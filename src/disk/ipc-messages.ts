import { checkMessage, UnsupportedIpc } from './ipc-check.js';

/** An encapsulated message (Arrow columnar format 1.5, "Encapsulated message format"), including its body. */
export type IpcMessage = Uint8Array<ArrayBuffer>;

/** Why there is no further message. */
export type StreamEnding = 'end marker' | 'cut off' | 'no message';

/** Where a message begins since Arrow 0.15; a length of 0 after it ends the stream. */
const CONTINUATION = -1;
const PREFIX = 8;
/** Max bytes of a message's metadata; a schema with its header takes about 1 KiB. */
const MOST_METADATA = 2 ** 20;

/**
 * Messages of an Arrow IPC stream, each in one buffer allocated once its size is known. Arrow's own reader treats a
 * stream cut off between two messages as complete; here, completeness is determined by the end marker.
 */
export class StreamMessages {
  private readonly source: AsyncIterator<Uint8Array>;
  /** Data received but not yet consumed. */
  private chunk: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.source = source[Symbol.asyncIterator]();
  }

  /**
   * The next message, preceded by `room` free bytes.
   *
   * @param mostBody max bytes of the body; beyond that it is not a message
   * @throws UnsupportedIpc if it is a valid but unsupported kind of message
   */
  async next(mostBody: number, room = 0): Promise<IpcMessage | StreamEnding> {
    const prefix = new Uint8Array(PREFIX);
    const length = await this.fill(prefix);
    if (length < PREFIX) return 'cut off';
    const [mark, metadata] = new Int32Array(prefix.buffer) as unknown as [number, number];
    if (mark !== CONTINUATION || metadata < 0 || metadata > MOST_METADATA) return 'no message';
    if (metadata === 0) return 'end marker';
    const head = new Uint8Array(PREFIX + metadata);
    head.set(prefix);
    if ((await this.fill(head.subarray(PREFIX))) < metadata) return 'cut off';
    const body = bodyLength(head);
    if (body === undefined || body < 0 || body > mostBody) return 'no message';
    const whole = new Uint8Array(room + head.length + body);
    whole.set(head, room);
    return (await this.fill(whole.subarray(room + head.length))) < body ? 'cut off' : whole;
  }

  /** Fills `target` as far as the source allows; returns the number of bytes. */
  private async fill(target: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < target.length) {
      if (this.chunk.length === 0) {
        const { value, done } = await this.source.next();
        if (done) break;
        this.chunk = value;
        continue;
      }
      const part = this.chunk.subarray(0, target.length - filled);
      target.set(part, filled);
      filled += part.length;
      this.chunk = this.chunk.subarray(part.length);
    }
    return filled;
  }
}

function bodyLength(head: Uint8Array): number | undefined {
  try {
    return checkMessage(head.subarray(PREFIX));
  } catch (cause) {
    if (cause instanceof UnsupportedIpc) throw cause;
    return undefined;
  }
}
