import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkInside } from '../../src/disk/inside.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

test('a link that leads out of the directory is refused, however it does', async (t) => {
  const root = temporaryDirectory(t);
  const directory = join(root, 'model');
  mkdirSync(join(root, 'model-secret'));
  mkdirSync(directory);
  writeFileSync(join(root, 'model-secret', 'file'), '');
  symlinkSync('../model-secret', join(directory, 'out'));
  const targets = ['../model-secret/file', join(root, 'model-secret', 'file'), 'out/file', '/proc/self/environ'];
  for (const [i, target] of targets.entries()) {
    symlinkSync(target, join(directory, `link${i}`));
    await refuses(() => checkInside(join(directory, `link${i}`)), `link${i}`, 'leads out of its directory');
  }
});

test('files, links within the directory and links to nothing pass, also where the directory is a link itself', async (t) => {
  const root = temporaryDirectory(t);
  const directory = join(root, 'model');
  mkdirSync(directory);
  writeFileSync(join(directory, 'file'), '');
  symlinkSync('file', join(directory, 'link'));
  symlinkSync('nowhere', join(directory, 'dangling'));
  symlinkSync('model', join(root, 'alias'));
  for (const name of ['file', 'link', 'dangling', 'missing']) {
    for (const from of [directory, join(root, 'alias')]) await checkInside(join(from, name));
  }
});

test('blobs of a Hugging Face cache are followed: its snapshots consist of links to them', async (t) => {
  const root = temporaryDirectory(t);
  const repository = join(root, 'models--google--gemma');
  const snapshot = join(repository, 'snapshots', '0123abcd');
  for (const place of [snapshot, join(repository, 'blobs'), join(root, 'blobs')]) mkdirSync(place, { recursive: true });
  writeFileSync(join(repository, 'blobs', 'ab12'), '');
  writeFileSync(join(root, 'blobs', 'ab12'), '');
  symlinkSync('../../blobs/ab12', join(snapshot, 'config.json'));
  await checkInside(join(snapshot, 'config.json'));
  symlinkSync('../../../blobs/ab12', join(snapshot, 'other.json'));
  await refuses(() => checkInside(join(snapshot, 'other.json')), 'leads out');
});
