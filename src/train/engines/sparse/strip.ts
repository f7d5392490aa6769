/** Features [first, first + rows) of a slice, visited at once. */
export interface Strip {
  readonly first: number;
  readonly rows: number;
}

/** `count` features cut into strips of at most `most`, from `first` on. */
export function cut(first: number, count: number, most: number): Strip[] {
  const strips: Strip[] = [];
  for (let at = 0; at < count; at += most) strips.push({ first: first + at, rows: Math.min(most, count - at) });
  return strips;
}
