import assert from 'node:assert/strict';
import { Refusal, UsageRefusal } from '../../src/errors/refusal.js';

/** The refusal that `action` ends in, as an error of exactly the class named; anything else fails the test. */
export async function refusalOf(
  action: () => unknown,
  kind: abstract new (...args: never[]) => Refusal,
): Promise<Refusal> {
  let error: unknown;
  try {
    await action();
  } catch (thrown) {
    error = thrown;
  }
  if (error === undefined) assert.fail('nothing was refused');
  if (!(error instanceof Refusal)) assert.fail(`not a refusal but ${(error as Error).stack}`);
  assert.equal(error.constructor, kind);
  return error;
}

/** `action` is refused, and the message holds every one of `parts`. */
export async function refuses(action: () => unknown, ...parts: string[]): Promise<void> {
  says(await refusalOf(action, Refusal), parts);
}

/** The same for a mistake in the command itself; remedy included in what is searched. */
export async function refusesUsage(action: () => unknown, ...parts: string[]): Promise<void> {
  says(await refusalOf(action, UsageRefusal), parts);
}

function says(refusal: Refusal, parts: readonly string[]): void {
  const said = `${refusal.message} ${refusal.remedy ?? ''}`;
  for (const part of parts) assert.ok(said.includes(part), `"${said}" does not say "${part}"`);
}
