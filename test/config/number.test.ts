import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNumber } from '../../src/config/values.js';

test('numbers with separators and suffixes are parsed exactly', () => {
  const known: Record<string, number> = {
    ...{ '0': 0, '007': 7, '-3': -3, '+3': 3, '.5': 0.5, '1.50': 1.5, ' 8 ': 8, '500_000': 500_000 },
    ...{ '1e6': 1e6, '3E-4': 3e-4, '1.5e+2': 150, '2.5k': 2500, '2K': 2000, '1M': 1e6, '0.5M': 5e5, '3G': 3e9 },
    ...{ '2B': 2e9, '1T': 1e12, '64Ki': 65_536, '64ki': 65_536, '1.5Mi': 1.5 * 2 ** 20, '1Gi': 2 ** 30 },
    // Through a product of floats, these would be 1004.9999999999999 and 4350.000000000001.
    ...{ '1.005k': 1005, '4.35k': 4350 },
  };
  for (const [text, value] of Object.entries(known)) assert.equal(parseNumber(text), value, text);
});

test('what is not a number is refused', () => {
  for (const text of [
    ...['', ' ', 'many', '1x', '1m', '1 M', '1MM', 'M', '1_', '_1', '1__0', '1,000', '1.', '0x10', '0b1', '1e', 'e5'],
    ...['1e5k', '1e999', '9e999', 'Infinity', '-Infinity', 'NaN', '--1', '1-', '1e1.5', '1kk', '1kib', '１'],
  ]) {
    assert.equal(parseNumber(text), undefined, text);
  }
});
