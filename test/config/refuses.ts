import assert from 'node:assert/strict';
import type { RefusalCode } from '../../src/errors/codes.js';
import { Refusal, UsageRefusal } from '../../src/errors/refusal.js';

/** The refusal that `action` ends in, as an error of exactly the class and code named; anything else fails the test. */
export async function refusalOf(
  action: () => unknown,
  kind: abstract new (...args: never[]) => Refusal,
  code: RefusalCode | readonly RefusalCode[],
): Promise<Refusal> {
  let error: unknown;
  try {
    await action();
  } catch (thrown) {
    error = thrown;
  }
  if (error === undefined) assert.fail('nothing was refused');
  if (!(error instanceof Refusal)) assert.fail(`not a refusal but ${(error as Error).stack}`);
  const codes: readonly string[] = [code].flat();
  assert.ok(codes.includes(error.code), `${error.code}, not ${codes.join(' or ')}: ${error.message}`);
  assert.equal(error.constructor, kind);
  return error;
}

/**
 * `action` is refused with this code, or one of these where machines differ.
 *
 * @param names files, values and keys that message or remedy name
 */
export async function refuses(
  action: () => unknown,
  code: RefusalCode | readonly RefusalCode[],
  ...names: string[]
): Promise<void> {
  says(await refusalOf(action, Refusal, code), names);
}

/** The same for a mistake in the command itself. */
export async function refusesUsage(action: () => unknown, code: RefusalCode, ...names: string[]): Promise<void> {
  says(await refusalOf(action, UsageRefusal, code), names);
}

function says(refusal: Refusal, names: readonly string[]): void {
  const said = `${refusal.message} ${refusal.remedy ?? ''}`;
  for (const name of names) assert.ok(said.includes(name), `"${said}" does not say "${name}"`);
}
