/** A nested object as dotted keys and the JSON of its leaves; arrays are leaves. */
export function flattened(value: Readonly<Record<string, unknown>>, prefix = ''): Map<string, string> {
  const leaves = new Map<string, string>();
  for (const [key, child] of Object.entries(value)) {
    const path = `${prefix}${key}`;
    if (typeof child === 'object' && child !== null && !Array.isArray(child)) {
      for (const [leaf, text] of flattened(child as Record<string, unknown>, `${path}.`)) leaves.set(leaf, text);
    } else leaves.set(path, typeof child === 'string' ? child : JSON.stringify(child));
  }
  return leaves;
}
