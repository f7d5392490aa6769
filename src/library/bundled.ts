import { packagedFile } from '../disk/input-file.js';

/** Files that come with the package: a 3.3M-parameter Gemma, text that it was trained on, and text that it was not. */
export const bundled = {
  model: packagedFile('assets/tiny-gemma'),
  trainingText: packagedFile('assets/corpus/train.jsonl.gz'),
  validationText: packagedFile('assets/corpus/validation.jsonl.gz'),
} as const;
