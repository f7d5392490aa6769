/** Loaded into the program before anything else: a clock that is set back by an hour each time it is read. */
const plain = Date.now;
let back = 0;
const now = () => {
  back += 3_600_000;
  return plain() - back;
};
globalThis.Date = class extends Date {
  constructor(...args: unknown[]) {
    super(...((args.length === 0 ? [now()] : args) as [number]));
  }
  static override now = now;
} as DateConstructor;
