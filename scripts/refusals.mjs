// Writes docs/reference/refusals.md from the codes of the built program: node scripts/refusals.mjs, after npm run build.
import { writeFileSync } from 'node:fs';
import { REFUSALS } from '../dist/src/errors/codes.js';

const rows = Object.entries(REFUSALS).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
writeFileSync(
  'docs/reference/refusals.md',
  `# Refusals

What the program cannot do it refuses in two sentences, the cause and the remedy, with exit code 1 (2 where the command itself is wrong). Each kind of refusal has a code, which stays when its sentence is reworded. With [\`--log json\`](watching.md#for-machines---log-json) it is in the last line on standard error:

    sae-pipe train … --log json 2>&1 >/dev/null | jq -r 'select(.event == "error") | .code'

This page is written by \`node scripts/refusals.mjs\` from \`src/errors/codes.ts\`.

| Code | Meaning |
|---|---|
${rows.join('\n')}
`,
);
