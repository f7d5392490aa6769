import { readFileSync } from 'node:fs';
import { readDocuments } from '../../src/corpus/documents.js';
import { hubCorpus } from '../../src/corpus/hub-dataset.js';
import type { HubSettings } from '../../src/hub/request.js';
import { temporaryDirectory } from '../temporary.js';
import { type FakeDataset, FakeDatasets } from './fake-datasets.js';
import { type WholeDocument, wholeDocument } from './whole-documents.js';

const VARIABLES = ['HF_ENDPOINT', 'HF_HOME', 'HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_TOKEN_PATH'] as const;

interface Served {
  readonly hub: FakeDatasets;
  readonly settings: HubSettings;
  /** The documents of a corpus, each with its complete text. */
  read(corpus: string, textField?: string, seed?: number): Promise<WholeDocument[]>;
}

/** Serves data sets to this process and its threads, with impatient settings. */
export async function served(
  t: { after: (end: () => void) => void },
  datasets: Readonly<Record<string, FakeDataset>>,
  token?: string,
): Promise<Served> {
  const hub = await FakeDatasets.start(t, datasets);
  const before = VARIABLES.map((name) => [name, process.env[name]] as const);
  t.after(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
  for (const name of VARIABLES) delete process.env[name];
  process.env.HF_ENDPOINT = hub.endpoint;
  process.env.HF_HOME = temporaryDirectory(t);
  if (token !== undefined) process.env.HF_TOKEN = token;
  const patience = { attempts: 3, delay: 1, stall: 5000, poll: 20 };
  const settings = { endpoint: hub.endpoint, cache: process.env.HF_HOME, offline: false, token, patience };
  return {
    hub,
    settings,
    async read(corpus, textField = 'text', seed = 0) {
      const { files } = await hubCorpus({ corpus, seed }, settings);
      const documents: WholeDocument[] = [];
      for await (const document of readDocuments(corpus, textField, { files })) {
        documents.push(await wholeDocument(document));
      }
      return documents;
    },
  };
}

const FIXTURES = 'test/corpus/fixtures';

/** Fixtures as files of a data set. */
export const fixtures = (...names: string[]): Map<string, Buffer> =>
  new Map(names.map((name) => [name, readFileSync(`${FIXTURES}/${name}`)]));
