import { workerData } from 'node:worker_threads';
import type { TextRequest } from './api.js';
import type { ModelSettings } from './explored-model.js';
import { serveModel } from './model-worker.js';
import { TriedModel } from './tried-model.js';

serveModel(
  () => TriedModel.open(workerData as ModelSettings),
  (model, request: TextRequest) => model.run(request),
);
