import { evalSchema } from './stages/eval.js';
import { exploreSchema, exportFeaturesSchema, featuresSchema, labelsSchema } from './stages/features.js';
import { attributeSchema, generateSchema, steerSchema } from './stages/generation.js';
import { harvestSchema } from './stages/harvest.js';
import { demoSchema, doctorSchema, hooksSchema, inspectSchema } from './stages/machine.js';
import { figureSchema, reportSchema, watchSchema } from './stages/pages.js';
import { pushSchema } from './stages/publish.js';
import { convertSchema, exportSchema, lsSchema } from './stages/saes.js';
import { statusSchema } from './stages/status.js';
import { submitSchema } from './stages/submit.js';
import { sweepSchema } from './stages/sweep.js';
import { trainSchema } from './stages/train.js';

/** The stages, each with the schema of its section in a configuration file. */
export const STAGES = {
  harvest: harvestSchema,
  train: trainSchema,
  sweep: sweepSchema,
  eval: evalSchema,
  generate: generateSchema,
  steer: steerSchema,
  attribute: attributeSchema,
  features: featuresSchema,
  export: exportSchema,
  convert: convertSchema,
  ls: lsSchema,
  push: pushSchema,
  report: reportSchema,
  status: statusSchema,
  watch: watchSchema,
  explore: exploreSchema,
  labels: labelsSchema,
  'export-features': exportFeaturesSchema,
  figure: figureSchema,
  hooks: hooksSchema,
  inspect: inspectSchema,
  doctor: doctorSchema,
  submit: submitSchema,
  demo: demoSchema,
} as const;
export type StageName = keyof typeof STAGES;
