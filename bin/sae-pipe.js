#!/usr/bin/env node
// Any Node there has been must be able to read this file and to say what is lacking: nothing here is newer than ES5,
// and nothing that may be is loaded before the version is known.
'use strict';

var needed = require('../package.json').engines.node;

/** Numbers of a version, as one that can be compared. */
function ordinal(version) {
  var parts = version.match(/\d+/g).map(Number);
  return parts[0] * 1e6 + (parts[1] || 0) * 1e3 + (parts[2] || 0);
}

if (ordinal(process.versions.node) >= ordinal(needed)) {
  require('./start.js');
} else {
  console.error(
    'sae-pipe: It needs Node.js %s or newer, and this is %s. Install a newer one (nvm, conda or nodejs.org).',
    needed.replace('>=', ''),
    process.versions.node,
  );
  process.exitCode = 1;
}
