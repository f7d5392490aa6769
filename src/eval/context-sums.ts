/**
 * Sums over the counted positions of each context: an array a quantity, an entry a context. Every metric is a function
 * of their totals; the bootstrap takes the totals of resampled contexts instead.
 */
export type ContextSums<Name extends string> = Readonly<Record<Name, number[]>>;

export type Totals<Name extends string> = Record<Name, number>;

export function newContextSums<Name extends string>(names: readonly Name[]): ContextSums<Name> {
  return Object.fromEntries(names.map((name) => [name, []])) as unknown as ContextSums<Name>;
}

/** Appends a context with sums of 0. */
export function beginContext(sums: ContextSums<string>): void {
  for (const column of Object.values(sums)) column.push(0);
}

/** Each quantity summed over all contexts. */
export function totalsOf<Name extends string>(sums: ContextSums<Name>): Totals<Name> {
  const columns = Object.entries(sums) as [Name, number[]][];
  return Object.fromEntries(
    columns.map(([name, column]) => [name, column.reduce((sum, x) => sum + x, 0)]),
  ) as Totals<Name>;
}
