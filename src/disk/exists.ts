import { access } from 'node:fs/promises';

/** Is there anything at `path` that can be reached? */
export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
