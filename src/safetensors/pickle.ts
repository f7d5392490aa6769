// Python's pickle format, limited to what torch.save writes for tensors in plain containers. Nothing is called or
// imported: names in a file are compared with a list.

/** A global named in a pickle, such as torch.FloatStorage. */
export class PickledGlobal {
  constructor(readonly name: string) {}
}

/** The tuple behind a persistent id, as written by torch.save. */
export class PickledStorage {
  constructor(readonly id: readonly unknown[]) {}
}

/** A tensor: storage, offset in entries, shape, strides. */
export class PickledTensor {
  constructor(readonly args: readonly unknown[]) {}
}

/** Supported calls, by the global they call. */
const CALLS: Readonly<Record<string, (args: readonly unknown[]) => unknown>> = {
  'collections.OrderedDict': () => new Map(),
  'torch._utils._rebuild_tensor_v2': (args) => new PickledTensor(args),
  // A parameter wraps its data: (tensor, requires_grad, hooks).
  'torch._utils._rebuild_parameter': ([tensor]) => tensor,
};
const STORAGE = /^torch\.\w+Storage$/;

const MARK = Symbol('mark');

/** Reads a pickle. */
export class Pickle {
  private at = 0;
  private readonly stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();

  /** @param refuse called for anything unsupported, with a phrase to follow "has"; never returns */
  constructor(
    private readonly bytes: Buffer,
    private readonly refuse: (what: string) => never,
  ) {}

  /** @throws the error of `refuse`; RangeError or TypeError if the bytes end early or are inconsistent */
  read(): unknown {
    for (;;) {
      const opcode = this.byte();
      if (opcode === 0x2e) return this.pop(); // STOP
      if (!this.constant(opcode) && !this.container(opcode) && !this.remembered(opcode) && !this.call(opcode)) {
        this.refuse(`the pickle opcode 0x${opcode.toString(16).padStart(2, '0')}`);
      }
    }
  }

  private byte(): number {
    return this.bytes.readUInt8(this.at++);
  }

  private take(count: number): Buffer {
    if (this.at + count > this.bytes.length) throw new RangeError('the pickle ends early');
    const part = this.bytes.subarray(this.at, this.at + count);
    this.at += count;
    return part;
  }

  private uint32(): number {
    return this.take(4).readUInt32LE();
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw new RangeError('a line of the pickle does not end');
    const text = this.bytes.toString('utf8', this.at, end);
    this.at = end + 1;
    return text;
  }

  private pop(): unknown {
    if (this.stack.length === 0) throw new RangeError('the stack is empty');
    return this.stack.pop();
  }

  /** Values pushed since the last mark. */
  private sinceMark(): unknown[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) throw new RangeError('there is no mark');
    const items = this.stack.splice(mark);
    return items.slice(1);
  }

  private push(value: unknown): true {
    this.stack.push(value);
    return true;
  }

  private constant(opcode: number): boolean {
    switch (opcode) {
      case 0x80: // PROTO
        this.byte();
        return true;
      case 0x4e: // NONE
        return this.push(null);
      case 0x88: // NEWTRUE
        return this.push(true);
      case 0x89: // NEWFALSE
        return this.push(false);
      case 0x4a: // BININT
        return this.push(this.take(4).readInt32LE());
      case 0x4b: // BININT1
        return this.push(this.byte());
      case 0x4d: // BININT2
        return this.push(this.take(2).readUInt16LE());
      case 0x8a: // LONG1
        return this.push(this.long(this.byte()));
      case 0x47: // BINFLOAT
        return this.push(this.take(8).readDoubleBE());
      case 0x58: // BINUNICODE
        return this.push(this.take(this.uint32()).toString('utf8'));
      case 0x8c: // SHORT_BINUNICODE
        return this.push(this.take(this.byte()).toString('utf8'));
      default:
        return false;
    }
  }

  /** A little-endian integer in two's complement. */
  private long(length: number): number {
    let value = 0n;
    const bytes = this.take(length);
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    return Number(BigInt.asIntN(Math.max(8, 8 * length), value));
  }

  private container(opcode: number): boolean {
    switch (opcode) {
      case 0x28: // MARK
        return this.push(MARK);
      case 0x7d: // EMPTY_DICT
        return this.push(new Map());
      case 0x5d: // EMPTY_LIST
        return this.push([]);
      case 0x29: // EMPTY_TUPLE
        return this.push([]);
      case 0x74: // TUPLE
        return this.push(this.sinceMark());
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.push(this.last(opcode - 0x84));
      case 0x73: // SETITEM
        return this.setItems(this.last(2));
      case 0x75: // SETITEMS
        return this.setItems(this.sinceMark());
      case 0x61: // APPEND
        return this.append(this.last(1));
      case 0x65: // APPENDS
        return this.append(this.sinceMark());
      default:
        return false;
    }
  }

  private last(count: number): unknown[] {
    if (this.stack.length < count) throw new RangeError('the stack is too short');
    return this.stack.splice(this.stack.length - count);
  }

  private setItems(items: readonly unknown[]): true {
    const map = this.stack.at(-1);
    if (!(map instanceof Map)) throw new TypeError('items are set on what is not a dict');
    for (let i = 0; i + 1 < items.length; i += 2) map.set(items[i], items[i + 1]);
    return true;
  }

  private append(items: readonly unknown[]): true {
    const list = this.stack.at(-1);
    if (!Array.isArray(list)) throw new TypeError('items are appended to what is not a list');
    for (const item of items) list.push(item);
    return true;
  }

  private remembered(opcode: number): boolean {
    switch (opcode) {
      case 0x71: // BINPUT
        this.memo.set(this.byte(), this.stack.at(-1));
        return true;
      case 0x72: // LONG_BINPUT
        this.memo.set(this.uint32(), this.stack.at(-1));
        return true;
      case 0x94: // MEMOIZE
        this.memo.set(this.memo.size, this.stack.at(-1));
        return true;
      case 0x95: // FRAME
        this.take(8);
        return true;
      case 0x68: // BINGET
        return this.push(this.memo.get(this.byte()));
      case 0x6a: // LONG_BINGET
        return this.push(this.memo.get(this.uint32()));
      default:
        return false;
    }
  }

  private call(opcode: number): boolean {
    switch (opcode) {
      case 0x63: // GLOBAL
        return this.push(this.global(`${this.line()}.${this.line()}`));
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.last(2);
        return this.push(this.global(`${module}.${name}`));
      }
      case 0x51: // BINPERSID
        return this.push(new PickledStorage(this.pop() as unknown[]));
      case 0x52: {
        // REDUCE
        const [callee, args] = this.last(2);
        const called = callee instanceof PickledGlobal ? CALLS[callee.name] : undefined;
        if (!called || !Array.isArray(args)) throw new TypeError('what is called cannot be called');
        return this.push(called(args));
      }
      case 0x62: // BUILD: attributes of a state dict, of which nothing is wanted
        this.pop();
        return this.stack.at(-1) instanceof Map;
      default:
        return false;
    }
  }

  private global(name: string): PickledGlobal {
    if (!Object.hasOwn(CALLS, name) && !STORAGE.test(name)) this.refuse(`the global ${JSON.stringify(name)}`);
    return new PickledGlobal(name);
  }
}
