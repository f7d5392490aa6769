import { workerData } from 'node:worker_threads';
import { Audience } from './audience.js';
import type { ModelSettings } from './explored-model.js';
import { serveModel } from './model-worker.js';
import { SteeredModel } from './steered-model.js';
import type { SteerEvent } from './steering-api.js';
import type { SteerJob } from './threaded-steering.js';

serveModel(
  () => SteeredModel.open(workerData as ModelSettings),
  (model, { request, memory }: SteerJob, tell: (event: SteerEvent) => void) =>
    model.steer(request, tell, new Audience(memory)),
);
