import { Generator, Purpose } from '../random/generator.js';
import type { Chats } from './chats/chats.js';
import type { Document } from './contexts.js';
import { chosenDocuments } from './document-choice.js';
import { readDocuments } from './documents.js';
import { withinVocabulary } from './ids/ids.js';
import { interleaved } from './mixture.js';
import { shuffled } from './shuffled.js';
import type { TextStart } from './text.js';
import type { TextPosition } from './text-position.js';

/**
 * The documents of a text in packing order: the chosen ones of each corpus, shuffled if requested, and mixed if there
 * are several corpora.
 *
 * @param say told what was skipped, and which corpus has ended
 * @param chats renders conversations, if these are read
 * @param from position up to which a text of one corpus, in its own order, has been read
 */
export function chosenText(
  { corpus, files, documents: choice = {}, seed = 0, expected, ...reading }: TextStart,
  say: (line: string) => void,
  chats?: Chats,
  from?: TextPosition,
): AsyncGenerator<Document> {
  const { textField, corpusFormat, encoding, idsField, idsDtype } = reading;
  const ids = { idsField, idsDtype };
  const chat = { chatField: chats?.facts.field, chatParts: chats?.keepsParts };
  const documentsOf = (name: string, i: number) => {
    const where = { corpusFormat, files: files?.[i], from };
    const all = readDocuments(name, textField, { encoding, say, ...where, ...chat, ...ids });
    const chosen = chosenDocuments(all, choice, from?.number);
    const { shuffle } = choice;
    const ordered =
      shuffle === undefined ? chosen : shuffled(chosen, shuffle, new Generator(seed, Purpose.documentOrder, i));
    // Before the mixture, which counts tokens as documents come.
    return chats
      ? chats.texts(ordered, from !== undefined)
      : withinVocabulary(ordered, expected.vocabulary ?? Number.POSITIVE_INFINITY);
  };
  const { mixture } = choice;
  if (!mixture) return documentsOf(corpus[0]!, 0);
  const sources = corpus.map((name, i) => ({
    ...{ corpus: name, weight: mixture.sources[i]!.weight },
    documents: documentsOf(name, i),
  }));
  return interleaved(sources, mixture.stop, new Generator(seed, Purpose.mixture), say);
}
