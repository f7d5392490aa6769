import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { COMMANDS } from '../../src/cli/commands.js';
import { COMPLETION, COMPLETION_HELP } from '../../src/cli/completion.js';
import { commandHelp, programHelp } from '../../src/cli/help.js';
import type { StageName } from '../../src/config/stages.js';

test('docs/reference/cli.md has the help of every command as it is; npm run docs:cli writes it', () => {
  const [before, commands] = readFileSync('docs/reference/cli.md', 'utf8').split('\n## Commands\n');
  assert.ok(before!.includes('## Exit codes'), 'what is written by hand stays');
  const blocks = [...commands!.matchAll(/(?:### (\S+)\n\n)?```text\n([\s\S]*?)\n```\n/g)].map(([, name, text]) => [
    name,
    text,
  ]);
  const names = Object.keys(COMMANDS) as StageName[];
  assert.deepEqual(blocks, [
    [undefined, programHelp()],
    ...names.map((name) => [name, commandHelp(name)]),
    [COMPLETION, COMPLETION_HELP],
  ]);
});
