// The JSON between the pages of `explore` and what serves them: the live server, plain files (--static), or one page
// with its data in it (--html). Types only, so that the browser's side can import them too. Every path is relative.
//
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
// Whatever fails is an ExploreError with a status of 4xx or 5xx. All text is text: it may hold HTML, and is to be shown
// as it is.

/** data/index.json: what there is. */
export interface ExploreIndex {
  /** Of the folder. */
  readonly title: string;
  readonly model: string;
  readonly corpus: string;
  /** Tokens counted (an SAE may leave some of them out), contexts read, and tokens per context, BOS included. */
  readonly tokens: number;
  readonly contexts: number;
  readonly contextLength: number;
  readonly saes: readonly ExploreSae[];
  /** What the server can do; all false for static pages. */
  readonly live: {
    /** Lists are asked for; else they are computed from columns in the browser. */
    readonly list: boolean;
    /** Labels can be saved. */
    readonly labels: boolean;
    /** A text can be tried. */
    readonly text: boolean;
  };
  /** Features per pack of static pages; null where every feature has its own path. */
  readonly packed: number | null;
  /** Only these features have pages, by SAE (--html); null: all. */
  readonly only: Readonly<Record<string, readonly number[]>> | null;
}

export interface ExploreSae {
  /** As it stands in paths: letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  readonly architecture: string;
  readonly hook: string;
  /** Where a transcoder writes; null for an SAE. */
  readonly hookOut: string | null;
  readonly dIn: number;
  readonly dSae: number;
  /** Of TopK. */
  readonly k: number | null;
  /** Features that are active anywhere in the text. */
  readonly alive: number;
  /** Features with a label. */
  readonly labelled: number;
  /** The largest activation of any feature. */
  readonly max: number;
  /** Tokens that its numbers are over, and those left out for the norm of their activation: null where none would be. */
  readonly tokens: number;
  readonly leftOut: { readonly tokens: number; readonly multiple: number } | null;
  /** Tokens over which co-firing was measured. */
  readonly cofiringTokens: number;
}

/** What a list can be sorted by, and bounded in. */
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

/** Where a search looks. */
export const searchPlaces = ['tokens', 'logits', 'labels'] as const;
export type SearchPlace = (typeof searchPlaces)[number];

/**
 * Which features, in which order. As parameters of a URL each key as it is called here, left out where it is undefined;
 * bounds as `frequency=0.001..0.1`, `max=..5`, `decoderCosine=0.9..`, both ends included.
 */
export interface ListQuery {
  /** Text (any case) in tokens at the strongest peaks, in top logits, or in label and note; a number is also that feature. */
  readonly q?: string;
  /** Where q is looked for; everywhere where it is left out. */
  readonly in?: SearchPlace;
  /** `frequency` where it is left out. */
  readonly sort?: ListColumn;
  /** `desc` where it is left out. Features without a value come last either way. */
  readonly order?: 'asc' | 'desc';
  /** 1: only features that are active somewhere; 0: only those that never are. */
  readonly alive?: 0 | 1;
  /** 1: only features with a label or a note; 0: only those without. */
  readonly labelled?: 0 | 1;
  readonly bounds?: Readonly<Partial<Record<ListColumn, readonly [least: number, most: number]>>>;
  /** First row, from 0. */
  readonly from?: number;
  /** Rows, 50 where it is left out, 500 at most. */
  readonly count?: number;
}

export interface FeatureList {
  /** Features that the query finds. */
  readonly total: number;
  readonly rows: readonly FeatureRow[];
}

/** A feature in a list. Numbers are null where there is none: the mean of a feature that never fires. */
export interface FeatureRow {
  readonly feature: number;
  /** Share of tokens on which f > 0. */
  readonly frequency: number;
  readonly max: number;
  /** Of f where f > 0. */
  readonly mean: number | null;
  /** Share of the norm of all reconstructions. */
  readonly normShare: number;
  readonly encoderDecoderCosine: number | null;
  /** Cosine to the nearest other decoder direction, and to the nearest encoder direction. */
  readonly decoderCosine: number | null;
  readonly encoderCosine: number | null;
  readonly label: string | null;
  /** Tokens at the strongest peaks, strongest first, each once. */
  readonly tokens: readonly string[];
  /** Tokens whose logits it raises most. */
  readonly logits: readonly string[];
}

/** data/SAE/scatter.json: at most 5,000 features, evenly chosen among those that fire; arrays run side by side. */
export interface FeatureScatter {
  readonly feature: readonly number[];
  readonly frequency: readonly number[];
  readonly max: readonly number[];
  /** Features that fire, of which these were chosen. */
  readonly of: number;
}

/** Everything about a feature. */
export interface FeaturePage {
  readonly sae: string;
  readonly feature: number;
  /** Tokens on which it fires. */
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
  /** Largest and smallest direct effects on logits, the strongest first; empty where there is no direct path. */
  readonly topLogits: readonly LogitEffect[];
  readonly bottomLogits: readonly LogitEffect[];
  /** Nearest first, by cosine. */
  readonly decoderNeighbours: readonly RelatedFeature[];
  readonly encoderNeighbours: readonly RelatedFeature[];
  /** By correlation of f over tokens. */
  readonly cofiring: readonly RelatedFeature[];
  /** The strongest examples first, then octaves of activation downwards; bands without examples are left out. */
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
  /** Tokens on which both fire; of co-firing features only. */
  readonly together?: number;
  readonly label: string | null;
  /** Tokens at its strongest peaks. */
  readonly tokens: readonly string[];
}

export interface ExampleBand {
  /** 0: the strongest; 1 … 5: octaves of f, downwards from that of the maximum. */
  readonly band: number;
  /** Values of these examples: from ≤ f < to; of band 0 the least and the largest that it holds. */
  readonly from: number;
  readonly to: number;
  readonly examples: readonly FeatureExample[];
}

/** A stretch of text around a peak; tokens and activations run side by side. */
export interface FeatureExample {
  /** Number of the context in the text. */
  readonly context: number;
  /** Of the peak in its context. */
  readonly position: number;
  /** f at the peak. */
  readonly value: number;
  /** Position of the first token here. */
  readonly first: number;
  readonly tokens: readonly string[];
  readonly activations: readonly number[];
  /** Where the peak is in `tokens`. */
  readonly peak: number;
}

/** A label and a note; both null: there is none any more. */
export interface FeatureLabel {
  readonly feature: number;
  readonly label: string | null;
  readonly note: string | null;
  /** Who gave it, where it was read from elsewhere: "neuronpedia, oai_token-act-pair, gpt-4o-mini". */
  readonly source: string | null;
}

/** Bounds of a label, a note and a text, in UTF-16 code units. */
export const MOST_LABEL = 500;
export const MOST_NOTE = 10_000;
export const MOST_TRIED_TEXT = 10_000;

/** POST api/labels. Text that is empty, or white space only, removes. */
export interface LabelRequest {
  readonly sae: string;
  readonly feature: number;
  readonly label: string | null;
  readonly note: string | null;
}

/** POST api/text. */
export interface TextRequest {
  readonly text: string;
  /** Names of SAEs; all where it is left out. */
  readonly saes?: readonly string[];
  /** Strongest features per token, 5 where it is left out, 20 at most. */
  readonly count?: number;
  /** Also f of this feature at each token. */
  readonly feature?: { readonly sae: string; readonly feature: number };
}

export interface TextReply {
  /** The text as the model reads it, BOS included where it begins with one. */
  readonly tokens: readonly string[];
  /** False where a token is left out of the features of every SAE, as BOS is. */
  readonly counted: readonly boolean[];
  /** The text has more tokens than a context holds: the rest was left out. */
  readonly cut: boolean;
  readonly saes: readonly {
    readonly sae: string;
    /** Tokens that this SAE leaves out for the norm of their activation. */
    readonly long: readonly number[];
    /** Per token the strongest features, strongest first; only those that fire. */
    readonly top: readonly (readonly TokenFeature[])[];
  }[];
  /** f of the feature that was asked for, per token; null where none was. */
  readonly heat: readonly number[] | null;
}

export interface TokenFeature {
  readonly feature: number;
  readonly value: number;
  readonly label: string | null;
  /** Tokens at its strongest peaks in the folder's text. */
  readonly tokens: readonly string[];
}

/** GET api/status: how far a text that is being tried is; to be asked while one waits for POST api/text. */
export interface ExploreStatus {
  /** `closed`: the model opens with the first text, which takes a while. */
  readonly model: 'none' | 'closed' | 'opening' | 'ready';
  /** Texts that are computed or wait. */
  readonly waiting: number;
  /** Seconds that the model has been opening, or 0. */
  readonly seconds: number;
}

/** What failed, in a sentence, and what to do about it. */
export interface ExploreError {
  readonly error: string;
  readonly remedy: string | null;
}
