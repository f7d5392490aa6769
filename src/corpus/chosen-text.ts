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
 * The documents of a text in the order in which they are packed: of each corpus those that are chosen, shuffled where
 * that is asked for, and of several corpora mixed.
 *
 * @param say hears what was passed over, and which corpus has ended
 * @param chats makes texts of conversations, where these are read
 * @param from where a text of one corpus, in its own order, has been read up to
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
