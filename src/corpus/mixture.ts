import type { z } from 'zod';
import { UsageRefusal } from '../errors/refusal.js';
import type { Generator } from '../random/generator.js';
import type { documentsSchema } from '../sae/training-record.js';
import type { Document } from './contexts.js';

/** Flags that name corpora and how to mix them. */
interface MixtureFlags {
  readonly corpus?: readonly string[];
  readonly corpusWeights?: readonly number[];
  readonly mixtureStop?: 'all' | 'first';
}

export type Mixture = Readonly<NonNullable<z.infer<typeof documentsSchema>['mixture']>>;

/** Name of a corpus, or a mixture of several, in messages and records. */
export function corpusName(flags: MixtureFlags): string {
  const [first = ''] = flags.corpus ?? [];
  const mixture = mixtureOf(flags);
  return mixture ? mixture.sources.map(({ corpus, weight }) => `${corpus} (${weight})`).join(' + ') : first;
}

/** The mixture given by flags; undefined for one corpus. */
export function mixtureOf({ corpus = [], corpusWeights = [], mixtureStop }: MixtureFlags): Mixture | undefined {
  if (corpus.length < 2) return undefined;
  return {
    sources: corpus.map((name, i) => ({ corpus: name, weight: corpusWeights[i] ?? 1 })),
    ...(mixtureStop === 'first' && { stop: mixtureStop }),
  };
}

/** @throws UsageRefusal if weights and corpora do not match, or a corpus is given twice */
export function checkMixture({ corpus = [], corpusWeights, mixtureStop }: MixtureFlags): void {
  const flag = corpusWeights ? '--corpus-weights' : mixtureStop ? '--mixture-stop' : undefined;
  if (corpus.length < 2 && flag !== undefined) {
    throw new UsageRefusal(
      `${flag} requires several corpora, but only one is given.`,
      'Repeat --corpus, or omit the flag.',
      'corpus/mixture-of-one',
    );
  }
  if (corpusWeights && corpusWeights.length !== corpus.length) {
    throw new UsageRefusal(
      `--corpus-weights has ${corpusWeights.length} ${corpusWeights.length === 1 ? 'number' : 'numbers'}, but ${corpus.length} corpora are given.`,
      'Give as many weights as corpora, in the same order.',
      'corpus/weights',
    );
  }
  const twice = corpus.find((name, i) => corpus.indexOf(name) < i);
  if (twice !== undefined) {
    throw new UsageRefusal(
      `--corpus ${twice} is given twice, so its text would count twice.`,
      'Give it once, with a larger weight.',
      'corpus/same-text-twice',
    );
  }
}

/** One corpus of a mixture, being read. */
interface Source {
  readonly corpus: string;
  readonly weight: number;
  readonly documents: AsyncGenerator<Document>;
}

/** A source that has not ended. */
interface Going extends Source {
  readonly number: number;
  /** Since the number of sources last changed. */
  tokens: number;
}

/**
 * Interleaves documents of several corpora so that the token counts are always in proportion to the weights, up to the
 * longest documents: the next document is drawn at random from the corpora not ahead of their share. When a corpus
 * ends, the others share its weight from then on.
 *
 * @param say told when a corpus ends
 */
export async function* interleaved(
  sources: readonly Source[],
  stop: Mixture['stop'],
  generator: Generator,
  say: (line: string) => void,
): AsyncGenerator<Document> {
  let going = sources.map((source, number): Going => ({ ...source, number, tokens: 0 }));
  try {
    while (going.length > 0) {
      const next = drawn(going, generator);
      const { value, done } = await next.documents.next();
      if (!done) {
        const { number: corpus } = next;
        const measured = (tokens: number) => {
          next.tokens += tokens;
        };
        yield { ...value, corpus, measured };
        continue;
      }
      going = going.filter((source) => source !== next);
      if (stop === 'first') {
        say(`${next.corpus} has ended, which ends the mixture (--mixture-stop first).`);
        return;
      }
      if (going.length > 0) say(`${next.corpus} has ended; the other corpora share its weight from here on.`);
      for (const source of going) source.tokens = 0;
    }
  } finally {
    for (const { documents } of sources) await documents.return(undefined);
  }
}

/** A source that is not ahead of its share, drawn at random in proportion to the weights. */
function drawn(going: readonly Going[], generator: Generator): Going {
  const sum = (of: readonly Going[], value: (source: Going) => number) =>
    of.reduce((total, source) => total + value(source), 0);
  const weights = sum(going, ({ weight }) => weight);
  const tokens = sum(going, (source) => source.tokens);
  const behind = going.filter((source) => source.tokens * weights <= source.weight * tokens);
  // Rounding errors may leave none.
  const open = behind.length > 0 ? behind : going;
  let at = generator.uniform() * sum(open, ({ weight }) => weight);
  for (const source of open) {
    at -= source.weight;
    if (at < 0) return source;
  }
  return open.at(-1)!;
}
