/** The text of a run's kernels. */
import type { SparseForm } from '../../../../sae/architecture.js';
import { trainingOf } from '../../../../sae/registry.js';
import { ADAM_EPSILON, type EngineSettings } from '../../engine.js';
import { followedBy, isTrained } from '../../state.js';
import { CHUNK, type CudaPlan } from '../plan.js';
import { argumentStructs } from './arguments.js';
import { auxK } from './auxk.js';
import { decode, dots } from './decode.js';
import { dense, judge } from './dense.js';
import { follow } from './follow.js';
import { keys, largest } from './largest.js';
import { batchCut, largestOfBatch } from './largest-of-batch.js';
import { levels, prefixesOf } from './levels.js';
import { columns, elements, halves, layout, metrics, reductions } from './numbers.js';
import { regroup } from './regroup.js';
import { heldOf, rows } from './rows.js';
import { penaltyOfSecond, RULES } from './rules.js';
import { scan } from './scan.js';
import { centre, gather, mark, markWords } from './select.js';
import { adam, decoderBias, features, settle } from './update.js';

/** What is compiled into the kernels: shapes, Adam's constants, the form of the loss and what of it is trained. */
function defines(settings: EngineSettings, { form, ...plan }: CudaPlan): string {
  const { dIn, dOut, dSae, batch, batchDType, beta1, beta2, scale, scaleOut = 1, deadWindow } = settings;
  const trains = (name: Parameters<typeof isTrained>[1]) => isTrained(settings, name);
  const { bias } = form.select;
  const scalars = RULES[form.rule].scalars.filter(trains);
  const { nonNegative = [] } = trainingOf(settings.architecture);
  const listed = (names: readonly string[]) => names.map((name) => `DO(${name})`).join(' ');
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
    WANTED: plan.wholeBatch ? plan.k * batch : 0,
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
    SECOND_DOTS: plan.secondDots,
    ...lossDefines(form),
    TRAINS_W_ENC: trains('W_enc'),
    TRAINS_W_DEC: trains('W_dec'),
    // Does the encoder's gradient reach b_dec?
    PULLS: trains('b_dec') && dOut === undefined,
    'EACH_TRAINED_SCALAR(DO)': listed([...(trains(bias) ? ['bias'] : []), ...scalars]),
    'EACH_NON_NEGATIVE(DO)': listed(scalars.filter((name) => nonNegative.includes(name))),
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

/** What the loss has; numbers of what it has not are 0. */
function lossDefines({ second, penalty, auxK, jump }: SparseForm): Record<string, boolean | string> {
  const by = jump?.penalty;
  return {
    SECOND: second !== undefined,
    SECOND_TRAINS_DECODER: second?.trainsDecoder ?? false,
    PENALTY_ON_F: penalty === 'f',
    PENALTY_ON_G: penalty === 'g',
    PENALTY_STEP: by?.kind === 'step',
    PENALTY_TANH: by?.kind === 'tanh',
    TANH_SCALE: float(by?.kind === 'tanh' ? by.scale : 0),
    PENALTY_QUADRATIC: by?.kind === 'quadratic',
    TARGET_L0: float(by?.kind === 'quadratic' ? by.target : 0),
    // Are dead features listed, to reconstruct the error?
    AUX_K: auxK !== undefined,
    AUX_COEFFICIENT: float(auxK?.coefficient ?? 0),
    // Are there entries with f = 0?
    JUMPS: jump !== undefined,
    HALF_BANDWIDTH: float((jump?.bandwidth ?? 0) / 2),
    PER_BANDWIDTH: float(jump ? 1 / jump.bandwidth : 0),
    TO_ENCODER: jump?.toEncoder ?? false,
    PRE_ACT_LOSS: jump !== undefined && jump.preAct > 0,
    PRE_ACT: float(jump?.preAct ?? 0),
  };
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
    RULES[plan.form.rule].text,
    penaltyOfSecond,
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
