import type { EvalRecord } from './record.js';

/**
 * For each hook where the unchanged model predicts the text worse than the frequencies of its tokens would: a sentence
 * without its full stop. Such a text is foreign to the model (another language, other tokens), and CE(0) − CE(x), by
 * which loss recovered divides, is then mostly the damage of removing the site.
 */
export function foreignTexts(records: readonly EvalRecord[]): string[] {
  const sentences = records.flatMap(({ hook, ce_clean: clean, unigram_entropy: unigram }) =>
    unigram !== undefined && clean > unigram
      ? [
          `${hook}: the model does not know this text: CE clean is ${clean.toFixed(2)}, and the frequencies of its tokens alone give ${unigram.toFixed(2)} nats; loss recovered says little here`,
        ]
      : [],
  );
  return [...new Set(sentences)];
}
