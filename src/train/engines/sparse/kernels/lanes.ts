/** The sum of four lanes, in one fixed order. */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  );
}

/** The float32 at index i of an array. */
// @ts-ignore: decorator
@inline
export function at(array: usize, i: usize): f32 {
  return load<f32>(array + (i << 2));
}

/** The uint32 at index i of an array. */
// @ts-ignore: decorator
@inline
export function indexAt(array: usize, i: usize): usize {
  return <usize>load<u32>(array + (i << 2));
}
