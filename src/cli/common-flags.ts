import type { Flag } from '../config/flags.js';
import { LOG_FORMATS } from './explain.js';

/** Flags of every command. */
export const COMMON: readonly Flag[] = [
  {
    key: 'config',
    name: 'config',
    type: 'string',
    repeated: false,
    required: false,
    path: true,
    commas: false,
    description: 'YAML file with a section for each command, keys named like the flags; flags win',
  },
  {
    key: 'log',
    name: 'log',
    type: 'string',
    repeated: false,
    required: false,
    path: false,
    commas: false,
    choices: LOG_FORMATS,
    default: LOG_FORMATS[0],
    description: 'progress and errors on standard error: text for people, or json, one object per line, for machines',
  },
  {
    key: 'verbose',
    name: 'verbose',
    type: 'boolean',
    repeated: false,
    required: false,
    path: false,
    commas: false,
    description: 'print a stack trace with an error',
  },
];
