'use strict';

// Node opens its debugger on SIGUSR1, to every user of this machine, unless something listens for that signal. Until the
// command does, the system's own answer holds.
const end = () => {
  process.removeListener('SIGUSR1', end);
  process.kill(process.pid, 'SIGUSR1');
};
process.on('SIGUSR1', end);

const { existsSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');

/** Files that may be open at once, at least: Node opens a program's modules together, and ends where it may not. */
const OPEN_FILES = 160;

/** Does this process have fewer? Node has raised its limit as far as it may; without /proc it is not known. */
function hasTooFewFiles() {
  try {
    return Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))[1]) < OPEN_FILES;
  } catch {
    return false;
  }
}

const main = join(__dirname, '../dist/src/cli/main.js');
if (hasTooFewFiles()) {
  console.error(
    `sae-pipe: This process may open too few files (fewer than ${OPEN_FILES}). Raise the limit: ulimit -n 1024`,
  );
  process.exitCode = 1;
} else if (existsSync(main)) {
  import(pathToFileURL(main).href)
    .then(({ run }) => run(process.argv.slice(2)))
    .then((code) => {
      process.exitCode = code;
    });
} else {
  console.error('sae-pipe is not built yet. Run: npm ci && npm run build');
  process.exitCode = 1;
}
