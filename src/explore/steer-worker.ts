import { workerData } from 'node:worker_threads';
import { Audience } from './audience.js';
import type { ModelSettings } from './explored-model.js';
import { serveModel } from './model-worker.js';
import { SteeredModel } from './steered-model.js';
import type { ModelJob, ModelNews } from './threaded-steering.js';

serveModel(
  () => SteeredModel.open(workerData as ModelSettings),
  (model, { memory, ...job }: ModelJob, tell: (news: ModelNews) => void): Promise<unknown> => {
    const audience = new Audience(memory);
    if (job.kind === 'steer') return model.steer(job.request, tell, audience);
    return model.attribute(job.request, tell, audience);
  },
);
