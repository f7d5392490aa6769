import type { TrainerState } from '../engine.js';
import { stateShapes } from '../state.js';
import type { DevicePointer, HostBuffer } from './device.js';
import type { StepParts } from './launcher.js';
import { PIECE_BYTES, shapeOnDevice } from './plan.js';

/** A run of an array's rows. */
interface Piece {
  readonly name: string;
  readonly first: number;
  readonly count: number;
}

/** Transfers the state between the engines' arrays and the device's, in pieces through page-locked memory. */
export class StateTransfer {
  constructor(
    private readonly run: StepParts,
    private readonly pieceBytes = PIECE_BYTES,
  ) {}

  /** Writes the parts of the state given in `start`; the rest is unchanged. */
  async load(start: TrainerState): Promise<void> {
    const { device, settings } = this.run;
    for (const name of stateShapes(settings).keys()) {
      const values = start.get(name);
      if (!values) continue;
      await this.inPieces(name, async (piece, host, staging) => {
        const floats = new Float32Array(host.bytes);
        this.forRuns(piece, (at, from, length) => floats.set(values.subarray(from, from + length), at));
        device.waitFor(device.upload(staging, host, 4 * this.elements(piece)));
        this.move('toRows', piece, staging);
        await device.mark().reached();
      });
    }
  }

  /** A copy of these arrays of the state. */
  async read(names: Iterable<string>): Promise<Map<string, Float32Array>> {
    const { device, settings } = this.run;
    const state = new Map<string, Float32Array>();
    const shapes = stateShapes(settings);
    for (const name of names) {
      const values = new Float32Array(shapes.get(name)!.reduce((product, dim) => product * dim, 1));
      await this.inPieces(name, async (piece, host, staging) => {
        this.move('fromRows', piece, staging);
        device.download(host, staging, 4 * this.elements(piece));
        await device.mark().reached();
        const floats = new Float32Array(host.bytes);
        this.forRuns(piece, (at, from, length) => values.set(floats.subarray(at, at + length), from));
      });
      state.set(name, values);
    }
    return state;
  }

  private async inPieces(
    name: string,
    visit: (piece: Piece, host: HostBuffer, staging: DevicePointer) => Promise<void>,
  ): Promise<void> {
    const { device, settings } = this.run;
    const { rows, width } = shapeOnDevice(name, settings);
    const each = Math.min(rows, Math.max(1, Math.floor(this.pieceBytes / (4 * width))));
    const host = device.allocateHost(4 * each * width);
    try {
      const staging = device.allocate(4 * each * width);
      try {
        for (let first = 0; first < rows; first += each) {
          await visit({ name, first, count: Math.min(each, rows - first) }, host, staging);
        }
      } finally {
        device.free(staging);
      }
    } finally {
      host.free();
    }
  }

  private elements({ name, count }: Piece): number {
    return count * shapeOnDevice(name, this.run.settings).width;
  }

  /** Positions of the piece's runs in it and in the whole array. */
  private forRuns(piece: Piece, copy: (at: number, from: number, length: number) => void): void {
    const { first, count } = piece;
    const { rows, width, transposed } = shapeOnDevice(piece.name, this.run.settings);
    if (transposed) for (let i = 0; i < width; i++) copy(i * count, i * rows + first, count);
    else copy(0, first * width, this.elements(piece));
  }

  /** Copies between the piece on the device and its array there. */
  private move(kernel: 'toRows' | 'fromRows', { name, first, count }: Piece, staging: DevicePointer): void {
    const { settings, plan, arrays, launcher } = this.run;
    const { width, padded, transposed } = shapeOnDevice(name, settings);
    const numbers = { first, count, width, padded, transposed: Number(transposed) };
    launcher.run(
      kernel,
      { blocks: count, threads: plan.threads },
      { piece: staging, matrix: arrays.at(name), ...numbers },
    );
  }
}
