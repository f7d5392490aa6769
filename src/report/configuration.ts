import { flattened } from './configuration-keys.js';
import { distinct, type Entry } from './entries.js';
import { type Markup, markup } from './markup.js';
import { trainCommand, trainFlags } from './provenance.js';
import { inlineMarker } from './styles.js';

/** Most columns that a table of differences may have. */
const MOST = 10;

/** Not settings, or said elsewhere: the architecture names its row, our record repeats it and d_sae, and ends with results. */
const NO_SETTING = /^(architecture|metadata\.sae_pipe\.(arch|d_sae|final\..*))$/;

/** The settings in which the SAEs differ, a row an SAE; null where there are none or too many to show. */
function differences(entries: readonly Entry[]): Markup | null {
  const configurations = entries.map(({ record }) => flattened(record.cfg));
  const keys = distinct(configurations.flatMap((configuration) => [...configuration.keys()]))
    .filter((key) => distinct(configurations.map((configuration) => configuration.get(key))).length > 1)
    .filter((key) => !NO_SETTING.test(key));
  if (keys.length === 0 || keys.length > MOST) return null;
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
  return markup`<p>Where the SAEs differ:</p>
<div class="scroll" tabindex="0" role="region" aria-label="Settings that differ"><table class="sortable settings">
<thead><tr><th scope="col"><span class="title">SAE</span></th><th scope="col"><span class="title">Directory</span></th>${heads}</tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

/** The command that trained an SAE; where there is none, its settings. */
function training({ record }: Entry): Markup | null {
  const command = trainCommand(record);
  if (command !== null) {
    return markup`<p class="path">Trained by (pasted into a shell, it replaces the SAE with the same one):</p>
<pre class="training">${command}</pre>`;
  }
  const flags = trainFlags(record);
  const by = record.training?.stage === 'sweep' ? markup`Of the <a href="#commands">sweep above</a>. ` : null;
  if (flags === null) return by && markup`<p class="path">${by}</p>`;
  return markup`<p class="path">${by}Settings, as flags of train: <code>${flags}</code></p>`;
}

/** The cfg.json of each SAE, folded, after a table of the settings in which they differ. */
export function configurationSection(entries: readonly Entry[]): Markup {
  const details = entries.map((entry) => {
    return markup`<details data-sae="${entry.index}"><summary><span class="marker">${inlineMarker(entry.style)}</span>${entry.fullName}</summary>
<p class="path">${entry.record.sae}, ${entry.record.architecture} at ${entry.record.hook} of ${entry.record.model}</p>
${training(entry)}
<pre>${JSON.stringify(entry.record.cfg, null, 2)}</pre>
</details>
`;
  });
  return markup`${entries.length > 1 ? differences(entries) : null}
<p>The cfg.json of each SAE, and the command that trained it, where it is recorded.</p>
${details}`;
}
