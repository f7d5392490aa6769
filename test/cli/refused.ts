import assert from 'node:assert/strict';
import type { RefusalCode } from '../../src/errors/codes.js';
import type { Outcome } from './run-program.js';

/** A command with --log json on standard error, so that refusals have their code. */
export const logged = (words: readonly string[]): string[] => [...words, '--log', 'json'];

/** Files, numbers and flags that cause or remedy name. */
type Names = readonly (string | RegExp)[];

/**
 * A `logged` command's output ends in a refusal: cause and remedy in a sentence or more each, no other refusal and no
 * stack.
 *
 * @param code that of the refusal, or one of these where it is a matter of moments
 * @returns the exit code that the line gives
 */
export function saysRefusal(stderr: string, code: RefusalCode | readonly RefusalCode[], ...names: Names): number {
  const lines = stderr.trim().split('\n');
  const last = lines.at(-1)!;
  assert.ok(last.startsWith('{'), stderr);
  const said = JSON.parse(last) as Record<'event' | 'code' | 'message' | 'remedy', string> & { exit: number };
  assert.equal(said.event, 'error', stderr);
  const codes: readonly string[] = [code].flat();
  assert.ok(codes.includes(said.code), `${said.code}, not ${codes.join(' or ')}: ${said.message}`);
  assert.ok(said.message.length > 0 && said.remedy?.length > 0 && !('stack' in said), last);
  assert.ok(!lines.slice(0, -1).some((line) => line.includes('"event":"error"')), stderr);
  assert.doesNotMatch(stderr, /^\s+at /m);
  const text = `${said.message} ${said.remedy}`;
  for (const name of names) {
    assert.ok(typeof name === 'string' ? text.includes(name) : name.test(text), `"${text}" does not say ${name}`);
  }
  return said.exit;
}

/** A `logged` command ended in this refusal, with exit code 1. */
export const refused = (outcome: Outcome, code: RefusalCode | readonly RefusalCode[], ...names: Names): void =>
  endsAs(1, outcome, saysRefusal(outcome.stderr, code, ...names));

/** The same with exit code 2: a mistake in the command itself. */
export const refusedUsage = (outcome: Outcome, code: RefusalCode | readonly RefusalCode[], ...names: Names): void =>
  endsAs(2, outcome, saysRefusal(outcome.stderr, code, ...names));

const endsAs = (exit: 1 | 2, { code, signal, stderr }: Outcome, said: number) =>
  assert.deepEqual([code, signal, said], [exit, null, exit], stderr);
