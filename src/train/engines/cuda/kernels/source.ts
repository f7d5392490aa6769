/** The text of a run's kernels. */
import { ADAM_EPSILON, type EngineSettings } from '../../engine.js';
import { followedBy, isTrained } from '../../state.js';
import { CHUNK, type CudaPlan } from '../plan.js';
import { argumentStructs } from './arguments.js';
import { auxK } from './auxk.js';
import { type ComputedRule, decode, dots, RULES } from './decode.js';
import { dense, judge } from './dense.js';
import { follow } from './follow.js';
import { keys, largest } from './largest.js';
import { batchCut, largestOfBatch } from './largest-of-batch.js';
import { levels, prefixesOf } from './levels.js';
import { columns, elements, halves, layout, metrics, reductions } from './numbers.js';
import { regroup } from './regroup.js';
import { heldOf, rows } from './rows.js';
import { scan } from './scan.js';
import { centre, gather, mark, markWords } from './select.js';
import { adam, decoderBias, features, settle } from './update.js';

/** What is compiled into the kernels: shapes, Adam's constants, the form of the loss and what of it is trained. */
function defines(settings: EngineSettings, { form, ...plan }: CudaPlan): string {
  const { dIn, dOut, dSae, batch, batchDType, beta1, beta2, scale, scaleOut = 1, deadWindow } = settings;
  const trains = (name: Parameters<typeof isTrained>[1]) => isTrained(settings, name);
  const { bias } = form.select;
  const scalars = RULES[form.rule as ComputedRule].scalars.filter(trains);
  const values: Record<string, boolean | number | string> = {
    D_IN: dIn,
    D_IN_ROW: plan.dInRow,
    D_OUT: dOut ?? dIn,
    D_OUT_ROW: plan.dOutRow,
    N_FEATURES: dSae,
    BATCH: batch,
    WORDS: plan.words,
    SLICE: plan.slice,
    DENSE: plan.dense,
    FOUND: plan.found,
    PART_ENTRIES: plan.partEntries,
    PARTS: plan.parts,
    LISTS: plan.lists,
    SLICES: plan.slices,
    WANTED: plan.k * batch,
    // Are dead features listed, to reconstruct the error?
    AUX_K: plan.kAux > 0,
    AUX_COEFFICIENT: float(form.auxK?.coefficient ?? 0),
    CHUNK,
    ROW_THREADS: plan.threads,
    // Elements of a row that a thread of its block holds.
    IN_PER_THREAD: Math.ceil(plan.dInRow / plan.threads),
    OUT_PER_THREAD: Math.ceil(plan.dOutRow / plan.threads),
    HELD: heldOf(Math.ceil(Math.max(plan.dInRow, plan.dOutRow) / plan.threads)),
    // Is the target another array than the input?
    TARGET: dOut !== undefined,
    FACTORS: settings.factors !== undefined,
    BATCH_FLOAT16: batchDType === 'float16',
    BATCH_BFLOAT16: batchDType === 'bfloat16',
    BFLOAT16: plan.precision === 'bfloat16',
    SECOND: form.second !== undefined,
    SECOND_TRAINS_DECODER: form.second?.trainsDecoder ?? false,
    SECOND_DOTS: plan.secondDots,
    PENALTY_ON_F: form.penalty === 'f',
    PENALTY_ON_G: form.penalty === 'g',
    TRAINS_W_ENC: trains('W_enc'),
    TRAINS_W_DEC: trains('W_dec'),
    // Does the encoder's gradient reach b_dec?
    PULLS: trains('b_dec') && dOut === undefined,
    'EACH_TRAINED_SCALAR(DO)': [...(trains(bias) ? ['bias'] : []), ...scalars].map((name) => `DO(${name})`).join(' '),
    MOMENTUM: beta1 > 0,
    ...followedShare(settings),
    SCALE: float(scale),
    SCALE_OUT: float(scaleOut),
    DEAD_WINDOW: float(deadWindow),
    TWO_OVER_BATCH: float(2 / batch),
    BETA1: float(beta1),
    FRESH1: float(1 - beta1),
    BETA2: float(beta2),
    FRESH2: float(1 - beta2),
    EPSILON: float(ADAM_EPSILON),
  };
  return Object.entries(values)
    .map(([name, value]) => `#define ${name} ${typeof value === 'boolean' ? Number(value) : value}`)
    .join('\n');
}

/** What of a batch's smallest activation goes into the parameter that follows it, and what of that is kept. */
function followedShare(settings: EngineSettings): Record<string, string> {
  const share = followedBy(settings)?.share;
  return share === undefined ? {} : { FOLLOW_SHARE: float(share), FOLLOW_KEPT: float(1 - share) };
}

/** Texts of the kernels that select. */
function selectionOf({ k, kAux, wholeBatch }: CudaPlan): readonly string[] {
  const ofTokens = (k > 0 && !wholeBatch) || kAux > 0;
  return [
    ...(k > 0 || kAux > 0 ? [keys] : []),
    ...(wholeBatch ? [largestOfBatch] : []),
    ...(ofTokens ? [largest] : []),
    ...(k > 0 ? [] : [mark, judge]),
  ];
}

/** A literal of CUDA C that is read as the nearest float32, rounded only once. */
function float(value: number): string {
  return `${Math.fround(value).toExponential()}f`;
}

/** All kernels of a run as one text; what later ones use comes first. It includes nothing: NVRTC has no headers. */
export function kernelSource(settings: EngineSettings, plan: CudaPlan): string {
  const shared = [
    defines(settings, plan),
    reductions,
    halves,
    elements,
    batchCut,
    argumentStructs(),
    RULES[plan.form.rule as ComputedRule].text,
    levels(prefixesOf(plan.form, settings.dSae)),
    adam,
  ];
  const ofAStep = [
    centre,
    columns,
    markWords,
    ...selectionOf(plan),
    scan,
    gather,
    decode,
    dots,
    regroup,
    features,
    rows,
    decoderBias,
    metrics,
  ];
  const also = [
    ...(plan.kAux > 0 ? [auxK] : []),
    ...(plan.dense ? [dense] : []),
    ...(followedBy(settings) ? [follow] : []),
  ];
  return [...shared, ...ofAStep, ...also, layout, settle].join('\n');
}
