import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readEvent } from '../../src/tensorboard/event.js';
import { recordsOfFile } from '../../src/tensorboard/record-file.js';

/** The steps of all points of one kind in a directory, file after file; sessions' beginnings and versions are not points. */
export async function pointSteps(directory: string, kind: 'train' | 'eval', tag = ''): Promise<number[]> {
  const steps: number[] = [];
  for (const name of readdirSync(directory).sort()) {
    if (!name.includes(`.sae-pipe.${kind}.`)) continue;
    let number = 0;
    for await (const { data } of recordsOfFile(join(directory, name))) {
      const event = readEvent(data)!;
      if (number++ > 0 && event.note === undefined && data.includes(tag)) steps.push(event.step);
    }
  }
  return steps;
}
