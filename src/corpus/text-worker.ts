import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { Refusal, refusedReply } from '../errors/refusal.js';
import { Chats, chatSettings } from './chats/chats.js';
import { chosenText } from './chosen-text.js';
import { type Context, packContexts, type WrittenOut } from './contexts.js';
import { ReadTally } from './read-tally.js';
import type { Heard, TextContinued, TextStart, TextThreadReply, TextThreadRequest } from './text.js';
import { chunkBuffers, chunkOf } from './text-chunk.js';
import { openTokenizer } from './tokenizer.js';

/** Approximate number of tokens sent at a time. */
const TOKENS = 2 ** 15;
/** The first time, when only a few may be needed; each chunk is twice the previous one, up to TOKENS. */
const FIRST_TOKENS = 2 ** 11;

/** Special tokens and lines not yet reported. */
class Ears {
  private readonly written: WrittenOut = { documents: 0, tokens: new Map() };
  private lines: string[] = [];

  readonly say = (line: string) => {
    this.lines.push(line);
  };

  get tokens(): WrittenOut {
    return this.written;
  }

  heard(): Heard {
    const { written, lines } = this;
    this.lines = [];
    return { written, lines };
  }
}

/** Start position, once known. */
interface Beginning {
  at?: TextContinued;
}

/** Reads the text in chunks. */
async function* textReplies(start: TextStart, ears: Ears, beginning: Beginning): AsyncGenerator<TextThreadReply> {
  const { model, expected, context } = start;
  const chat = chatSettings(start);
  const tokenizer = await openTokenizer(model, expected);
  const chats = chat && (await Chats.open(model, chat));
  const { bosTokenId, prependBos } = tokenizer;
  const special = chats ? chats.special(tokenizer) : tokenizer.special;
  yield { kind: 'ready', facts: { bosTokenId, prependBos, special, ...(chats && { chat: chats.facts }) } };
  let tokens = FIRST_TOKENS;
  let held: Context[] = [];
  const chunk = (): TextThreadReply => {
    const reply = { kind: 'chunk', chunk: chunkOf(held), heard: ears.heard() } as const;
    held = [];
    tokens = Math.min(2 * tokens, TOKENS);
    return reply;
  };
  const { at } = beginning;
  const documents = chosenText(start, ears.say, chats, at?.position);
  const tally = new ReadTally(start.corpus.length);
  if (at) tally.continueFrom(at.counted);
  // Tokens written by a template need no mention.
  const written = chats ? undefined : ears.tokens;
  try {
    for await (const one of packContexts(documents, tokenizer, context, written, tally, at?.position)) {
      held.push(one);
      if (held.length >= Math.floor(tokens / context)) yield chunk();
    }
  } catch (error) {
    // Contexts completed before an error are still valid.
    if (held.length > 0) yield chunk();
    throw error;
  }
  if (held.length > 0) yield chunk();
  yield { kind: 'end', heard: { ...ears.heard(), whole: tally.allTokens } };
}

function serveText(port: MessagePort): void {
  const ears = new Ears();
  const beginning: Beginning = {};
  const replies = textReplies(workerData as TextStart, ears, beginning);
  const answer = async () => {
    try {
      const { value, done } = await replies.next();
      if (done) return;
      port.postMessage(value, value.kind === 'chunk' ? chunkBuffers(value.chunk) : []);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      port.postMessage(refusedReply(error) satisfies TextThreadReply);
    }
  };
  const close = async () => {
    // Files are closed, and their remarks are reported.
    await replies.return(undefined).catch(() => {});
    port.postMessage({ kind: 'closed', heard: ears.heard() } satisfies TextThreadReply);
  };
  port.on('message', (request: TextThreadRequest) => {
    if (typeof request === 'object') beginning.at = request;
    else void (request === 'close' ? close() : answer());
  });
  void answer();
}

if (!parentPort) throw new Error('text-worker.js runs in a worker thread');
serveText(parentPort);
