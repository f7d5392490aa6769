// Writes docs/reference/refusals.md from the codes of the built program: node scripts/refusals.mjs, after npm run build.
import { writeFileSync } from 'node:fs';
import { REFUSALS } from '../dist/src/errors/codes.js';

const rows = Object.entries(REFUSALS).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
writeFileSync(
  'docs/reference/refusals.md',
  `# Refusals

sae-pipe refuses what it cannot do in two sentences, cause and remedy, with exit code 1 (2 for mistakes in the command itself). Each kind of refusal has a code, which remains stable when the message is reworded. With [\`--log json\`](../how-to/watching.md#for-machines---log-json) it is in the last line on standard error:

    sae-pipe train … --log json 2>&1 >/dev/null | jq -r 'select(.event == "error") | .code'

This page is written by \`node scripts/refusals.mjs\` from \`src/errors/codes.ts\`.

| Code | Meaning |
|---|---|
${rows.join('\n')}
`,
);
