/** Parts of a step, as the profile names them. */
export const PARTS = [
  'prepare',
  'product',
  'select',
  'exact',
  'regroup',
  'decode',
  'exchange',
  'waiting',
  'update',
] as const;
export type Part = (typeof PARTS)[number];

/** Milliseconds spent in each part. */
export type Profile = Record<Part, number>;

/** A stopwatch that is always in one part. */
export class Stopwatch {
  readonly spent = Object.fromEntries(PARTS.map((part) => [part, 0])) as Profile;
  private since = performance.now();

  /** What happened since the last call was `part`. */
  done(part: Part): void {
    const now = performance.now();
    this.spent[part] += now - this.since;
    this.since = now;
  }

  /** What happened since the last call belongs to no step. */
  skip(): void {
    this.since = performance.now();
  }
}
