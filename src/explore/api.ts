// The JSON exchanged between the pages of `explore` and their data source: the live server, plain files (--static), or
// one page with embedded data (--html). Types only, so that the browser's code can import them too. Every path is
// relative.
//     data/index.json                         ExploreIndex
//     data/SAE/list?…                         FeatureList: live.list only; the same from columns by listFeatures() of query.ts
//     data/SAE/scatter.json                   FeatureScatter
//     data/SAE/features/17.json               FeaturePage: live
//     data/SAE/features/pack-0.json.gz        (FeaturePage | null)[]: static; features n · packed … of pack n; may arrive unpacked
//     data/SAE/labels.json                    FeatureLabel[], by feature
//     data/SAE/columns/NAME.bin, data/vocabulary.json   static: what query.ts reads
//     POST api/labels                         LabelRequest → FeatureLabel
//     POST api/text                           TextRequest → TextReply
//     POST api/steer, POST api/attribute      see steering-api.ts
//     GET api/status                          ExploreStatus
//
// Every failure is an ExploreError with a status of 4xx or 5xx. All text is plain text: it may contain HTML, which must
// be shown verbatim.

/** data/index.json: the SAEs and the features of the server. */
export interface ExploreIndex {
  /** The folder's title. */
  readonly title: string;
  readonly model: string;
  readonly corpus: string;
  /** Tokens counted (an SAE may leave some out), contexts read, and tokens per context, BOS included. */
  readonly tokens: number;
  readonly contexts: number;
  readonly contextLength: number;
  readonly saes: readonly ExploreSae[];
  /** Capabilities of the server; all false for static pages. */
  readonly live: {
    /** Lists are requested; otherwise they are computed from columns in the browser. */
    readonly list: boolean;
    /** Labels can be saved. */
    readonly labels: boolean;
    /** Texts can be run through the model. */
    readonly text: boolean;
  };
  /** Features per pack of static pages; null if every feature has its own path. */
  readonly packed: number | null;
  /** Only these features have pages, by SAE (--html); null: all. */
  readonly only: Readonly<Record<string, readonly number[]>> | null;
}

export interface ExploreSae {
  /** Its name in paths: letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  readonly architecture: string;
  readonly hook: string;
  /** Output hook of a transcoder; null for an SAE. */
  readonly hookOut: string | null;
  readonly dIn: number;
  readonly dSae: number;
  /** For TopK. */
  readonly k: number | null;
  /** Features that fire anywhere in the text. */
  readonly alive: number;
  /** Features with a label. */
  readonly labelled: number;
  /** The largest activation of any feature. */
  readonly max: number;
  /** Tokens its figures are based on, and those left out because of their norm; null if there is no such rule. */
  readonly tokens: number;
  readonly leftOut: { readonly tokens: number; readonly multiple: number } | null;
  /** Tokens that co-firing was measured on. */
  readonly cofiringTokens: number;
}

/** Columns by which a list can be sorted and filtered. */
export const listColumns = [
  'feature',
  'frequency',
  'max',
  'mean',
  'normShare',
  'decoderNorm',
  'encoderNorm',
  'encoderDecoderCosine',
  'decoderCosine',
  'encoderCosine',
] as const;
export type ListColumn = (typeof listColumns)[number];

/** Where to search. */
export const searchPlaces = ['tokens', 'logits', 'labels'] as const;
export type SearchPlace = (typeof searchPlaces)[number];

/**
 * Which features, in which order. As URL parameters, each key has the same name and is omitted if undefined; bounds as
 * `frequency=0.001..0.1`, `max=..5`, `decoderCosine=0.9..`, both ends included.
 */
export interface ListQuery {
  /**
   * Text (case-insensitive) in tokens at the strongest peaks, in top logits, or in label and note; a number also
   * matches that feature.
   */
  readonly q?: string;
  /** Where to search for q; everywhere by default. */
  readonly in?: SearchPlace;
  /** `frequency` by default. */
  readonly sort?: ListColumn;
  /** `desc` by default. Features without a value always come last. */
  readonly order?: 'asc' | 'desc';
  /** 1: only features that fire somewhere; 0: only those that never do. */
  readonly alive?: 0 | 1;
  /** 1: only features with a label or a note; 0: only those without. */
  readonly labelled?: 0 | 1;
  readonly bounds?: Readonly<Partial<Record<ListColumn, readonly [least: number, most: number]>>>;
  /** First row, from 0. */
  readonly from?: number;
  /** Number of rows; 50 by default, at most 500. */
  readonly count?: number;
}

export interface FeatureList {
  /** Number of features that match the query. */
  readonly total: number;
  readonly rows: readonly FeatureRow[];
}

/** A feature in a list. Missing numbers are null: the mean of a feature that never fires. */
export interface FeatureRow {
  readonly feature: number;
  /** Share of tokens on which f > 0. */
  readonly frequency: number;
  readonly max: number;
  /** Mean of f where f > 0. */
  readonly mean: number | null;
  /** Share of the total norm of all reconstructions. */
  readonly normShare: number;
  readonly encoderDecoderCosine: number | null;
  /** Cosine with the nearest other decoder direction, and with the nearest encoder direction. */
  readonly decoderCosine: number | null;
  readonly encoderCosine: number | null;
  readonly label: string | null;
  /** Tokens at the strongest peaks, strongest first, without repetition. */
  readonly tokens: readonly string[];
  /** Tokens whose logits it raises most. */
  readonly logits: readonly string[];
}

/** data/SAE/scatter.json: at most 5,000 features, evenly sampled from those that fire; parallel arrays. */
export interface FeatureScatter {
  readonly feature: readonly number[];
  readonly frequency: readonly number[];
  readonly max: readonly number[];
  /** Total number of features that fire. */
  readonly of: number;
}

/** Everything about a feature. */
export interface FeaturePage {
  readonly sae: string;
  readonly feature: number;
  /** Number of tokens on which it fires. */
  readonly activeTokens: number;
  readonly frequency: number;
  readonly mean: number | null;
  readonly max: number;
  readonly normShare: number;
  readonly decoderNorm: number;
  readonly encoderNorm: number;
  readonly encoderDecoderCosine: number | null;
  /** Tokens by activation: counts[b] of them have 2^((first + b)/4) ≤ f < 2^((first + b + 1)/4). */
  readonly histogram: { readonly first: number; readonly counts: readonly number[] };
  /** Largest and smallest direct effects on logits, strongest first; empty if there is no direct path. */
  readonly topLogits: readonly LogitEffect[];
  readonly bottomLogits: readonly LogitEffect[];
  /** Nearest first, by cosine. */
  readonly decoderNeighbours: readonly RelatedFeature[];
  readonly encoderNeighbours: readonly RelatedFeature[];
  /** By correlation of f over tokens. */
  readonly cofiring: readonly RelatedFeature[];
  /**
   * The strongest examples first, then octaves of activation in descending order; bands without examples are omitted.
   */
  readonly bands: readonly ExampleBand[];
  readonly label: string | null;
  readonly note: string | null;
}

export interface LogitEffect {
  /** The token's id. */
  readonly id: number;
  readonly token: string;
  readonly value: number;
}

export interface RelatedFeature {
  readonly feature: number;
  /** Cosine or correlation. */
  readonly value: number;
  /** Number of tokens on which both fire; for co-firing features only. */
  readonly together?: number;
  readonly label: string | null;
  /** Tokens at its strongest peaks. */
  readonly tokens: readonly string[];
}

export interface ExampleBand {
  /** 0: the strongest; 1 … 5: octaves of f, descending from that of the maximum. */
  readonly band: number;
  /** Range of these examples: from ≤ f < to; for band 0, the smallest and largest value in it. */
  readonly from: number;
  readonly to: number;
  readonly examples: readonly FeatureExample[];
}

/** The text around a peak; tokens and activations are parallel arrays. */
export interface FeatureExample {
  /** Number of the context in the text. */
  readonly context: number;
  /** Position of the peak in its context. */
  readonly position: number;
  /** f at the peak. */
  readonly value: number;
  /** Position of the first token shown. */
  readonly first: number;
  readonly tokens: readonly string[];
  readonly activations: readonly number[];
  /** Index of the peak in `tokens`. */
  readonly peak: number;
}

/** A label and a note; if both are null, it has been removed. */
export interface FeatureLabel {
  readonly feature: number;
  readonly label: string | null;
  readonly note: string | null;
  /** Author, if it was imported: "neuronpedia, oai_token-act-pair, gpt-4o-mini". */
  readonly source: string | null;
}

/** Max lengths of a label, a note and a text, in UTF-16 code units. */
export const MOST_LABEL = 500;
export const MOST_NOTE = 10_000;
export const MOST_TRIED_TEXT = 10_000;

/** POST api/labels. Empty or blank text removes a label or note. */
export interface LabelRequest {
  readonly sae: string;
  readonly feature: number;
  readonly label: string | null;
  readonly note: string | null;
}

/** POST api/text. */
export interface TextRequest {
  readonly text: string;
  /** Names of SAEs; all by default. */
  readonly saes?: readonly string[];
  /** Strongest features per token; 5 by default, at most 20. */
  readonly count?: number;
  /** Also return f of this feature at each token. */
  readonly feature?: { readonly sae: string; readonly feature: number };
}

export interface TextReply {
  /** The text as the model reads it, including BOS if it begins with one. */
  readonly tokens: readonly string[];
  /** False for a token without features in any SAE, such as BOS. */
  readonly counted: readonly boolean[];
  /** The text has more tokens than fit in a context: the rest was dropped. */
  readonly cut: boolean;
  readonly saes: readonly {
    readonly sae: string;
    /** Tokens that this SAE leaves out because of their norm. */
    readonly long: readonly number[];
    /** The strongest features at each token, in descending order; only those that fire. */
    readonly top: readonly (readonly TokenFeature[])[];
  }[];
  /** f of the requested feature at each token; null if none was requested. */
  readonly heat: readonly number[] | null;
}

export interface TokenFeature {
  readonly feature: number;
  readonly value: number;
  readonly label: string | null;
  /** Tokens at its strongest peaks in the folder's text. */
  readonly tokens: readonly string[];
}

/** GET api/status: progress of a submitted text, to poll while waiting for POST api/text. */
export interface ExploreStatus {
  /** `closed`: the model opens with the first text, which takes a while. */
  readonly model: 'none' | 'closed' | 'opening' | 'ready';
  /** Texts being computed or waiting. */
  readonly waiting: number;
  /** Seconds that the model has been opening, or 0. */
  readonly seconds: number;
}

/** What failed, as a sentence, and what to do about it. */
export interface ExploreError {
  readonly error: string;
  readonly remedy: string | null;
}
