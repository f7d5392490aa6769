export interface Panel {
  readonly title: string;
  readonly bars: readonly { readonly label: string; readonly ours: boolean; readonly ms: number }[];
}

const WIDTH = 760;
const LABELS = 250;
const ROW = 20;
const HEAD = 30;

const escaped = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

/** Horizontal bars, a panel a size, each on its own linear scale from zero; readable on light and dark pages. */
export function trainFigure(panels: readonly Panel[]): string {
  let y = 30;
  const parts: string[] = [];
  for (const { title, bars } of panels) {
    const longest = Math.max(...bars.map((bar) => bar.ms));
    parts.push(`<text class="title" x="8" y="${y}">${escaped(title)}</text>`);
    bars.forEach((bar, i) => {
      const top = y + 10 + i * ROW;
      const width = Math.max(1, ((WIDTH - LABELS - 90) * bar.ms) / longest);
      const value = bar.ms < 100 ? bar.ms.toFixed(1) : bar.ms.toFixed(0);
      parts.push(
        `<text class="end" x="${LABELS - 8}" y="${top + 13}">${escaped(bar.label)}</text>`,
        `<rect class="${bar.ours ? 'ours' : 'peer'}" x="${LABELS}" y="${top + 2}" width="${width.toFixed(1)}" height="${ROW - 5}"/>`,
        `<text x="${(LABELS + width + 6).toFixed(1)}" y="${top + 13}">${value} ms</text>`,
      );
    });
    y += HEAD + 10 + bars.length * ROW;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y - 10}" width="${WIDTH}" height="${y - 10}" role="img" aria-label="Milliseconds of one training step">
<style>
rect.bg { fill: #ffffff; } text { font: 12px system-ui, sans-serif; fill: #1c1d1f; } .title { font-weight: 600; } .end { text-anchor: end; }
.ours { fill: #0072b2; } .peer { fill: #b9bec5; }
@media (prefers-color-scheme: dark) { rect.bg { fill: #15171a; } text { fill: #e4e5e7; } .ours { fill: #56aee0; } .peer { fill: #5a6068; } }
</style>
<rect class="bg" width="100%" height="100%"/>
<text x="8" y="14">Milliseconds of one training step, median; blue is this project. Made by npm run bench:train.</text>
<g transform="translate(0 14)">
${parts.join('\n')}
</g>
</svg>
`;
}
