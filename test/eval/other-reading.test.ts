import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Candidate, remarkOtherReading } from '../../src/eval/candidates.js';

test("a command that reads the text differently from an SAE's training says so, for each SAE", () => {
  const candidate = (path: string, metadata: object) => ({ path, files: { metadata } }) as unknown as Candidate;
  const candidates = [candidate('a', { context_size: 1024, prepend_bos: true }), candidate('b', {})];
  const said = (given: { context?: number; prependBos?: boolean }) => {
    const lines: string[] = [];
    remarkOtherReading({ context: given.context, prependBos: given.prependBos }, candidates, {
      say: (line: string) => lines.push(line),
    });
    return lines;
  };
  assert.deepEqual(said({}), []);
  assert.deepEqual(said({ context: 1024, prependBos: true }), []);
  const [context, bos, ...more] = said({ context: 128, prependBos: false });
  assert.match(context!, /^a .*1024.*--context 128/);
  assert.match(bos!, /^a .*--no-prepend-bos/);
  assert.deepEqual(more, []);
});
