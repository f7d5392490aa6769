// Writes the commands of docs/reference/cli.md from the help of the built program: npm run docs:cli
import { readFileSync, writeFileSync } from 'node:fs';
import { COMMANDS } from '../dist/src/cli/commands.js';
import { COMPLETION, COMPLETION_HELP } from '../dist/src/cli/completion.js';
import { commandHelp, programHelp } from '../dist/src/cli/help.js';

const PAGE = 'docs/reference/cli.md';
const HEADING = '## Commands\n';

const block = (text) => `\`\`\`text\n${text}\n\`\`\`\n`;
const helps = [...Object.keys(COMMANDS).map((name) => [name, commandHelp(name)]), [COMPLETION, COMPLETION_HELP]];
const [written] = readFileSync(PAGE, 'utf8').split(HEADING);
const about = `What follows is the help of every command; \`npm run docs:cli\` writes it from the program.`;
const sections = helps.map(([name, help]) => `### ${name}\n\n${block(help)}`);
writeFileSync(PAGE, `${written.trimEnd()}\n\n${HEADING}\n${about}\n\n${block(programHelp())}\n${sections.join('\n')}`);
