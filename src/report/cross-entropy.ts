import { distinct, type Entry } from './entries.js';
import { fixed, percent } from './format.js';
import { type Markup, markup } from './markup.js';
import { extent, logScale, paddedLog } from './scale.js';
import { baseline, FONT, figureSvg, marker, textWidth } from './svg.js';

const WIDTH = 960;
const ROW = 24;
const HEAD = 46;
const COLUMN = 88;
const COLUMNS = [
  ['clean', '(nats)'],
  ['spliced', '(nats)'],
  ['zero-ablated', '(nats)'],
  ['recovered', '(%)'],
] as const;

/** What splicing the SAE in, and ablating its site, add to the clean model's cross-entropy (nats a token). */
export function addedLoss({ record }: Entry): { spliced: number; zero: number } {
  return { spliced: record.ce_spliced - record.ce_clean, zero: record.ce_zero - record.ce_clean };
}

/**
 * Figure 4: a row an SAE. On a log axis of nats above the clean model, the spliced loss (marker) and the zero-ablated
 * loss (bar's end): the two can be a factor of a thousand apart, which a linear axis cannot show. The length of the
 * bar is −log(1 − loss recovered).
 */
export function crossEntropyFigure(entries: readonly Entry[]): Markup {
  const sites = distinct(entries.map(({ site }) => site));
  const names = 26 + Math.max(60, ...entries.map(({ label }) => textWidth(label, FONT.label)));
  const numbers = WIDTH - COLUMNS.length * COLUMN;
  const range = [names + 24, numbers - 2] as const;
  const positive = entries.flatMap((entry) => Object.values(addedLoss(entry))).filter((value) => value > 0);
  const x = logScale(paddedLog(extent(positive) ?? [0.1, 1], 0.04), range, (range[1] - range[0]) / 52);

  // Rows of the figure from the top: a heading a site where there are several, then its SAEs.
  const items = sites.flatMap((site) => [
    ...(sites.length > 1 ? [site] : []),
    ...entries.filter((entry) => entry.site === site),
  ]);
  const rows = items.map((item, i) => {
    const at = HEAD + (i + 0.5) * ROW;
    return typeof item === 'string'
      ? markup`<text class="panel-title" x="0" y="${baseline(at, FONT.label)}">${item}</text>`
      : row(item, at);
  });
  const y = HEAD + items.length * ROW;

  function row(entry: Entry, at: number): Markup {
    const { record, style, name, label } = entry;
    const { spliced, zero } = addedLoss(entry);
    const text = baseline(at, FONT.label);
    const values = [
      fixed(record.ce_clean, 3),
      fixed(record.ce_spliced, 3),
      fixed(record.ce_zero, 3),
      percent(record.loss_recovered, 2),
    ].map((value, i) => markup`<text class="number end" x="${numbers + (i + 1) * COLUMN}" y="${text}">${value}</text>`);
    const tip = `${name}: ${fixed(spliced, 4)} nats added by splicing, ${fixed(zero, 4)} by zero-ablation`;
    const end = zero > 0 ? markup`<path class="end-mark" d="M${x(zero)} ${at - 6}v12"/>` : null;
    const bar =
      zero > 0 && !Number.isNaN(spliced)
        ? markup`<path class="recovered style-${style}" d="M${spliced > 0 ? x(spliced) : range[0]} ${at}H${x(zero)}"><title>${tip}</title></path>`
        : null;
    // A log axis has no place for a loss that splicing did not raise: an arrow at its left end stands for it.
    const arrow = markup`<text class="number end" x="${range[0] - 2}" y="${text}">◂<title>${tip}</title></text>`;
    const mark = spliced > 0 ? marker(x(spliced), at, style, tip) : spliced <= 0 ? arrow : null;
    return markup`<g data-sae="${entry.index}"><path class="grid" d="M0 ${at + ROW / 2}H${WIDTH}"/>${marker(7, at, style)}<text class="name" x="${18}" y="${text}">${label}</text>${bar}${end}${mark}${values}</g>`;
  }

  const ticks = x.ticks.map(({ value, label }) => {
    const grid = label === '' ? null : markup`<path class="grid" d="M${x(value)} ${HEAD}V${y}"/>`;
    return [
      grid,
      markup`<path class="axis" d="M${x(value)} ${y}v${label === '' ? 2.5 : 4}"/>`,
      markup`<text class="tick middle" x="${x(value)}" y="${y + 17}">${label}</text>`,
    ];
  });
  const heads = COLUMNS.map(([title, unit], i) => {
    const right = numbers + (i + 1) * COLUMN;
    return markup`<text class="axis-title end" x="${right}" y="${HEAD - 22}">${title}</text><text class="note end" x="${right}" y="${HEAD - 8}">${unit}</text>`;
  });
  return figureSvg(
    {
      width: WIDTH,
      height: y + 24,
      id: 'figure-4',
      title: 'Cross-entropy: clean, spliced and zero-ablated',
      description: entries
        .map(
          ({ name, record }) =>
            `${name}: clean ${fixed(record.ce_clean, 3)}, spliced ${fixed(record.ce_spliced, 3)}, zero-ablated ${fixed(record.ce_zero, 3)} nats.`,
        )
        .join(' '),
    },
    markup`<g>${ticks}<path class="axis" d="M${range[0]} ${y}H${range[1]}"/>
<text class="axis-title" x="${range[0]}" y="${HEAD - 22}">Loss added to the clean model (nats a token, log scale)</text>
<text class="note" x="${range[0]}" y="${HEAD - 8}">marker: SAE spliced in; end of the bar: zero-ablated</text>${heads}</g>${rows}`,
  );
}
