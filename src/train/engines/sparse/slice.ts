import type { SparseForm } from '../../../sae/architecture.js';
import { ADAM_EPSILON, CLIP_EPSILON, type SettledSettings, type StepSettings } from '../engine.js';
import { DensePasses } from './dense.js';
import { JumpTraining } from './jump.js';
import { RULES, STORED, writeBlock } from './kernels.js';
import { finishLevels, type Level, lastWeight, levelsOf } from './levels.js';
import { exchangedSums, type ListName, levelSums, limitOf, padded, STRIP } from './memory.js';
import { cut, type Equipment, Selection, type Strip } from './select.js';
import { SkipConnection } from './skip.js';

/** A worker's share of a step's sums: over its features, its rows of the batch, or its columns. */
export interface SliceSums {
  /** Σ |y − x̂|² over its rows, and of the auxiliary loss, including its coefficient. */
  readonly squares: number;
  readonly auxSquares: number;
  /** Σ of the penalised quantity, g or f, and the number of f > 0, over its features. */
  readonly l1: number;
  readonly active: number;
  /** Σ (y − ȳ)² over its columns. */
  readonly variance: number;
  /** Its dead features. */
  readonly dead: number;
  /** Σ of the state it wrote. */
  readonly written: number;
}

/** Results of the first pass, if gradients are clipped. */
interface Measured {
  readonly clip: number;
  /** [d_out] ∂b_dec; empty if it is frozen. */
  readonly bias: Float64Array;
}

/** The clipping factor for gradients of norm `norm` and a maximum of `most`, like PyTorch's clip_grad_norm_. */
export function clippedBy(norm: number, most: number): number {
  return Math.min(1, most / (norm + CLIP_EPSILON));
}

/** Residuals of the decodes that train W_skip: like a decoder's bias, it is part of every one that is not frozen. */
function skipTrainers(form: SparseForm): readonly string[] {
  return form.second?.trainsDecoder ? ['r', 'r_aux'] : [shortest(form)];
}

/** The sum of the shortest prefix, which is part of all longer ones; later of all residuals. */
function shortest(form: SparseForm): string {
  return levelSums(form)[0]!;
}

/**
 * One worker's slice of the dictionary and its part of a step; README.md in the folder above describes the algorithm.
 * Features are processed strip by strip, so the pre-activations of the whole dictionary never exist at once.
 */
export class Slice {
  private readonly settings: SettledSettings;
  private readonly d: { readonly in: number; readonly out: number };
  /** Is there a target that is not the input? Then nothing is subtracted from the input. */
  private readonly aims: boolean;
  private readonly strips: readonly Strip[];
  private readonly selection: Selection;
  private readonly dense: DensePasses;
  private readonly skip: SkipConnection | undefined;
  private readonly levels: readonly Level[];
  private readonly jump: JumpTraining | undefined;

  /** @param steps number of steps already done */
  constructor(
    private readonly equipment: Equipment,
    private steps: number,
  ) {
    const { settings, form, features, arena, products, exchange } = equipment;
    this.settings = settings;
    this.d = { in: padded(settings.dIn), out: padded(settings.dOut ?? settings.dIn) };
    this.aims = settings.dOut !== undefined;
    this.levels = levelsOf(form, settings, exchange.index, exchange.workers);
    this.strips = cut(0, features, STRIP);
    arena.u32('updated').fill(steps);
    this.selection = new Selection(equipment);
    this.dense = new DensePasses(equipment, this.selection);
    this.skip = settings.skip && new SkipConnection(equipment);
    this.writeBatchBlocks(products.levels);
    this.writeStepBlock();
    this.writeList('main');
    if (equipment.form.jump) this.jump = new JumpTraining(equipment, equipment.form.jump);
    if (equipment.form.auxK) this.writeList('dead');
  }

  /** This slice's part of a step on the shared batch; all workers run it concurrently. */
  async step(step: StepSettings): Promise<SliceSums> {
    const { form, arena, kernels, watch } = this.equipment;
    this.steps++;
    this.begin(step);
    const variance = this.centre();
    const dense = await this.select();
    await this.skip?.decode(form.second ? exchangedSums(form) : [shortest(form)]);
    for (const level of this.levels) this.decode('main', level);
    this.jump?.tellCounts();
    const [squares, others] = this.residuals();
    const jumps = this.jump?.weigh(step.l1);
    // Dense passes of the update add to them again.
    const [l1, active] = arena.f64('main/totals') as unknown as [number, number];
    const auxiliary = form.auxK && this.selection.allDead > 0 ? this.reconstructError(variance) : undefined;

    const visit = async () => {
      arena.f32('pull').fill(0);
      for (const strip of this.strips) {
        if (dense.has(strip)) await this.dense.update(strip);
        else this.update(strip, auxiliary !== undefined);
      }
      watch.done('update');
    };
    const most = this.settings.clipGradNorm;
    const measured = most === undefined ? undefined : await this.measure(visit, most);
    await visit();
    const { lr } = step;
    const bias = this.updateDecoderBias(lr, measured);
    const clip = measured?.clip ?? 1;
    if (!measured) await this.skip?.gradient(skipTrainers(form));
    const skipped = this.skip?.update({ lr, steps: this.steps, clip });
    const written = kernels.takeWritten() + bias + (skipped ?? 0) + this.follow();
    const auxSquares = jumps?.auxiliary ?? others + (auxiliary ?? 0);
    const dead = this.age();
    return { squares, auxSquares, l1: jumps?.penalised ?? l1, active, variance, dead, written };
  }

  /** Brings lazily skipped moments up to date, so that the arena contains what every engine would. */
  settle(): void {
    const { arena, kernels, features } = this.equipment;
    this.writeSchedule({ lr: 0, l1: 0 });
    if (this.settings.beta1 === 0) kernels.decayMoments(arena.pointer('step'), 0, features);
  }

  /** Blocks that stay constant over all steps. */
  private writeBatchBlocks(levels: number): void {
    const { arena } = this.equipment;
    const { batchDType, dIn, dOut, factors, scale, scaleOut = 1 } = this.settings;
    const type = STORED[batchDType];
    const at = (name: string) => arena.pointer(name);
    const Bp = padded(this.settings.batch);
    const factorsAt = (name: 'x_factors' | 'y_factors', values: readonly number[] | undefined) => {
      if (!values) return 0;
      arena.f32(name).set(values);
      return at(name);
    };
    writeBlock(arena, 'x_block', 'Quantised', {
      ...{ d: this.d.in, levels, flip: 0, q: at('received') },
      ...{ inverse: at('x_numbers'), error: at('x_numbers') + 4 * Bp, length: at('x_numbers') + 8 * Bp },
    });
    writeBlock(arena, 'w_block', 'Quantised', {
      ...{ d: this.d.in, levels: 127, flip: 128, q: at('w_q') },
      ...{ inverse: at('w_inverse'), error: at('w_error'), length: at('w_length') },
    });
    writeBlock(arena, 'x_side', 'Side', {
      ...{ source: at('batch'), type, width: dIn, d: this.d.in, scale },
      factors: factorsAt('x_factors', factors?.input),
      ...{ taken: at(this.aims ? 'nothing' : 'b_dec'), centred: at('xc') },
    });
    if (dOut === undefined) return;
    writeBlock(arena, 'y_side', 'Side', {
      ...{ source: at('target'), type, width: dOut, d: this.d.out, scale: scaleOut },
      factors: factorsAt('y_factors', factors?.target),
      ...{ taken: at('b_dec'), centred: at('yc') },
    });
  }

  /** The fields of a step's block that stay constant over all steps. */
  private writeStepBlock(): void {
    const { arena, features, form } = this.equipment;
    const { batch, beta1, beta2 } = this.settings;
    const at = (name: string) => arena.pointer(name);
    const { bias } = form.select;
    const shift = form.rule === 'jumprelu' ? 'threshold' : 'b_mag';
    writeBlock(arena, 'step', 'Step', {
      ...{ rule: RULES[form.rule], features, B: batch, Bp: padded(batch), dIn: this.d.in, dOut: this.d.out },
      ...{ beta1, beta2, fresh1: 1 - beta1, fresh2: 1 - beta2, epsilon: ADAM_EPSILON, measures: 0, clip: 1 },
      pulls: Number(!this.aims && this.settings.trained.includes('b_dec')),
      ...{ xc: at('xc'), x: at('x_block'), w: at('w_block'), tile: at('tile') },
      // A lane of the exact product sums d / 4 terms, each with relative error at most 2⁻²⁴; twice that, plus a margin
      // for the rest.
      wide: (this.d.in / 4 + 16) * 2 ** -23,
      ...{ candidateStart: at('candidate_start'), candidates: at('candidates'), dots: at('dots') },
      ...{ wEnc: at('W_enc'), mEnc: at('m/W_enc'), vEnc: at('v/W_enc') },
      ...{ wDec: at('W_dec'), mDec: at('m/W_dec'), vDec: at('v/W_dec') },
      opens: at(arena.has('opens') ? 'opens' : bias),
      ...{ bias: at(bias), mBias: at(`m/${bias}`), vBias: at(`v/${bias}`) },
      ...{ shift: at(shift), mShift: at(`m/${shift}`), vShift: at(`v/${shift}`) },
      ...{ rMag: at('r_mag'), mRMag: at('m/r_mag'), vRMag: at('v/r_mag'), factor: at('factor') },
      ...{ updated: at('updated'), gEnc: at('g_enc'), gDec: at('g_dec'), sums: at('sums'), pull: at('pull') },
    });
  }

  private writeList(list: ListName): void {
    const { arena, form } = this.equipment;
    const at = (name: string) => arena.pointer(`${list}/${name}`);
    const main = list === 'main';
    const second = main && form.second !== undefined;
    writeBlock(arena, `${list}/block`, 'Entries', {
      k: main ? limitOf(form) : form.auxK!.k,
      ...{ start: at('start'), token: at('token'), p: at('p'), tokenStart: at('token_start') },
      ...{ feature: at('feature'), f: at('f'), g: at('g'), totals: at('totals') },
      ...{ r: arena.pointer(main ? 'r' : 'r_aux'), second: second ? arena.pointer('r_aux') : 0 },
      unfrozen: Number(main && form.second?.trainsDecoder === true),
      sumsF: Number(form.penalty !== 'g'),
      fired: main ? arena.pointer('fired') : 0,
      ...{ top: at('top'), above: at('above'), floor: at('floor'), ties: at('ties') },
    });
  }

  /** The fields of the blocks that change from step to step. */
  private writeSchedule({ lr, l1 }: StepSettings): void {
    const { arena, form } = this.equipment;
    const { batch, beta1, beta2 } = this.settings;
    const corrections = { correction1: 1 / (1 - beta1 ** this.steps), correction2: 1 / (1 - beta2 ** this.steps) };
    writeBlock(arena, 'step', 'Step', { step: this.steps, lr, ...corrections });
    const penalty = l1 / batch;
    writeBlock(arena, 'main/block', 'Entries', {
      l1: form.penalty === 'g' ? penalty : 0,
      l1F: form.penalty === 'f' ? penalty : (this.jump?.slope(penalty) ?? 0),
    });
  }

  private begin(step: StepSettings): void {
    const { arena, form, watch } = this.equipment;
    watch.skip();
    this.writeSchedule(step);
    arena.f64('main/totals').fill(0);
    if (form.auxK) arena.f64('dead/totals').fill(0);
    arena.u32('fired').fill(0);
    this.jump?.begin();
    if (form.rule !== 'gated') return;
    const factor = arena.f32('factor');
    arena.f32('r_mag').forEach((r, j) => {
      factor[j] = Math.exp(r);
    });
  }

  /** Encoder inputs and targets of the whole batch; the variance of this worker's columns of the targets. */
  private centre(): number {
    const { arena, kernels, exchange } = this.equipment;
    const { batch } = this.settings;
    const shared = exchange.shared;
    arena.view('u8', 'batch', 0).set(new Uint8Array(shared.batch));
    kernels.centre(arena.pointer('x_side'), batch);
    if (this.aims) {
      arena.view('u8', 'target', 0).set(new Uint8Array(shared.target));
      kernels.centre(arena.pointer('y_side'), batch);
    }
    return this.variance(arena.pointer(this.aims ? 'yc' : 'xc'));
  }

  /** Σ (y − ȳ)² over this worker's columns of an array [B, d_out]. */
  private variance(pointer: number): number {
    const { kernels, exchange } = this.equipment;
    const column = (worker: number) => 4 * Math.floor((this.d.out / 4) * (worker / exchange.workers));
    const [first, last] = [column(exchange.index), column(exchange.index + 1)];
    return kernels.columnVariance(pointer, this.settings.batch, this.d.out, first, last);
  }

  /** Lists the entries; returns the strips that have too many, whose part of the reconstructions is already added. */
  private async select(): Promise<Set<Strip>> {
    const { selection, equipment } = this;
    if (equipment.form.auxK) selection.countDead();
    if (selection.allDead > 0) await selection.listDead();
    const dense = new Set<Strip>();
    for (const name of exchangedSums(equipment.form)) equipment.arena.f32(name).fill(0);
    for (const guessing of [true, false]) {
      selection.begin(guessing);
      for (const strip of this.strips) {
        if ((await selection.strip(strip)) === 'sparse') continue;
        dense.add(strip);
        await this.dense.decode(strip);
      }
      if (selection.settle('main')) break;
    }
    if (selection.allDead > 0) selection.settle('dead');
    return dense;
  }

  /** Gradient and Adam for a strip's features; those of each level have their own residual. */
  private update({ first, rows }: Strip, alsoDead: boolean): void {
    const { arena, kernels } = this.equipment;
    const [step, list] = [arena.pointer('step'), arena.pointer('main/block')];
    const more = alsoDead ? arena.pointer('dead/block') : 0;
    for (const level of this.levels) {
      const [from, to] = [Math.max(first, level.first), Math.min(first + rows, level.last)];
      if (from >= to) continue;
      writeBlock(arena, 'main/block', 'Entries', { r: arena.pointer(level.sum) });
      kernels.update(step, list, more, from, to);
    }
  }

  /** Adds the part of a list's features to a level's sum (without b_dec), and to the contents of `r_aux`. */
  private decode(list: ListName, { first, last, sum }: Level): void {
    const { arena, kernels, watch } = this.equipment;
    const [step, block] = [arena.pointer('step'), arena.pointer(`${list}/block`)];
    writeBlock(arena, `${list}/block`, 'Entries', { r: arena.pointer(sum) });
    kernels.regroup(step, block, first, last);
    watch.done('regroup');
    kernels.decode(step, block);
    watch.done('decode');
  }

  /**
   * Turns the reconstructions into residuals, and computes this worker's rows' part of the gradient of b_dec as the
   * decoder's bias.
   *
   * @returns Σ |y − x̂|² over this worker's rows; and Σ |y − x̂_aux|², or the contribution of shorter prefixes to the
   * loss
   */
  private residuals(): readonly [squares: number, others: number] {
    const { arena, kernels, exchange, form, watch } = this.equipment;
    const [first, last] = exchange.range();
    const [d, rows] = [this.d.out, last - first];
    const of = (name: string) => arena.pointer(name) + 4 * first * d;
    const target = of(this.aims ? 'yc' : 'xc');
    const factor = 2 / this.settings.batch;
    const found = this.complete(exchangedSums(form), () => {
      const { squares, more } = finishLevels(kernels, form, { sums: levelSums(form).map(of), target, rows, d }, factor);
      return [squares, form.second ? kernels.residual(of('r_aux'), target, rows, d, factor) : more] as const;
    });
    kernels.sumRows(of(shortest(form)), rows, d, arena.pointer('column'));
    if (form.second?.trainsDecoder) {
      // The auxiliary decode trains b_dec just as the decode of f does.
      kernels.sumRows(of('r_aux'), rows, d, arena.pointer('g_dec'));
      kernels.addTo(arena.pointer('column'), arena.pointer('g_dec'), 4 * d);
    }
    exchange.bias(exchange.index, 0).set(arena.f32('column'));
    watch.done('exchange');
    return found;
  }

  /**
   * AuxK (Gao et al. 2024, section A.2): dead features reconstruct the error e = y − x̂, and `r_aux` becomes the
   * gradient of α |e − ê|² var(y) / var(e) with respect to ê, with e and the variances as constants.
   *
   * @param variance Σ (y − ȳ)² over this worker's columns
   * @returns this loss for this worker's rows; undefined if var(e) is 0
   */
  private reconstructError(variance: number): number | undefined {
    const { arena, kernels, exchange, form } = this.equipment;
    const { batch } = this.settings;
    const [first, last] = exchange.range();
    const [d, rows] = [this.d.out, last - first];
    const of = (name: string) => arena.pointer(name) + 4 * first * d;
    arena.f32('r_aux').fill(0);
    this.decode('dead', { first: 0, last: this.equipment.features, sum: 'r_aux' });
    const mine = exchange.numbers(exchange.index);
    mine[1] = variance;
    // r is −2 e / B, times the weight of the complete SAE's error.
    const toError = -batch / (2 * lastWeight(form));
    mine[2] = this.variance(arena.pointer('r')) * toError ** 2;
    let coefficient = 0;
    const squares = this.complete(['r_aux'], () => {
      const numbers = Array.from({ length: exchange.workers }, (_, worker) => exchange.numbers(worker));
      const [whole, left] = [1, 2].map((i) => numbers.reduce((sum, values) => sum + values[i]!, 0));
      coefficient = left === 0 ? 0 : (form.auxK!.coefficient * whole!) / left!;
      kernels.scale(arena.pointer('received'), of('r'), 4 * rows * d, toError);
      return kernels.residual(of('r_aux'), arena.pointer('received'), rows, d, (2 * coefficient) / batch);
    });
    return coefficient === 0 ? undefined : coefficient * squares;
  }

  /**
   * Adds up the workers' partial sums, each worker for its rows and always in the same order, applies `finish` to its
   * rows and distributes the result: afterwards the arrays are complete.
   *
   * @returns the result of `finish`
   */
  private complete<T>(names: readonly string[], finish: () => T): T {
    const { arena, kernels, exchange, form } = this.equipment;
    const { batch } = this.settings;
    const d = this.d.out;
    const mine = exchange.range();
    const [first, last] = mine;
    const several = exchange.workers > 1;
    const sums = levelSums(form);
    const slot = (name: string) => (name === 'r_aux' ? sums.length : sums.indexOf(name));
    if (several) {
      for (const name of names) {
        exchange.partial(exchange.index, slot(name), [0, batch]).set(arena.f32(name, 0, batch * d));
      }
      this.meet();
    }
    for (const name of names) {
      const rows = arena.f32(name, first * d, (last - first) * d);
      const pointer = arena.pointer(name) + 4 * first * d;
      if (several) rows.set(exchange.partial(0, slot(name), mine));
      for (let worker = 1; worker < exchange.workers; worker++) {
        arena.f32('received', 0, rows.length).set(exchange.partial(worker, slot(name), mine));
        kernels.addTo(pointer, arena.pointer('received'), 4 * rows.length);
      }
    }
    const result = finish();
    if (several) {
      // Nobody reads these rows of worker 0's partial sums any more.
      for (const name of names) {
        exchange.partial(0, slot(name), mine).set(arena.f32(name, first * d, (last - first) * d));
      }
      this.meet();
    }
    for (const name of names) {
      for (let worker = 0; worker < exchange.workers; worker++) {
        if (worker === exchange.index) continue;
        const range = exchange.range(worker);
        const rows = arena.f32(name, range[0] * d, (range[1] - range[0]) * d);
        rows.set(exchange.partial(0, slot(name), range));
      }
    }
    this.equipment.watch.done('exchange');
    return result;
  }

  /** Waits for the other workers. */
  private meet(): void {
    this.equipment.watch.done('exchange');
    this.equipment.exchange.barrier();
    this.equipment.watch.done('waiting');
  }

  /**
   * Visits all features without moving them, to get the norm of all gradients together; the next visit applies the
   * clipped gradients.
   */
  private async measure(visit: () => Promise<void>, most: number): Promise<Measured> {
    const { arena, kernels, exchange, form, watch } = this.equipment;
    writeBlock(arena, 'step', 'Step', { measures: 1 });
    await visit();
    const skip = (await this.skip?.gradient(skipTrainers(form))) ?? 0;
    exchange.numbers(exchange.index)[4] = kernels.takeSquares() + skip;
    exchange.bias(exchange.index, 1).set(arena.f32('pull'));
    exchange.barrier();
    watch.done('waiting');
    const trained = this.settings.trained.includes('b_dec');
    const bias = trained ? this.biasGradient() : new Float64Array(0);
    let squares = bias.reduce((sum, value) => sum + value * value, 0);
    for (let worker = 0; worker < exchange.workers; worker++) squares += exchange.numbers(worker)[4]!;
    const clip = clippedBy(Math.sqrt(squares), most);
    writeBlock(arena, 'step', 'Step', { measures: 0, clip });
    return { clip, bias };
  }

  /**
   * ∂b_dec = Σ_b r_b, minus W_enc Σ_b dp_b if it is subtracted from the input, summed in worker order over the reported
   * parts.
   */
  private biasGradient(): Float64Array {
    const { exchange } = this.equipment;
    const parts = Array.from({ length: exchange.workers }, (_, worker) => worker);
    const sums = parts.map((worker) => exchange.bias(worker, 0));
    const pulls = this.aims ? [] : parts.map((worker) => exchange.bias(worker, 1));
    return Float64Array.from({ length: this.settings.dOut ?? this.settings.dIn }, (_, i) => {
      let gradient = 0;
      for (const sum of sums) gradient += sum[i]!;
      for (const pull of pulls) gradient -= pull[i]!;
      return gradient;
    });
  }

  /**
   * Adam on b_dec, identically in every worker.
   *
   * @param measured its gradient, if already known
   * @returns Σ of what was written
   */
  private updateDecoderBias(lr: number, measured: Measured | undefined): number {
    const { arena, exchange, watch } = this.equipment;
    if (!this.settings.trained.includes('b_dec')) return 0;
    const { beta1, beta2 } = this.settings;
    const [correction1, correction2] = [1 / (1 - beta1 ** this.steps), 1 / (1 - beta2 ** this.steps)];
    if (!measured) {
      exchange.bias(exchange.index, 1).set(arena.f32('pull'));
      exchange.barrier();
      watch.done('waiting');
    }
    const { clip, bias: gradients } = measured ?? { clip: 1, bias: this.biasGradient() };
    const bias = arena.f32('b_dec');
    const v = arena.f32('v/b_dec');
    const m = beta1 > 0 ? arena.f32('m/b_dec') : undefined;
    let written = 0;
    for (const [i, value] of gradients.entries()) {
      const gradient = clip * value;
      v[i] = beta2 * v[i]! + (1 - beta2) * gradient * gradient;
      let numerator = gradient;
      if (m) {
        m[i] = beta1 * m[i]! + (1 - beta1) * gradient;
        numerator = m[i]! * correction1;
      }
      bias[i] = bias[i]! - lr * (numerator / (Math.sqrt(v[i]! * correction2) + ADAM_EPSILON));
      written += bias[i]! + v[i]!;
    }
    watch.done('update');
    return written;
  }

  /** Moves the parameter that tracks the smallest activation of a batch; returns the sum of what was written. */
  private follow(): number {
    const { follows } = this.settings;
    const { smallest } = this.selection;
    if (!follows || smallest === undefined) return 0;
    const values = this.equipment.arena.f32(follows.parameter);
    let written = 0;
    for (let j = 0; j < values.length; j++) {
      values[j] = (1 - follows.share) * values[j]! + follows.share * smallest;
      written += values[j]!;
    }
    return written;
  }

  /** Counts activations since features fired; returns the number of dead features. */
  private age(): number {
    const { batch, deadWindow } = this.settings;
    const since = this.equipment.arena.f32('since_fired');
    const fired = this.equipment.arena.u32('fired');
    let dead = 0;
    for (let j = 0; j < since.length; j++) {
      since[j] = fired[j] ? 0 : since[j]! + batch;
      if (since[j]! >= deadWindow) dead++;
    }
    return dead;
  }
}
