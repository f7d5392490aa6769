import { join } from 'node:path';
import { lockDirectory } from '../../src/disk/lock.js';

/**
 * lock-contender.js ROOT COUNT START EVERY: at START + i · EVERY (milliseconds since 1970) tries to lock ROOT/i, for
 * every i below COUNT, and prints those it has. It holds them until standard input ends, and is then killed by the
 * signal that a kill sends, so that nothing is given up.
 */
const [root, count, start, every] = process.argv.slice(2);
const won: number[] = [];
for (let i = 0; i < Number(count); i++) {
  const at = Number(start) + i * Number(every);
  // A timer alone is not exact enough to begin with the others.
  if (at - Date.now() > 5) await new Promise((resolve) => setTimeout(resolve, at - Date.now() - 5));
  while (Date.now() < at);
  await lockDirectory(join(root!, String(i))).then(
    () => won.push(i),
    (error: Error) => {
      if (!error.message.includes('is in use by')) throw error;
    },
  );
}
process.stdout.write(`${JSON.stringify(won)}\n`);
for await (const _ of process.stdin);
process.kill(process.pid, 'SIGKILL');
