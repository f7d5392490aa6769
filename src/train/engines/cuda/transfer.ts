import type { EngineSettings, TrainerState } from '../engine.js';
import { stateShapes } from '../state.js';
import type { DeviceArrays } from './arrays.js';
import type { CudaDevice, HostBuffer, Kernels } from './device.js';
import { type CudaPlan, PIECE_BYTES } from './plan.js';

/** A run of an array's rows, one a feature; b_dec and what is a number a feature count as one row. */
interface Piece {
  readonly first: number;
  readonly count: number;
}

/**
 * Carries the state between the engines' arrays and the device, where matrices have a padded row for each feature, in
 * pieces through page-locked memory.
 */
export class StateTransfer {
  constructor(
    private readonly settings: EngineSettings,
    private readonly plan: CudaPlan,
    private readonly device: CudaDevice,
    private readonly kernels: Kernels,
    private readonly arrays: DeviceArrays,
    private readonly pieceBytes = PIECE_BYTES,
  ) {}

  /** Writes what `start` has of the state; the rest keeps what it is. */
  async load(start: TrainerState): Promise<void> {
    for (const name of stateShapes(this.settings).keys()) {
      const values = start.get(name);
      if (!values) continue;
      await this.inPieces(name, async (piece, host, staging) => {
        const floats = new Float32Array(host.bytes);
        this.between(name, piece, values, floats, 'piece');
        this.device.waitFor(this.device.upload(staging, host, 4 * this.elements(name, piece)));
        this.move('toRows', name, piece, staging);
        await this.device.mark().reached();
      });
    }
  }

  /** A copy of those arrays of the state. */
  async read(names: Iterable<string>): Promise<Map<string, Float32Array>> {
    const state = new Map<string, Float32Array>();
    const shapes = stateShapes(this.settings);
    for (const name of names) {
      const values = new Float32Array(shapes.get(name)!.reduce((product, dim) => product * dim, 1));
      await this.inPieces(name, async (piece, host, staging) => {
        this.move('fromRows', name, piece, staging);
        this.device.download(host, staging, 4 * this.elements(name, piece));
        await this.device.mark().reached();
        this.between(name, piece, values, new Float32Array(host.bytes), 'values');
      });
      state.set(name, values);
    }
    return state;
  }

  private async inPieces(
    name: string,
    visit: (piece: Piece, host: HostBuffer, staging: bigint) => Promise<void>,
  ): Promise<void> {
    const rows = isMatrix(name) ? this.settings.dSae : 1;
    const width = this.elements(name, { first: 0, count: 1 });
    const each = Math.min(rows, Math.max(1, Math.floor(this.pieceBytes / (4 * width))));
    const host = this.device.allocateHost(4 * each * width);
    try {
      const staging = this.device.allocate(4 * each * width);
      try {
        for (let first = 0; first < rows; first += each) {
          await visit({ first, count: Math.min(each, rows - first) }, host, staging);
        }
      } finally {
        this.device.free(staging);
      }
    } finally {
      host.free();
    }
  }

  /** Elements of a piece in the engines' layout. */
  private elements(name: string, { count }: Piece): number {
    return count * (isMatrix(name) || isDecoderBias(name) ? this.settings.dIn : this.settings.dSae);
  }

  /** Fills the piece from the whole array, or the other way round. */
  private between(name: string, piece: Piece, values: Float32Array, floats: Float32Array, to: 'piece' | 'values') {
    const { dIn, dSae } = this.settings;
    const { first, count } = piece;
    const copy = (at: number, from: number, length: number) => {
      if (to === 'piece') floats.set(values.subarray(from, from + length), at);
      else values.set(floats.subarray(at, at + length), from);
    };
    if (isByColumns(name)) for (let i = 0; i < dIn; i++) copy(i * count, i * dSae + first, count);
    else copy(0, isMatrix(name) ? first * dIn : 0, this.elements(name, piece));
  }

  /** Between the piece on the device and its place there. */
  private move(kernel: 'toRows' | 'fromRows', name: string, piece: Piece, staging: bigint): void {
    const at = this.arrays.at(name);
    const [from, to] = kernel === 'toRows' ? [staging, at] : [at, staging];
    if (!isMatrix(name) && !isDecoderBias(name)) {
      this.device.copy(to, from, 4 * this.elements(name, piece));
      return;
    }
    const place = [{ int: piece.first }, { int: piece.count }, { int: Number(isByColumns(name)) }];
    this.kernels.launch(kernel, piece.count, this.plan.threads, [from, to, ...place]);
  }
}

const isMatrix = (name: string) => /W_(enc|dec)$/.test(name);
const isByColumns = (name: string) => name.endsWith('W_enc');
const isDecoderBias = (name: string) => name.endsWith('b_dec');
