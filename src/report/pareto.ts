import { distinct, type Entry, families } from './entries.js';
import { fixed, listed, percent } from './format.js';
import { type LabelRequest, type PlacedLabel, placeLabels, type Segment } from './labels.js';
import { type Markup, markup } from './markup.js';
import { extent, linearScale, logScale, padded, paddedLog, type Scale, wantsLog } from './scale.js';
import { axes, type Box, baseline, FONT, figureSvg, marker, textWidth } from './svg.js';

const Y_TITLE = 'Loss recovered (%)';
const MARGIN = { left: 50, right: 18, top: 46, bottom: 46 };

/** What figure 1 shows of an SAE: L0 on x, loss recovered (%) on y. Points that lack either are not drawn. */
function drawable(entries: readonly Entry[]): Entry[] {
  return entries.filter(({ record }) => Number.isFinite(record.l0) && Number.isFinite(record.loss_recovered));
}

/**
 * Scales of one panel, in its box: L0 (features a token; log10 where the values span more than a factor of 8, else from
 * 0, so that near values look near) and loss recovered (%; up to 100 where that is no further than the points are wide,
 * or where all are above 50).
 */
export function paretoScales(entries: readonly Entry[], box: Box): { x: Scale; y: Scale } {
  const points = drawable(entries);
  const l0 = points.map(({ record }) => record.l0);
  const across = [box.x + MARGIN.left, box.x + box.width - MARGIN.right] as const;
  const up = [box.y + box.height - MARGIN.bottom, box.y + MARGIN.top] as const;
  const l0Span = extent(l0) ?? [0, 1];
  const x = wantsLog(l0)
    ? logScale(paddedLog(l0Span, 0.08), across, box.width / 60)
    : linearScale([0, l0Span[1] * 1.15], across, box.width / 90);
  const recovered = extent(points.map(({ record }) => 100 * record.loss_recovered)) ?? [0, 100];
  const [low, high] = padded(recovered, 0.1);
  const toFull = recovered[0] >= 50 || 100 - high < high - low;
  return { x, y: linearScale([low, toFull ? Math.max(100, recovered[1]) : high], up, 6) };
}

interface Dot {
  entry: Entry;
  at: readonly [number, number];
}

/** A label of the panel: whose it is, and whether it stands for an architecture. */
interface Label extends LabelRequest {
  entry: Entry;
  family: boolean;
}

/** The architectures' names, beside any of their points or lines, and the SAEs' names, beside their points. */
function labelsOf(curves: readonly (readonly Dot[])[]): Label[] {
  const ofFamilies = curves
    .filter((curve) => curve.length > 1)
    .map((curve) => ({
      entry: curve[0]!.entry,
      family: true,
      text: curve[0]!.entry.record.architecture,
      size: FONT.title,
      near: curve.map(({ at: [px, py] }, i): [number, number] => {
        const next = curve[i + 1]?.at;
        return next === undefined ? [px, py] : [(px + next[0]) / 2, (py + next[1]) / 2];
      }),
    }));
  const ofPoints = curves.flatMap((curve) =>
    curve.map(({ entry, at }) => {
      const { architecture } = entry.record;
      // A point alone has no line to name: its own label names the architecture.
      const alone = curve.length === 1;
      const text = alone && !entry.name.includes(architecture) ? `${entry.label} (${architecture})` : entry.label;
      return { entry, family: alone, text, size: alone ? FONT.label : FONT.small, near: [at] };
    }),
  );
  return [...ofFamilies, ...ofPoints];
}

function drawLabel({ text, size, family, entry, near }: Label, placed: PlacedLabel | null): Markup | null {
  if (placed === null) return null;
  const { box, anchor, leader } = placed;
  const x = { start: box.x, middle: box.x + box.width / 2, end: box.x + box.width }[anchor];
  const line =
    leader === null ? null : markup`<path class="leader" d="M${leader[0]} ${leader[1]}L${leader[2]} ${leader[3]}"/>`;
  const kind = family ? `family style-${entry.style}` : 'point-label';
  const sae = near.length === 1 ? markup` data-sae="${entry.index}"` : null;
  const at = markup`x="${x}" y="${baseline(box.y + box.height / 2, size)}" font-size="${size}"`;
  return markup`<g${sae}>${line}<text class="${kind} ${anchor}" ${at}>${text}</text></g>`;
}

/** One panel: axes, one polyline an architecture, one marker an SAE, and the labels that fit. */
function panel(entries: readonly Entry[], box: Box, title: string | null): Markup {
  const { x, y } = paretoScales(entries, box);
  const [left, right] = x.range;
  const [bottom, top] = y.range;
  const curves: Dot[][] = families(drawable(entries)).map((family) =>
    family
      .map((entry) => ({ entry, at: [x(entry.record.l0), y(100 * entry.record.loss_recovered)] as const }))
      .reverse(),
  );
  const dots = curves.flat();
  const segments: Segment[] = curves.flatMap((curve) =>
    curve.slice(1).map(({ at: [x2, y2] }, i): Segment => [...curve[i]!.at, x2, y2]),
  );
  // The y axis's title and the arrow under it.
  const corner = { x: left, y: top - 24, width: textWidth(Y_TITLE, FONT.label), height: 48 };
  const obstacles = [...dots.map(({ at: [cx, cy] }) => ({ x: cx - 6, y: cy - 6, width: 12, height: 12 })), corner];
  const labels = labelsOf(curves);
  const bounds = { x: left + 3, y: top - 24, width: right - left + MARGIN.right - 6, height: bottom - top + 20 };
  const placed = placeLabels(labels, obstacles, segments, bounds);

  const lines = curves
    .filter((curve) => curve.length > 1)
    .map((curve) => {
      const points = curve.map(({ at: [px, py] }) => markup`${px},${py} `);
      return markup`<polyline class="line style-${curve[0]!.entry.style}" points="${points}"/>`;
    });
  const marks = dots.map(({ entry, at: [px, py] }) => {
    const { l0, loss_recovered } = entry.record;
    const tip = `${entry.name}: L0 ${fixed(l0, 1)}, loss recovered ${percent(loss_recovered, 2)} %`;
    return markup`<g data-sae="${entry.index}">${marker(px, py, entry.style, tip)}</g>`;
  });
  const heading =
    title === null ? null : markup`<text class="panel-title" x="${left}" y="${box.y + 14}">${title}</text>`;
  const better = markup`<text class="note" x="${left + 8}" y="${top + 16}">↖ better</text>`;
  const titles = {
    x: `L0, active features a token${x.kind === 'log10' ? ' (log scale)' : ''}`,
    y: Y_TITLE,
  };
  const written = labels.map((label, i) => drawLabel(label, placed[i] ?? null));
  return markup`<g>${heading}${axes(x, y, titles)}${better}${lines}${written}${marks}</g>
`;
}

/** Figure 1: loss recovered (%) against L0, a panel a hook. */
export function paretoFigure(entries: readonly Entry[]): Markup {
  const sites = distinct(entries.map(({ site }) => site));
  const columns = sites.length > 1 ? 2 : 1;
  const width = columns === 1 ? 720 : 480;
  const height = columns === 1 ? 430 : 340;
  const panels = sites.map((site, i) => {
    const box = { x: (i % columns) * width, y: Math.floor(i / columns) * height, width, height };
    return panel(
      entries.filter((entry) => entry.site === site),
      box,
      columns === 1 ? null : site,
    );
  });
  return figureSvg(
    {
      width: columns * width,
      height: Math.ceil(sites.length / columns) * height,
      id: 'figure-1',
      title: 'Loss recovered against L0',
      description: drawable(entries)
        .map(
          ({ name, record }) =>
            `${name}: L0 ${fixed(record.l0, 1)}, loss recovered ${percent(record.loss_recovered, 2)} %.`,
        )
        .join(' '),
    },
    panels,
  );
}

/** Names of the SAEs that figure 1 cannot show. */
export function paretoMissing(entries: readonly Entry[]): string {
  const shown = new Set(drawable(entries));
  const missing = entries.filter((entry) => !shown.has(entry)).map(({ name }) => name);
  return missing.length === 0 ? '' : `Not drawn, for want of a finite L0 or loss recovered: ${listed(missing)}.`;
}
