import { packagedFile } from '../disk/input-file.js';

/** Files in the package: a 3.3M-parameter Gemma, text it was trained on, and held-out text. */
export const bundled = {
  model: packagedFile('assets/tiny-gemma'),
  trainingText: packagedFile('assets/corpus/train.jsonl.gz'),
  validationText: packagedFile('assets/corpus/validation.jsonl.gz'),
} as const;
