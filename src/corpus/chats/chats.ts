import { Refusal, UsageRefusal } from '../../errors/refusal.js';
import type { Document } from '../contexts.js';
import type { Tokenizer } from '../tokenizer.js';
import { type Message, roleOf } from './conversation.js';
import { ChatRenderer, refusedRendering } from './renderer.js';
import type { SpanRule } from './spans.js';
import {
  type ChatTemplate,
  chatTemplate,
  marksGeneration,
  takesParts,
  templateDigest,
  tokensOfTemplate,
} from './template.js';

/** How conversations are read. */
export interface ChatSettings {
  /** Key or column of the messages. */
  readonly field: string;
  /** Roles whose tokens become rows; all if undefined. */
  readonly roles?: readonly string[];
}

/**
 * The chat settings given by flags; undefined if plain text is read.
 *
 * @throws UsageRefusal if roles are given for plain text
 */
export function chatSettings({ chatField, roles }: ChatFlags): ChatSettings | undefined {
  if (chatField === undefined && roles !== undefined) {
    throw new UsageRefusal(
      '--roles applies to conversations, but the corpus is read as text.',
      'Give the key or column of the conversations with --chat-field, or omit --roles.',
      'corpus/roles-without-chats',
    );
  }
  if (chatField === undefined) return undefined;
  return { field: chatField, ...(roles && !roles.includes('all') && { roles: [...new Set(roles)].sort() }) };
}

interface ChatFlags {
  readonly chatField?: string;
  readonly roles?: readonly string[];
}

/** How conversations were read, as recorded. */
export interface ChatFacts extends ChatSettings {
  /** How the tokens of roles were identified; absent if all are rows. */
  readonly spans?: SpanRule;
  readonly template_sha256: string;
}

/** Conversations without a token of the requested roles after which an error is raised. */
const PATIENCE = 1000;
/** Limits on conversations per batch of rendering: their number, and their characters. */
const BATCH = { conversations: 32, characters: 2 ** 18 };

/** A model's chat template, which renders a corpus's conversations as texts. */
export class Chats {
  private constructor(
    private readonly model: string,
    private readonly template: ChatTemplate,
    private readonly settings: ChatSettings,
    private readonly patience?: number,
  ) {}

  /**
   * @param model the model's directory
   * @param patience milliseconds per batch of conversations
   * @throws Refusal if it has no template
   */
  static async open(model: string, settings: ChatSettings, patience?: number): Promise<Chats> {
    const template = await chatTemplate(model);
    if (template) return new Chats(model, template, settings, patience);
    throw new Refusal(
      `${model} has no chat template: it is not a chat model, or a part of it is missing.`,
      'Use the instruction-tuned model, or copy the chat_template.jinja of another model into its directory.',
      'corpus/no-chat-template',
    );
  }

  get facts(): ChatFacts {
    const { field, roles } = this.settings;
    const marks = roles?.includes('assistant') && marksGeneration(this.template.source);
    return {
      field,
      ...(roles && { roles, spans: marks ? 'generation' : 'prefixes' }),
      template_sha256: templateDigest(this.template),
    };
  }

  /** Whether the template handles content that is a list of parts. */
  get keepsParts(): boolean {
    return takesParts(this.template);
  }

  /** Special tokens of the tokenizer and others that the template writes, by id. */
  special({ special, added }: Pick<Tokenizer, 'special' | 'added'>): ReadonlyMap<number, string> {
    return new Map([...special, ...tokensOfTemplate(this.template, added)]);
  }

  /**
   * Renders conversations as texts.
   *
   * @param found whether tokens of the roles have been found before
   * @throws Refusal if the template fails, does not end, or does not tell roles apart
   */
  async *texts(documents: AsyncIterable<Document>, found = false): AsyncGenerator<Document> {
    const { model, template, settings, patience } = this;
    const { roles } = settings;
    const renderer = new ChatRenderer(model, { template, roles, today: false, prompt: false }, patience);
    const search = new RoleSearch(settings, found);
    const batches = inBatches(documents);
    let coming: Promise<Texts> | undefined;
    try {
      for (let more = true; more; ) {
        // While one batch is tokenized, the next, which has been read before, is rendered.
        const next = await attempt(batches.next());
        const { texts, refusal } = (await coming) ?? { texts: [] };
        const batch = 'error' in next || next.done ? undefined : next.value;
        coming = batch && textsOf(batch, renderer, search, model);
        // Rethrown to whoever awaits it.
        coming?.catch(() => {});
        yield* texts;
        if (refusal) throw refusal;
        if ('error' in next) throw next.error;
        more = batch !== undefined;
      }
      search.end();
    } finally {
      await batches.return(undefined);
      await renderer.close();
    }
  }
}

/** Texts up to the first conversation that could not be rendered, and why. */
interface Texts {
  readonly texts: readonly Document[];
  readonly refusal?: Refusal;
}

const attempt = <T>(work: Promise<T>) => work.catch((error: unknown) => ({ error }));

async function textsOf(
  batch: readonly Document[],
  renderer: ChatRenderer,
  search: RoleSearch,
  model: string,
): Promise<Texts> {
  const renderings = await renderer.render(
    batch.map(({ conversation }) => conversation!),
    batch[0]!.source,
  );
  const texts: Document[] = [];
  for (const [i, rendered] of renderings.entries()) {
    const { conversation, pieces: _, ...document } = batch[i]!;
    const refusal =
      'failed' in rendered
        ? refusedRendering(rendered, document.source, model)
        : search.refusal(conversation!, rendered.spans);
    if (refusal || 'failed' in rendered) return { texts, refusal };
    texts.push({ ...document, pieces: [rendered.text], ...(rendered.spans && { spans: rendered.spans }) });
  }
  return { texts };
}

/** Batches of conversations; if reading fails, what was read before comes first. */
async function* inBatches(documents: AsyncIterable<Document>): AsyncGenerator<Document[]> {
  let held: Document[] = [];
  let characters = 0;
  try {
    for await (const document of documents) {
      // Read in full, so that counting or hashing sees all of it.
      for await (const piece of document.pieces) characters += piece.length;
      held.push(document);
      if (held.length < BATCH.conversations && characters < BATCH.characters) continue;
      yield held;
      held = [];
      characters = 0;
    }
  } catch (error) {
    if (held.length > 0) yield held;
    throw error;
  }
  if (held.length > 0) yield held;
}

/** Detects that no conversation has a token of the requested roles: most likely a misspelt name. */
class RoleSearch {
  private read = 0;
  private readonly there = new Set<string>();

  constructor(
    private readonly settings: ChatSettings,
    private found: boolean,
  ) {}

  refusal(conversation: readonly Message[], spans: readonly number[] | undefined): Refusal | undefined {
    if (this.found || spans === undefined || spans.length > 0) {
      this.found = true;
      return undefined;
    }
    this.read++;
    for (const message of conversation) this.there.add(roleOf(message));
    return this.read < PATIENCE ? undefined : this.nothing();
  }

  /** Call at the end of the corpus. @throws Refusal */
  end(): void {
    if (!this.found && this.read > 0) throw this.nothing();
  }

  private nothing(): Refusal {
    const there = [...this.there].slice(0, 10).join(', ') || 'none';
    return new Refusal(
      `No token is of --roles ${this.settings.roles?.join(',')} in the first ${this.read} conversations (roles found: ${there}).`,
      'Give one of these roles; text that a template writes within another role’s turn belongs to that role.',
      'corpus/no-such-role',
    );
  }
}
