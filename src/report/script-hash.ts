import { createHash } from 'node:crypto';

/** The source by which a Content-Security-Policy allows an inline script, and no other (CSP Level 3, hash-source). */
export function scriptHash(script: string): string {
  return `'sha256-${createHash('sha256').update(script).digest('base64')}'`;
}
