import { homedir } from 'node:os';

/** The user's home directory; undefined for a user that has none: no HOME and no entry in the password file. */
export function homeDirectory(): string | undefined {
  try {
    return homedir() || undefined;
  } catch {
    return undefined;
  }
}
