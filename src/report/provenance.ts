import { flagName, flagsOf } from '../config/flags.js';
import { trainSchema } from '../config/stages.js';
import type { EvalRecord } from '../eval/record.js';
import { distinct, type Entry } from './entries.js';

/** What a report was told: the directory it read, the file it wrote. */
export interface Source {
  evaluation: string;
  out: string;
  title?: string;
  reference?: string;
}

/** A word of a command as bash and zsh read it: what no page can show (controls, noncharacters) as an escape. */
export function shellWord(word: string): string {
  if (/^[\w./:=@%+,-]+$/.test(word)) return word;
  const unseen = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u;
  if (!unseen.test(word)) return `'${word.replaceAll("'", `'\\''`)}'`;
  const characters = [...word].map((character) => {
    if (unseen.test(character))
      return [...Buffer.from(character)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
    return /['\\]/.test(character) ? `\\${character}` : character;
  });
  return `$'${characters.join('')}'`;
}

/** Stands for what the files do not record. */
const UNKNOWN = '…';

/** The command of `eval`, a line an SAE. The files name the model, but not where it or the text lay. */
export function evalCommand(entries: readonly Entry[], evaluation: string): string {
  const records = entries.map(({ record }) => record);
  const saes = distinct(records.map(({ sae }) => `--sae ${shellWord(sae)}`));
  const models = distinct(records.map(({ model }) => model));
  const tokens = distinct(records.map((record) => record.tokens));
  const mean = records.some(({ ce_mean }) => ce_mean !== undefined && ce_mean !== null && !Number.isNaN(ce_mean));
  const rest = [
    `--model ${models.length === 1 ? shellWord(models[0]!) : UNKNOWN}`,
    `--corpus ${UNKNOWN}`,
    `--tokens ${tokens.length === 1 ? tokens[0] : UNKNOWN}`,
    ...(mean ? ['--mean-ablation'] : []),
    `--out ${shellWord(evaluation)}`,
  ];
  return ['sae-pipe eval', ...saes, rest.join(' ')].join(' \\\n    ');
}

/** The command of `report`. */
export function reportCommand({ evaluation, out, title, reference }: Source): string {
  const words = [
    'sae-pipe report',
    shellWord(evaluation),
    ...(title === undefined ? [] : ['--title', shellWord(title)]),
    ...(reference === undefined ? [] : ['--reference', reference]),
    '--out',
    shellWord(out),
  ];
  return words.join(' ');
}

/** What `train` makes; an SAE of another architecture was exported, or comes from elsewhere. */
const TRAINED = /^(gated|standard|gated_untied)$/;

/** The command of `train`, from the settings that cfg.json records; null where it records none. */
export function trainCommand({ cfg, sae, hook, architecture }: EvalRecord): string | null {
  const { sae_pipe } = (cfg.metadata ?? {}) as { sae_pipe?: unknown };
  if (typeof sae_pipe !== 'object' || sae_pipe === null || !TRAINED.test(architecture)) return null;
  const settings = sae_pipe as Record<string, unknown>;
  const words = flagsOf(trainSchema).flatMap(({ key, name, default: usual }) => {
    if (key === 'activations') return [`--activations ${UNKNOWN}/${shellWord(hook)}`];
    if (key === 'out') return [`--out ${shellWord(sae)}`];
    // Steps and tokens say one thing, of which a command may have one word; a rate that never falls falls in no steps.
    if (key === 'tokens' && 'steps' in settings) return [];
    if (key === 'decaySteps' && settings.lr_decay === 'constant') return [];
    const value = settings[flagName(key).replaceAll('-', '_')];
    if (value === usual || value === false) return [];
    if (value === true) return [`--${name}`];
    const values = [value].flat().filter((one) => ['string', 'number'].includes(typeof one));
    return values.map((one) => `--${name} ${shellWord(String(one))}`);
  });
  return ['sae-pipe train', ...words].join(' ');
}
