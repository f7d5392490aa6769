import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { shellWord } from '../../src/config/shell-word.js';
import { paretoFigure, pointsOf } from '../../src/report/against-l0.js';
import { svgFile } from '../../src/report/draw-figure.js';
import { entriesOf } from '../../src/report/entries.js';
import { renderReport } from '../../src/report/report.js';
import { standingOf } from '../../src/status/run-standing.js';
import { liveFragment, runCurves } from '../../src/watch/live-view.js';
import { curve, evalRecord } from './sample.js';

/** One of each kind of character that HTML or XML forbids, and some that they allow. */
const ODD =
  'a\u0000b\u0008c\u000Bd\u001B[31m e\u0085f\uD800g\uDFFFh\uFFFEi\uFFFFj\uFDD0k\u{1FFFE}l\u00A0m\u2028n\u{1F600}';

/** What XML 1.0 does not call a Char, HTML's noncharacters, and entities that XML does not know. */
function assertLegal(text: string): void {
  assert.doesNotMatch(text, /[^\t\n\u0020-\u007E\u00A0-\uD7FF\uE000-\uFDCF\uFDF0-\uFFFD\u{10000}-\u{10FFFF}]/u);
  assert.doesNotMatch(text, /\p{Noncharacter_Code_Point}/u);
  assert.equal(Buffer.from(text).toString(), text, 'it survives UTF-8');
  assert.doesNotMatch(text.replace(/<script>[\s\S]*<\/script>/, ''), /&(?!(amp|lt|gt|quot|#\d+);)/);
}

const odd = [0, 1, 2].map((i) => ({
  record: evalRecord({
    sae: `runs/${ODD}${i}`,
    architecture: ODD,
    hook: i === 2 ? `${ODD}2` : ODD,
    model: ODD,
    cfg: { [ODD]: ODD, l1: i, metadata: { sae_pipe: { ablate: [ODD] } } },
  }),
  curve: curve(4),
}));

test('no character of a name makes a page or a figure invalid', () => {
  const source = { evaluation: ODD, out: ODD, title: ODD };
  assertLegal(renderReport(odd, { title: ODD, generator: ODD, source }));
  const svg = paretoFigure(pointsOf(entriesOf(odd), 'loss_recovered'), { title: ODD, note: () => ODD, reference: ODD });
  const file = svgFile({ title: ODD, svg, caption: ODD, command: ODD });
  assertLegal(file);
  assert.ok(file.includes('\u{1F600}') || file.includes('\uFFFD'));
});

test('no character of a name makes the live page invalid', () => {
  const runs = [0, 1].map((i) => {
    const records = curve(5);
    const settings = { finished: false, architecture: ODD, hook: ODD, model: ODD, ablate: [ODD], l1: i };
    const standing = standingOf(records, settings, 0, 1000);
    const run = { directory: `/runs/${ODD}${i}`, settings, standing, curve: records, last: records.at(-1) };
    return { ...run, unreadable: 0 };
  });
  const seen = { runs, complete: true, refused: 0, version: 1 };
  assertLegal(liveFragment(seen, '/runs', runCurves(runs, '/runs')).text);
});

test('a path that no page can show is written so that a shell still finds it', () => {
  for (const path of ['a\u0001b', "it's\n\u001B\\n", 'x\uFFFE y', 'plain', 'with space', 'λ 3', '\u0085']) {
    const word = shellWord(path);
    assertLegal(word);
    assert.equal(execFileSync('bash', ['-c', `printf %s ${word}`], { encoding: 'utf8' }), path);
  }
});
