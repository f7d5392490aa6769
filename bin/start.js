'use strict';

// Node opens its debugger on SIGUSR1, to every user of this machine, unless something listens for that signal. Until the
// command does, the system's own answer holds.
const end = () => {
  process.removeListener('SIGUSR1', end);
  process.kill(process.pid, 'SIGUSR1');
};
process.on('SIGUSR1', end);

const { existsSync } = require('node:fs');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');

const main = join(__dirname, '../dist/src/cli/main.js');
if (existsSync(main)) {
  import(pathToFileURL(main).href)
    .then(({ run }) => run(process.argv.slice(2)))
    .then((code) => {
      process.exitCode = code;
    });
} else {
  console.error('sae-pipe is not built yet. Run: npm ci && npm run build');
  process.exitCode = 1;
}
