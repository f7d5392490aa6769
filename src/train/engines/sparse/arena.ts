const TYPES = {
  f32: Float32Array,
  f64: Float64Array,
  u32: Uint32Array,
  u16: Uint16Array,
  u8: Uint8Array,
  i8: Int8Array,
  i32: Int32Array,
} as const;

type Views = { [T in keyof typeof TYPES]: InstanceType<(typeof TYPES)[T]> };
type ElementType = keyof Views;

const PAGE = 65_536;
/** Arrays begin at cache lines. */
const LINE = 64;
/** Bytes that one WebAssembly.Memory can hold. */
export const LARGEST_MEMORY = PAGE * PAGE;

/** Where named arrays lie in a memory that is yet to be made; address 0 stays unused. */
export class Plan {
  bytes = LINE;
  private readonly places = new Map<string, { type: ElementType; pointer: number; length: number }>();

  add(name: string, type: ElementType, length: number): void {
    if (this.places.has(name)) throw new Error(`array ${name} is planned twice`);
    this.places.set(name, { type, pointer: this.bytes, length });
    this.bytes += Math.ceil((length * TYPES[type].BYTES_PER_ELEMENT) / LINE) * LINE;
  }

  at(name: string): { type: ElementType; pointer: number; length: number } {
    const place = this.places.get(name);
    if (!place) throw new Error(`no array ${name} is planned`);
    return place;
  }

  has(name: string): boolean {
    return this.places.has(name);
  }
}

/**
 * Named arrays in one WebAssembly.Memory, which kernels know by address and ONNX Runtime by view. The memory never
 * grows, so views stay valid; pages that are not written cost nothing.
 */
export class Arena {
  readonly memory: WebAssembly.Memory;

  constructor(private readonly plan: Plan) {
    const pages = Math.ceil(plan.bytes / PAGE);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  }

  /** Address of an array; 0, which no kernel reads, for one that this run does without. */
  pointer(name: string): number {
    return this.plan.has(name) ? this.plan.at(name).pointer : 0;
  }

  f32(name: string, from = 0, length?: number): Float32Array {
    return this.view('f32', name, from, length);
  }

  u32(name: string): Uint32Array {
    return this.view('u32', name, 0);
  }

  f64(name: string): Float64Array {
    return this.view('f64', name, 0);
  }

  /** A view of `length` elements of an array from element `from` on. */
  view<T extends ElementType>(type: T, name: string, from: number, length?: number): Views[T] {
    const place = this.plan.at(name);
    const size = TYPES[type].BYTES_PER_ELEMENT;
    const bytes = place.length * TYPES[place.type].BYTES_PER_ELEMENT;
    const count = length ?? bytes / size - from;
    if ((from + count) * size > bytes) throw new Error(`view beyond array ${name}`);
    return new TYPES[type](this.memory.buffer, place.pointer + from * size, count) as Views[T];
  }
}
