import { createHash } from 'node:crypto';
import type { Rows } from './arrow-files.js';

/**
 * SHA-256 over the token, context and pos of rows, in order and however they are cut into pieces. It stands for the text
 * that the rows came from. Activations are left out: another machine computes them with other last bits.
 */
export class RowsHash {
  private readonly columns = {
    token: createHash('sha256'),
    context: createHash('sha256'),
    pos: createHash('sha256'),
  };

  add(rows: Rows): void {
    for (const [name, hash] of Object.entries(this.columns)) hash.update(rows[name as keyof typeof this.columns]);
  }

  /** Of all that has been added; more may come. */
  digest(): string {
    const whole = createHash('sha256');
    for (const hash of Object.values(this.columns)) whole.update(hash.copy().digest());
    return whole.digest('hex');
  }
}
