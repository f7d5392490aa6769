import type {
  ExploreIndex,
  FeatureLabel,
  FeatureList,
  FeaturePage,
  FeatureScatter,
  ListQuery,
  TextReply,
} from '../api.js';
import { FeatureLists, TokenTexts } from '../query.js';
import { columnsFromFiles, packPath, VOCABULARY_PATH } from '../static-data.js';
import { answerAt, jsonAt, Unanswered } from './answers.js';
import { Newest, type Source, type Told } from './source.js';

/** Plain files as written by `sae-pipe explore --static`: lists are computed here. */
export class StaticSource implements Source {
  private readonly lists = new Map<string, Promise<FeatureLists>>();
  private readonly packs = new Newest<Promise<readonly FeaturePage[]>>(16);
  private vocabulary: Promise<TokenTexts> | undefined;

  constructor(readonly index: ExploreIndex) {}

  async list(sae: string, query: ListQuery, told: Told): Promise<FeatureList> {
    return (await this.listsOf(sae, told)).list(query);
  }

  scatter(sae: string): Promise<FeatureScatter> {
    return jsonAt<FeatureScatter>(`data/${sae}/scatter.json`);
  }

  async feature(sae: string, feature: number): Promise<FeaturePage> {
    const packed = this.index.packed ?? 1;
    const path = packPath(sae, feature, packed);
    const page = (await this.packs.get(path, () => packAt(path)))[feature % packed];
    if (!page) throw new Unanswered(`Feature ${feature} does not exist.`);
    return page;
  }

  async saveLabel(): Promise<FeatureLabel> {
    throw new Unanswered('These pages cannot save labels.');
  }

  async tryText(): Promise<TextReply> {
    throw new Unanswered('These pages cannot run a model.');
  }

  async steer(): Promise<void> {
    throw new Unanswered('These pages cannot run a model.');
  }

  async attribute(): Promise<void> {
    throw new Unanswered('These pages cannot run a model.');
  }

  private listsOf(sae: string, told: Told): Promise<FeatureLists> {
    const found = this.lists.get(sae) ?? this.open(sae, told);
    this.lists.set(sae, found);
    // A failed request may succeed when repeated.
    found.catch(() => this.lists.delete(sae));
    return found;
  }

  private async open(name: string, told: Told): Promise<FeatureLists> {
    const sae = this.index.saes.find((one) => one.name === name)!;
    const bytesAt = async (path: string) => {
      const answer = await answerAt(path);
      if (!answer.ok) throw new Unanswered(`${path} could not be read (${answer.status}).`);
      return answer.arrayBuffer();
    };
    this.vocabulary ??= jsonAt<string[]>(VOCABULARY_PATH).then((texts) => new TokenTexts(texts));
    this.vocabulary.catch(() => {
      this.vocabulary = undefined;
    });
    const [columns, vocabulary, labels] = await Promise.all([
      columnsFromFiles(sae, bytesAt, (done, total) => told(done / total, `Reading the features of ${name}`)),
      this.vocabulary,
      jsonAt<FeatureLabel[]>(`data/${name}/labels.json`),
    ]);
    const byFeature = new Map(labels.map((label) => [label.feature, label]));
    return new FeatureLists(columns, vocabulary, () => ({ version: 0, byFeature }));
  }
}

/** Features of a pack; some servers have already decompressed it. */
async function packAt(path: string): Promise<readonly FeaturePage[]> {
  const answer = await answerAt(path);
  if (!answer.ok) throw new Unanswered(`${path} could not be read (${answer.status}).`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  const plain = packed ? new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip')) : bytes;
  return (await new Response(plain).json()) as FeaturePage[];
}
