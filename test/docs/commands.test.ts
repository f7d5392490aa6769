import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { splitArguments } from '../../src/cli/arguments.js';
import { COMMANDS } from '../../src/cli/commands.js';
import { stageConfig } from '../../src/cli/stage-config.js';
import { flagsOf } from '../../src/config/flags.js';
import { STAGES, type StageName } from '../../src/config/stages.js';
import { commandsOf, type DocumentedCommand, pages } from './commands.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** What is wrong with a command as a page shows it; undefined where a reader could run it. */
async function wrong({ words, partial }: DocumentedCommand): Promise<string | undefined> {
  let [name, ...rest] = words;
  if (name === 'features' && (rest[0] === 'export' || rest[0] === 'labels')) {
    [name, rest] = [rest[0] === 'export' ? 'export-features' : 'labels', rest.slice(1)];
  }
  if (name === undefined || name.startsWith('-') || name === 'help' || name === 'completion') return undefined;
  if (name === 'COMMAND' || rest.includes('--help')) return undefined;
  if (!Object.hasOwn(COMMANDS, name)) return `there is no command ${name}`;
  const stage = name as StageName;
  try {
    if (partial) splitArguments(stage, flagsOf(STAGES[stage]), rest);
    else await stageConfig(stage, rest);
    return undefined;
  } catch (error) {
    const { message } = error as Error;
    // `--model` alone, in a sentence about it.
    return partial && message.endsWith('has no value.') ? undefined : message;
  }
}

test('every command in README and docs is one that sae-pipe takes', async () => {
  process.chdir(ROOT);
  const commands = pages(ROOT).flatMap((page) => commandsOf(ROOT, page));
  assert.ok(commands.filter(({ partial }) => !partial).length > 50);
  const faults: string[] = [];
  for (const command of commands) {
    const fault = await wrong(command);
    if (fault) faults.push(`${command.page}:${command.line}: sae-pipe ${command.words.join(' ')}\n  ${fault}`);
  }
  assert.deepEqual(faults, []);
});
