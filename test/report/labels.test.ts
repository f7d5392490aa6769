import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Box, placeLabels, spread } from '../../src/report/chart.js';

const BOUNDS: Box = { x: 0, y: 0, width: 400, height: 300 };

function overlapping(boxes: readonly Box[]): boolean {
  return boxes.some((a, i) =>
    boxes.some(
      (b, j) => j > i && a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height,
    ),
  );
}

test('labels of crowded points cover neither each other nor the points, and stay in the figure', () => {
  const points = Array.from({ length: 12 }, (_, i) => [150 + 9 * i, 150 + (i % 3) * 7] as const);
  const marks = points.map(([x, y]) => ({ x: x - 5, y: y - 5, width: 10, height: 10 }));
  const requests = points.map((point, i) => ({ text: `gated-run-${i}`, size: 11, near: [point] }));
  const placed = placeLabels(requests, marks, [], BOUNDS).filter((label) => label !== null);
  assert.ok(placed.length >= 8, `${placed.length} of 12 were placed`);
  assert.equal(overlapping(placed.map(({ box }) => box)), false);
  for (const { box } of placed) {
    assert.equal(
      marks.some((mark) => overlapping([mark, box])),
      false,
    );
    assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= 400 && box.y + box.height <= 300);
  }
});

test('a label keeps off a line where it can', () => {
  const [placed] = placeLabels([{ text: 'a', size: 11, near: [[200, 150]] }], [], [[200, 150, 400, 150]], BOUNDS);
  assert.ok(placed);
  assert.ok(placed.box.x + placed.box.width <= 200 || placed.box.y > 150 || placed.box.y + placed.box.height < 150);
});

test('a label without room is left out', () => {
  assert.deepEqual(placeLabels([{ text: 'long label', size: 11, near: [[5, 5]] }], [], [], { ...BOUNDS, width: 10 }), [
    null,
  ]);
});

test('spread keeps the order and the gap, and moves nothing that has room', () => {
  assert.deepEqual(spread([10, 50, 90], 12, 0, 100), [10, 50, 90]);
  assert.deepEqual(spread([50, 50], 12, 0, 100), [44, 56]);
  assert.deepEqual(spread([51, 50, 1], 12, 0, 100), [56.5, 44.5, 1]);
  const crowded = spread([99, 99.5, 100, 98], 12, 0, 100);
  assert.deepEqual(crowded, [76, 88, 100, 64]);
});
