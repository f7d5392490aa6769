import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { exists } from '../disk/input-file.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { EVAL_FILE, type EvalRecord, readEvaluation } from '../eval/record.js';
import { type Progress, type StopRequest, silent } from '../progress/progress.js';
import { convertSae, filesOfLayout } from '../sae/published/convert-to.js';
import { saeDirectory } from '../sae/published/open.js';
import { saeReference } from '../sae/published/reference.js';
import { isOfSaelens } from '../sae/published/writers/saelens.js';
import type { WrittenLayout } from '../sae/published/written-layouts.js';
import { CFG_FILE, cfgOf, openSameSae, type SaeFiles, WEIGHTS_FILE } from '../sae/saelens.js';
import { copiedCurve, METRICS_FILE } from '../sae/training-curve.js';
import { trainingRecordOf } from '../sae/training-record.js';
import { type Contents, type OpenFiles, type PushedFile, publicJson, textFile } from './contents.js';
import type { Destination } from './destination.js';
import { hubModel, withoutMachinePaths } from './machine-paths.js';
import { saeCard } from './sae-card.js';

/** What is pushed of an SAE, and how. */
export interface SaePush {
  /** Local directory or file. */
  readonly what: string;
  /** Another layout than SAELens's. */
  readonly as?: WrittenLayout;
  /** Directory of an evaluation of it. */
  readonly evaluation?: string;
  readonly license?: string;
  readonly baseModel?: string;
}

/**
 * The files of an SAE, its evaluation and curve if present, and its card.
 *
 * @throws Refusal if it is not a local SAE, the layout cannot represent it, or the evaluation belongs to another SAE
 */
export async function saeContents(
  push: SaePush,
  to: Destination,
  open: OpenFiles,
  progress: Progress,
  stop: StopRequest,
): Promise<Contents> {
  const where = await saeReference(push.what);
  if (where.kind === 'hub') {
    throw new UsageRefusal(
      `${push.what} does not exist locally, and SAEs on the hub cannot be pushed.`,
      'Check the path; `sae-pipe convert` makes a local copy of a hub SAE.',
      'publish/not-here',
    );
  }
  const directory = await saeDirectory(push.what, { offline: true }, progress, stop);
  const { files: sae, unchanged } = await openSameSae(directory, 'transcoder');
  const record = push.evaluation === undefined ? undefined : await recordOf(push, push.evaluation, unchanged.digest);
  const files = push.as
    ? await convertedFiles(directory, push.as, to, open, stop)
    : [await publicJson(directory, CFG_FILE), await open.add(directory, WEIGHTS_FILE)];
  await unchanged.check();
  const curve = await curveOf(directory, sae);
  if (curve) files.push(curve);
  const reference = to.path === '' ? to.repository : `${to.repository}/${to.path}`;
  if (record) {
    const digest = push.as ? unchanged.digest : await digestOf(files);
    files.push(evaluationFile(record, reference, digest, curve !== undefined));
  }
  const { metadata } = sae;
  const baseModel = push.baseModel ?? hubModel(metadata.model_name);
  const card = saeCard({
    ...{ sae, record, to, baseModel, license: push.license, layout: push.as ?? 'saelens' },
    inSaelens: !push.as && isOfSaelens(String(cfgOf(sae, metadata).architecture)),
  });
  return { kind: 'model', files, card, notes: notesOf(push, baseModel) };
}

function notesOf({ license, evaluation }: SaePush, baseModel: string | undefined): string[] {
  return [
    ...(license === undefined ? ['The card names no licence; --license does, e.g. --license apache-2.0.'] : []),
    ...(evaluation === undefined ? ['The card has no metrics; --evaluation DIR adds those of sae-pipe eval.'] : []),
    ...(baseModel === undefined ? ['The card names no model of the hub; --base-model OWNER/NAME does.'] : []),
  ];
}

/** The record of this very SAE, identified by the hash of its files. */
async function recordOf({ what }: SaePush, evaluation: string, digest: string): Promise<EvalRecord> {
  const records = (await readEvaluation(evaluation)).map(({ record }) => record);
  const found = records.find(({ settings }) => settings?.sae_sha256 === digest);
  if (found) return found;
  throw new Refusal(
    `${evaluation} has no evaluation of the current ${what}.`,
    'Evaluate it with `sae-pipe eval`, and give that directory.',
    'publish/other-evaluation',
  );
}

/** Files of another layout, written to a temporary directory that is removed once they are open. */
async function convertedFiles(
  directory: string,
  as: WrittenLayout,
  to: Destination,
  open: OpenFiles,
  stop: StopRequest,
): Promise<PushedFile[]> {
  const aside = await mkdtemp(join(tmpdir(), 'sae-pipe-push-'));
  try {
    // The name of the folder may contain the hook.
    const out = join(aside, basename(to.path) || 'sae');
    await convertSae({ sae: directory, as, out, overwrite: false, takeOver: false, offline: true }, silent, stop);
    const files: PushedFile[] = [];
    for (const name of filesOfLayout(as)) {
      files.push(name.endsWith('.json') ? await publicJson(out, name) : await open.add(out, name));
    }
    return files;
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

async function curveOf(directory: string, { cfg }: SaeFiles): Promise<PushedFile | undefined> {
  const path = join(directory, METRICS_FILE);
  if (!(await exists(path))) return undefined;
  return textFile(METRICS_FILE, await copiedCurve(path, trainingRecordOf(cfg).steps));
}

/** Hash of cfg.json followed by the weights as pushed: what an evaluation of them would record. */
async function digestOf(files: readonly PushedFile[]): Promise<string> {
  const hash = createHash('sha256');
  for (const { content } of files.slice(0, 2)) for await (const piece of content.stream()) hash.update(piece);
  return hash.digest('hex');
}

/** eval.json for this SAE only, without the commands that made it, which contain local paths. */
function evaluationFile(record: EvalRecord, sae: string, sae_sha256: string, hasCurve: boolean): PushedFile {
  const { command: _command, training: _training, cfg, settings, ...measured } = record;
  const told = withoutMachinePaths({
    ...measured,
    training_curve: hasCurve ? METRICS_FILE : null,
    settings: { ...settings, sae_sha256 },
    cfg,
  }) as object;
  return textFile(EVAL_FILE, `${JSON.stringify([{ ...told, sae }], null, 1)}\n`);
}
