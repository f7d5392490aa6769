import { join } from 'node:path';
import {
  EXAMPLE_COLUMNS,
  examplesFile,
  FEATURE_COLUMNS,
  FEATURE_GROUP,
  type FeaturesOfSae,
  FILE_FEATURES,
} from '../features/folder.js';
import type { ExampleBand, FeatureExample, FeaturePage, LogitEffect, RelatedFeature } from './api.js';
import { wrongFile } from './feature-columns.js';
import type { GroupCache } from './group-cache.js';
import type { DecodedColumn } from './parquet-column.js';
import { ParquetTable } from './parquet-table.js';
import type { FeatureLists, LabelView, TokenTexts } from './query.js';

/** Bands below that of the strongest. */
const BANDS = 5;
/** Max tokens of an example; the window of `features` has 21. */
const MOST_WINDOW = 4096;

type FeatureColumn = (typeof FEATURE_COLUMNS)[number]['name'];
type ExampleColumn = (typeof EXAMPLE_COLUMNS)[number]['name'];
const featureColumns = FEATURE_COLUMNS.map(({ name }) => name);
const exampleColumns = EXAMPLE_COLUMNS.map(({ name }) => name);

/** What a page shows of a feature besides its own rows. */
interface Surroundings {
  readonly vocabulary: TokenTexts;
  readonly lists: FeatureLists;
  labels(): LabelView;
}

/** Reads the pages of an SAE's features, each from one row group of either kind of file. */
export class FeaturePages {
  private readonly examples = new Map<number, Promise<ParquetTable>>();
  /** The first feature of each row group of examples; −1: not known yet. */
  private readonly firstFeatures = new Map<ParquetTable, Int32Array>();

  /** @param tables the features-*.parquet, in order */
  constructor(
    private readonly sae: FeaturesOfSae,
    private readonly directory: string,
    private readonly tables: readonly ParquetTable[],
    private readonly around: Surroundings,
    private readonly cache: GroupCache,
  ) {}

  /**
   * @param feature number of an existing feature
   * @throws Refusal if a file is damaged
   */
  async page(feature: number): Promise<FeaturePage> {
    const { sae, around } = this;
    const row = await this.row(feature);
    const label = around.labels().byFeature.get(feature);
    const related = (features: FeatureColumn, values: FeatureColumn) => this.related(row, features, values);
    return {
      sae: sae.folder,
      feature,
      activeTokens: row.number('active_tokens'),
      frequency: row.number('frequency'),
      mean: orNull(row.number('mean_active')),
      max: short(row.number('max')),
      normShare: short(row.number('norm_share')),
      decoderNorm: short(row.number('decoder_norm')),
      encoderNorm: short(row.number('encoder_norm')),
      encoderDecoderCosine: orNull(row.number('encoder_decoder_cosine')),
      histogram: { first: row.number('histogram_first'), counts: row.list('histogram') },
      topLogits: this.logits(row, 'top_logit_tokens', 'top_logits'),
      bottomLogits: this.logits(row, 'bottom_logit_tokens', 'bottom_logits'),
      decoderNeighbours: related('decoder_neighbours', 'decoder_cosines'),
      encoderNeighbours: related('encoder_neighbours', 'encoder_cosines'),
      cofiring: this.related(row, 'cofiring', 'cofiring_correlations', 'cofiring_tokens'),
      bands: await this.bands(feature, row.number('max')),
      label: label?.label ?? null,
      note: label?.note ?? null,
    };
  }

  /** The row of a feature in features-*.parquet. */
  async row(feature: number): Promise<TableRow<FeatureColumn>> {
    const table = this.tables[Math.floor(feature / FILE_FEATURES)]!;
    const inFile = feature % FILE_FEATURES;
    const group = groupOf(table, inFile);
    const place = inFile - table.firstRow[group]!;
    const bytes = await this.cache.read(table, group, featureColumns);
    const row = new TableRow<FeatureColumn>(table.decode(bytes, group, [place, place + 1]), 0, table.path);
    if (row.number('feature') !== feature) throw wrongFile(table.path, 'does not have its features in order');
    return row;
  }

  /** The examples of a feature, by band and rank, as stored. */
  async storedExamples(feature: number): Promise<TableRow<ExampleColumn>[]> {
    const table = await this.exampleTable(Math.floor(feature / FILE_FEATURES));
    const rows: TableRow<ExampleColumn>[] = [];
    for (const group of await this.groupsWith(table, feature)) {
      const bytes = await this.cache.read(table, group, exampleColumns);
      const features = table.decode({ feature: bytes.feature }, group).feature.values as Int32Array;
      const range = [firstAtLeast(features, feature), firstAtLeast(features, feature + 1)] as const;
      const columns = table.decode(bytes, group, range);
      for (let i = 0; i < range[1] - range[0]; i++) rows.push(new TableRow(columns, i, table.path));
    }
    return rows;
  }

  private exampleTable(i: number): Promise<ParquetTable> {
    const opened = this.examples.get(i) ?? ParquetTable.open(join(this.directory, examplesFile(i)), EXAMPLE_COLUMNS);
    this.examples.set(i, opened);
    // A file that could not be opened may be available later.
    opened.catch(() => this.examples.delete(i));
    return opened;
  }

  /** Row groups that may contain examples of a feature, however the file is divided into row groups. */
  private async groupsWith(table: ParquetTable, feature: number): Promise<number[]> {
    let [low, high] = [0, table.groups - 1];
    // The last group that begins at or before the feature, and earlier ones that begin with it.
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((await this.firstFeature(table, middle)) <= feature) low = middle;
      else high = middle - 1;
    }
    const groups = table.groups === 0 ? [] : [low];
    while (groups[0]! > 0 && (await this.firstFeature(table, groups[0]!)) === feature) groups.unshift(groups[0]! - 1);
    return groups;
  }

  private async firstFeature(table: ParquetTable, group: number): Promise<number> {
    const firsts = this.firstFeatures.get(table) ?? new Int32Array(table.groups).fill(-1);
    this.firstFeatures.set(table, firsts);
    if (firsts[group] === -1) {
      const { feature } = await table.read(group, ['feature']);
      firsts[group] = (feature.values as Int32Array)[0] ?? 0;
    }
    return firsts[group]!;
  }

  private async bands(feature: number, max: number): Promise<ExampleBand[]> {
    const rows = await this.storedExamples(feature);
    const byBand = new Map<number, FeatureExample[]>();
    for (const row of rows) {
      const band = row.number('band');
      if (!(band >= 0 && band <= BANDS)) throw row.wrong(`has an example of feature ${feature} in band ${band}`);
      const found = byBand.get(band) ?? [];
      found.push(this.example(row));
      byBand.set(band, found);
    }
    const octave = Math.floor(Math.log2(max));
    return [...byBand]
      .sort(([a], [b]) => a - b)
      .map(([band, examples]) => {
        const values = examples.map(({ value }) => value);
        const ends =
          band === 0
            ? [Math.min(...values), Math.max(...values)]
            : [octave - band + 1, octave - band + 2].map((o) => 2 ** o);
        return { band, from: ends[0]!, to: ends[1]!, examples };
      });
  }

  private example(row: TableRow<ExampleColumn>): FeatureExample {
    const [position, first] = [row.number('position'), row.number('first')];
    const [tokens, activations] = [row.list('tokens'), row.list('activations')];
    const peak = position - first;
    const fits = tokens.length === activations.length && tokens.length <= MOST_WINDOW && peak >= 0;
    if (!fits || peak >= tokens.length) throw row.wrong('has an example whose peak is not among its tokens');
    return {
      context: row.number('context'),
      position,
      value: short(row.number('value')),
      first,
      tokens: tokens.map((token) => this.text(token)),
      activations: activations.map(short),
      peak,
    };
  }

  private logits(row: TableRow<FeatureColumn>, tokens: FeatureColumn, values: FeatureColumn): LogitEffect[] {
    return row.pairs(tokens, values).map(([id, value]) => ({ id, token: this.text(id), value: short(value) }));
  }

  private related(
    row: TableRow<FeatureColumn>,
    features: FeatureColumn,
    values: FeatureColumn,
    together?: FeatureColumn,
  ): RelatedFeature[] {
    const { lists, labels } = this.around;
    const { byFeature } = labels();
    const counts = together === undefined ? [] : row.list(together);
    return row.pairs(features, values).map(([feature, value], i) => {
      if (!(feature >= 0 && feature < this.sae.d_sae))
        throw row.wrong(`names feature ${feature}, which does not exist`);
      const tokens = lists.texts('peakTokens', feature, 3);
      const count = counts[i];
      const related = { feature, value: short(value), label: byFeature.get(feature)?.label ?? null, tokens };
      return count === undefined ? related : { ...related, together: count };
    });
  }

  private text(token: number): string {
    return this.around.vocabulary.text(token);
  }
}

/** A row of some columns. */
export class TableRow<Name extends string> {
  constructor(
    private readonly columns: Readonly<Record<Name, DecodedColumn>>,
    private readonly row: number,
    private readonly path: string,
  ) {}

  number(name: Name): number {
    return (this.columns[name].values as Float64Array)[this.row]!;
  }

  list(name: Name): number[] {
    const { values, offsets } = this.columns[name];
    return [...(values as Float64Array).subarray(offsets![this.row]!, offsets![this.row + 1]!)];
  }

  /** Two parallel lists. */
  pairs(first: Name, second: Name): [number, number][] {
    const [a, b] = [this.list(first), this.list(second)];
    if (a.length !== b.length) throw this.wrong(`has ${a.length} ${first} and ${b.length} ${second}`);
    return a.map((value, i) => [value, b[i]!]);
  }

  wrong(what: string) {
    return wrongFile(this.path, what);
  }
}

/** Six significant digits: a float32 has no more, and printed as a double it would have seventeen. */
const short = (value: number) => Number(value.toPrecision(6));
const orNull = (value: number) => (Number.isNaN(value) ? null : short(value));

/** The row group of a row: the first guess is right if `features` wrote the file. */
function groupOf({ firstRow, groups }: ParquetTable, row: number): number {
  const guess = Math.floor(row / FEATURE_GROUP);
  if (guess < groups && firstRow[guess]! <= row && row < firstRow[guess + 1]!) return guess;
  return firstAtLeast(firstRow, row + 1) - 1;
}

/** The first index in a sorted array whose value is at least `least`. */
function firstAtLeast(sorted: Int32Array, least: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < least) low = middle + 1;
    else high = middle;
  }
  return low;
}
