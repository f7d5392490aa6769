import { dirname, join, resolve } from 'node:path';
import { flagsOf, type GivenCommand, recordName } from '../config/flags.js';
import { isRecorded } from '../config/run-file.js';
import { shellWord } from '../config/shell-word.js';
import { featuresSchema } from '../config/stages/features.js';
import { trainSchema } from '../config/stages/train.js';
import { readInWords } from '../corpus/read-tally.js';
import type { EvalRecord } from '../eval/record.js';
import { architectureNamed } from '../sae/registry.js';
import { trainingRecordOf } from '../sae/training-record.js';
import { distinct, type Entry, flattened } from './entries.js';
import { inlineMarker } from './family-styles.js';
import { type Markup, markup } from './page.js';

/** Paths of a report: the directory it read, the file it wrote. */
export interface ReportSource {
  evaluation: string;
  out: string;
  title?: string;
  reference?: string;
  /** Working directory of `report`, to which the paths above are relative. */
  directory?: string;
}

/** A command in lines, one per flag with its value, continued with backslashes. */
function inLines(name: string, words: readonly string[]): string {
  const lines = [name];
  for (const word of words) {
    if (/^--[a-z]/.test(word)) lines.push(shellWord(word));
    else lines[lines.length - 1] += ` ${shellWord(word)}`;
  }
  return lines.join(' \\\n    ');
}

/** The command that measured all SAEs; undefined if their files do not record a common one. */
function recorded(entries: readonly Entry[]): GivenCommand | undefined {
  const commands = entries.map(({ record }) => record.command);
  const [first] = commands;
  return first !== undefined && distinct(commands.map((one) => JSON.stringify(one))).length === 1 ? first : undefined;
}

/** Commands that reproduce what a page shows. */
interface Commands {
  text: string;
  /** Includes `eval`; otherwise the evaluation does not record its command. */
  measure: boolean;
}

/**
 * The commands of `eval` and `report`. If the evaluation records its own, they start in the directory it was run in,
 * and replace the earlier results.
 */
export function commandsOf(entries: readonly Entry[], source: ReportSource): Commands {
  const given = recorded(entries);
  const { evaluation, out, title, reference, directory } = source;
  const same = given === undefined || directory === undefined || given.directory === directory;
  const path = (path: string) => (same ? path : resolve(directory!, path));
  const report = [
    ...['sae-pipe report', shellWord(path(evaluation))],
    ...(title === undefined ? [] : ['--title', shellWord(title)]),
    ...(reference === undefined ? [] : ['--reference', reference]),
    ...['--out', shellWord(path(out)), '--overwrite'],
  ].join(' ');
  if (given === undefined) return { text: report, measure: false };
  const measure = inLines('sae-pipe eval', [...given.words, '--out', path(evaluation), '--overwrite']);
  return { text: `${inDirectory(given, measure)}\n${report}`, measure: true };
}

/**
 * The commands that collect and show what the SAEs' features respond to, on the text of the evaluation and in a folder
 * next to it; null if the evaluation does not record its command.
 */
export function featuresCommands(entries: readonly Entry[], { evaluation, directory }: ReportSource): string | null {
  const given = recorded(entries);
  if (given === undefined) return null;
  const known = new Set(flagsOf(featuresSchema).map(({ name }) => name));
  let taken = false;
  const words = given.words.filter((word) => {
    const flag = /^--([a-z][a-z0-9-]*)/.exec(word);
    if (flag) taken = known.has(flag[1]!.replace(/^no-/, ''));
    return taken;
  });
  const same = directory === undefined || given.directory === directory;
  const folder = join(dirname(same ? evaluation : resolve(directory, evaluation)), 'features');
  const model = words.indexOf('--model');
  const collect = inLines('sae-pipe features', [...words, '--out', folder]);
  const show = ['sae-pipe explore', shellWord(folder), ...(model < 0 ? [] : ['--model', shellWord(words[model + 1]!)])];
  return `${inDirectory(given, collect)}\n${show.join(' ')}`;
}

function inDirectory({ directory }: GivenCommand, command: string): string {
  return `cd ${shellWord(directory)}\n${command}`;
}

/** The `train` command that reproduces an SAE in place; null if unknown. */
export function trainCommand({ training }: EvalRecord): string | null {
  if (training?.stage !== 'train') return null;
  return inDirectory(training, inLines('sae-pipe train', [...training.words, '--overwrite']));
}

/** The commands of the sweeps that SAEs come from. */
export function sweepCommands(entries: readonly Entry[]): string[] {
  return distinct(
    entries.flatMap(({ record: { training } }) =>
      training?.stage === 'sweep' ? [inDirectory(training, inLines('sae-pipe sweep', training.words))] : [],
    ),
  );
}

/** The settings recorded in cfg.json, as flags of `train`; null if there are none. */
export function trainFlags({ cfg, architecture }: EvalRecord): string | null {
  // An SAE with an architecture that cannot be trained comes from elsewhere.
  if (!architectureNamed(architecture)?.training) return null;
  // An exported SAE was trained as something else.
  if (typeof cfg.metadata === 'object' && cfg.metadata !== null && 'exported_from' in cfg.metadata) return null;
  const settings = trainingRecordOf(cfg);
  const words = flagsOf(trainSchema).flatMap(({ key, name, default: usual }) => {
    // The recorded number of tokens is a result; steps determine it.
    if (!isRecorded(key) && (key !== 'tokens' || settings.steps !== undefined)) return [];
    // A constant rate has no decay steps.
    if (key === 'decaySteps' && settings.lr_decay === 'constant') return [];
    const value = settings[recordName(key)];
    if (value === usual || value === false) return [];
    if (value === true) return [`--${name}`];
    const values = [value].flat().filter((one) => ['string', 'number'].includes(typeof one));
    return values.map((one) => `--${name} ${shellWord(String(one))}`);
  });
  return words.length === 0 ? null : words.join(' ');
}

/** Max columns of a table of differences. */
const MOST_COLUMNS = 10;

/**
 * Not settings, or shown elsewhere: the architecture names its row, and our record repeats it and d_sae, and ends with
 * results.
 */
const NO_SETTING = /^(architecture|metadata\.sae_pipe\.(arch|d_sae|final\..*|activations\.read.*|text\.corpora.*))$/;

/** The settings in which the SAEs differ, one row per SAE; null if there are none or too many to show. */
function differences(entries: readonly Entry[]): Markup | null {
  const configurations = entries.map(({ record }) => flattened(record.cfg));
  const keys = distinct(configurations.flatMap((configuration) => [...configuration.keys()]))
    .filter((key) => distinct(configurations.map((configuration) => configuration.get(key))).length > 1)
    .filter((key) => !NO_SETTING.test(key));
  if (keys.length === 0 || keys.length > MOST_COLUMNS) return null;
  const last = (key: string) => key.slice(key.lastIndexOf('.') + 1);
  const heads = keys.map((key) => {
    const plain = keys.filter((other) => last(other) === last(key)).length === 1;
    return markup`<th scope="col" title="${key}"><span class="title">${plain ? last(key) : key}</span></th>`;
  });
  const rows = entries.map((entry, i) => {
    const cells = keys.map((key) => {
      const text = configurations[i]?.get(key);
      const sortable = text === undefined || Number.isFinite(Number(text)) ? markup` data-value="${text ?? ''}"` : null;
      return markup`<td${sortable}>${text ?? '–'}</td>`;
    });
    return markup`<tr data-sae="${entry.index}"><th scope="row"><span class="marker">${inlineMarker(entry.style)}</span>${entry.fullName}</th><td>${entry.record.sae}</td>${cells}</tr>
`;
  });
  return markup`<p>Differences between the SAEs:</p>
<div class="scroll" tabindex="0" role="region" aria-label="Settings that differ"><table class="sortable settings">
<thead><tr><th scope="col"><span class="title">SAE</span></th><th scope="col"><span class="title">Directory</span></th>${heads}</tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

/** The command that trained an SAE, otherwise its settings. */
function trainedBy({ record }: Entry): Markup | null {
  const command = trainCommand(record);
  if (command !== null) {
    return markup`<p class="path">Trained by (when run in a shell, this replaces the SAE with an identical one):</p>
<pre class="training">${command}</pre>`;
  }
  const flags = trainFlags(record);
  const by = record.training?.stage === 'sweep' ? markup`Part of the <a href="#commands">sweep above</a>. ` : null;
  if (flags === null) return by && markup`<p class="path">${by}</p>`;
  return markup`<p class="path">${by}Settings, as flags of train: <code>${flags}</code></p>`;
}

/** What was read from the SAE's training text, by the harvest of a store or by a running model, if recorded. */
function textRead({ record }: Entry): Markup[] {
  const { activations, text } = trainingRecordOf(record.cfg);
  const lines = readInWords(activations?.read ?? text?.corpora ?? []);
  return lines.map((line) => markup`<p class="path">${line}</p>`);
}

/** The cfg.json of each SAE, collapsed, after a table of the settings in which they differ. */
export function configurationSection(entries: readonly Entry[]): Markup {
  const details = entries.map((entry) => {
    return markup`<details data-sae="${entry.index}"><summary><span class="marker">${inlineMarker(entry.style)}</span>${entry.fullName}</summary>
<p class="path">${entry.record.sae}, ${entry.record.architecture} at ${entry.record.hook} of ${entry.record.model}</p>
${trainedBy(entry)}${textRead(entry)}
<pre>${JSON.stringify(entry.record.cfg, null, 2)}</pre>
</details>
`;
  });
  return markup`${entries.length > 1 ? differences(entries) : null}
<p>The cfg.json of each SAE, and the command that trained it, where it is recorded.</p>
${details}`;
}
