import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';

test('a thread that is terminated while a reply is on its way keeps the process alive until it has ended', () => {
  const directory = temporaryDirectory();
  const worker = join(directory, 'worker.mjs');
  writeFileSync(
    worker,
    `import { parentPort } from 'node:worker_threads';
     parentPort.on('message', () => parentPort.postMessage('reply'));`,
  );
  const program = join(directory, 'program.mjs');
  writeFileSync(
    program,
    `import { Thread } from ${JSON.stringify(new URL('../../src/progress/thread.js', import.meta.url).href)};
     for (let k = 0; k < 8; k++) {
       const url = new URL('worker.mjs', import.meta.url);
       const thread = new Thread(url, { name: 'a thread', data: null, idle: true });
       thread.ask(1);
       await thread.reply();
       thread.ask(2);
       const reply = thread.reply();
       // Until the reply lies in the queue, unread.
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
       const ended = thread.terminate();
       await reply;
       await ended;
     }
     console.log('ended');`,
  );
  assert.equal(execFileSync(process.execPath, [program], { encoding: 'utf8' }), 'ended\n');
});
