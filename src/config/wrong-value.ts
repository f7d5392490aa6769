import type { z } from 'zod';
import type { Flag } from './flags.js';
import { NUMBER_FORMS } from './number.js';
import { didYouMean, listed } from './suggest.js';

type Issue = z.core.$ZodIssue;

/** A cause and a remedy. */
export interface Sentences {
  readonly message: string;
  readonly remedy: string;
}

/**
 * What is wrong with a value, and how it could be right.
 *
 * @param issue what the schema found
 * @param where the value stands: `--tokens`, or `runs.yaml, train.tokens`
 * @param written the value as the user wrote it
 */
export function wrongValue(issue: Issue, flag: Flag, where: string, written: unknown, stage: string): Sentences {
  const help = `It is ${flag.description.split(/[;[(]/)[0]!.trim()}; see sae-pipe ${stage} --help.`;
  const value = shown(written);
  const is = (message: string, remedy = help): Sentences => ({ message: `${where}: ${value} ${message}.`, remedy });
  if (issue.code === 'invalid_value') {
    const choices = issue.values.map(String);
    const near = typeof written === 'string' ? didYouMean(written, choices) : undefined;
    return is(`is not one of ${listed(choices, 'or')}`, near);
  }
  if (issue.code === 'invalid_type') {
    if (issue.expected === 'int') return is('is not a whole number');
    if (issue.expected === 'number') return is('is not a number', `Write it like ${NUMBER_FORMS}.`);
    if (issue.expected === 'boolean') return is('is neither true nor false', 'Write true or false.');
    return is('is not a text', 'Write one value, in quotes if need be.');
  }
  if (issue.code === 'too_small' || issue.code === 'too_big') {
    if (issue.origin === 'array') return { message: `${where} has no value.`, remedy: help };
    if (issue.origin === 'string') return { message: `${where} is empty.`, remedy: help };
    return is(`is too ${issue.code === 'too_small' ? 'small' : 'large'}; ${bound(issue)}`);
  }
  return { message: `${where}: ${value} does not fit; ${issue.message}.`, remedy: help };
}

/** The bound that a number breaks. */
function bound(issue: Extract<Issue, { code: 'too_small' | 'too_big' }>): string {
  if (issue.code === 'too_small')
    return issue.inclusive ? `the least is ${issue.minimum}` : `it must be above ${issue.minimum}`;
  return issue.inclusive ? `the most is ${issue.maximum}` : `it must be below ${issue.maximum}`;
}

/** Longest text that is quoted in full. */
const LONGEST = 60;

/** A value as a word of a sentence, whatever a file has put there. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value === null || value === undefined) return 'nothing';
  return Array.isArray(value) ? 'a list' : 'a mapping';
}
