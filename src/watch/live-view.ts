import { createHash } from 'node:crypto';
import { basename, relative, resolve } from 'node:path';
import { duration } from '../progress/progress.js';
import { distinct, entriesOf, type Placed, type Subject } from '../report/entries.js';
import { inlineMarker, lineColour } from '../report/family-styles.js';
import { compact, counted, fixed, integer, MISSING, percent } from '../report/numbers-and-axes.js';
import { type Markup, markup } from '../report/page.js';
import { thinned } from '../report/thinned-curve.js';
import { trainingCurvesFigure } from '../report/training-curves.js';
import type { RunStanding } from '../status/run-standing.js';
import type { Seen, WatchedRun, WatchedRuns } from './watched-runs.js';

/** Min time between redraws (milliseconds), */
const FRESH = 1000;
/** or a multiple of the time it took to draw: however many runs there are, most of the CPU time is left to them. */
const TIMES = 5;

/** The part of the page that changes, at one point in time. */
export interface PageView {
  readonly html: string;
  /** Changes whenever `html` does. */
  readonly tag: string;
}

/** Draws the watched runs on request, once for all clients that ask at about the same time. */
export class LiveView {
  private view: Promise<PageView> | undefined;
  private staleAt = 0;
  private curves: { version: number; drawn: Markup | null } | undefined;

  constructor(
    private readonly runs: WatchedRuns,
    private readonly root: string,
    private readonly fresh = FRESH,
  ) {}

  current(): Promise<PageView> {
    if (this.view === undefined || performance.now() >= this.staleAt) {
      // Only one draw at a time.
      this.staleAt = Number.POSITIVE_INFINITY;
      const began = performance.now();
      this.view = this.draw().finally(() => {
        const ended = performance.now();
        this.staleAt = ended + Math.max(this.fresh, TIMES * (ended - began));
      });
    }
    return this.view;
  }

  private async draw(): Promise<PageView> {
    const seen = await this.runs.look();
    if (this.curves?.version !== seen.version) {
      this.curves = { version: seen.version, drawn: runCurves(seen.runs, this.root) };
    }
    const html = liveFragment(seen, this.root, this.curves.drawn).text;
    return { html, tag: `"${createHash('sha256').update(html).digest('hex').slice(0, 32)}"` };
  }
}

/** Max runs whose curves are drawn. */
export const MOST_DRAWN = 100;
/** With more runs than this, curves come first: the table is longer than a screen. */
const SHORT_TABLE = 8;
/** Approximate total points of all lines in a panel; a line has 50 to 400. */
const POINTS = 9600;

/** A run on the page: the subject of its entry. */
interface Shown extends Subject {
  readonly run: WatchedRun;
}

/** Identity of a run, as in cfg.json. */
function recordOf({ settings: { own, train, l1, dSae } }: WatchedRun): Record<string, unknown> {
  return { ...own, train, ...(l1 === undefined ? {} : { l1 }), ...(dSae === undefined ? {} : { d_sae: dSae }) };
}

/** Sorts the runs by hook, architecture and name, an order that stays as they grow. */
function entriesOfRuns(runs: readonly WatchedRun[], root: string): Placed<Shown>[] {
  return entriesOf(
    runs.map((run) => ({
      record: {
        run,
        sae: relative(root, run.directory) || basename(resolve(root)),
        architecture: run.settings.architecture ?? 'unknown',
        hook: run.settings.hook ?? 'unknown hook',
        model: run.settings.model ?? 'unknown model',
        l0: Number.NaN,
        cfg: { metadata: { sae_pipe: recordOf(run) } },
      },
      curve: run.curve,
    })),
  );
}

const STATES = ['running', 'stalled', 'stopped', 'finished'] as const;

/** The common hook of all runs that give one; undefined if they have several. */
function commonHook(runs: readonly WatchedRun[]): string | undefined {
  const hooks = distinct(runs.map(({ settings }) => settings.hook).filter((hook) => hook !== undefined));
  return hooks.length === 1 ? hooks[0] : undefined;
}

function runsSummary({ runs, complete, refused }: Seen): Markup {
  const states = STATES.map((state) => [state, runs.filter(({ standing }) => standing.state === state).length] as const)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${integer(count)} ${state}`);
  const hook = commonHook(runs);
  const at = hook === undefined ? '' : ` at ${hook}`;
  const counts =
    runs.length === 0
      ? 'No run yet: waiting for a metrics.jsonl.'
      : runs.length === 1
        ? `One run${at}, ${runs[0]!.standing.state}.`
        : `${counted(runs.length, 'run')}${at}: ${states.join(', ')}.`;
  const more = complete ? '' : ' This directory contains more than is shown: watch a part of it.';
  const unread = refused > 0 ? ` The metrics.jsonl of ${counted(refused, 'run')} is not readable.` : '';
  return markup`<p class="summary">${counts}${more}${unread}</p>`;
}

/** Minutes and hours only: seconds would change the page all the time. */
function silenceOf(seconds: number): string {
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : duration(seconds);
}

function stateCell({ state, silence }: RunStanding): Markup {
  const since = state === 'stalled' ? markup`<span class="unit">silent for ${silenceOf(silence)}</span>` : null;
  return markup`<td class="state ${state}">${state}${since}</td>`;
}

function stepCell({ step, steps }: RunStanding): Markup {
  const bar = steps === undefined ? null : markup`<progress max="${steps}" value="${step}"></progress>`;
  return markup`<td class="number" data-value="${String(step)}">${integer(step)}${steps === undefined ? '' : ` of ${integer(steps)}`}${bar}</td>`;
}

/** Sort key for the page's script; empty for a missing value, which stays last. */
const sortable = (value: number | undefined) => (value !== undefined && Number.isFinite(value) ? String(value) : '');

/** Location and kind of a run, as far as its name and directory do not already show them. */
function kindOf(
  { settings: { architecture, dSae, l1, hook }, unreadable }: WatchedRun,
  sae: string,
  name: string,
  common: string | undefined,
): string {
  const said = (word: string) => `${sae} ${name}`.includes(word);
  const parts = [
    sae,
    architecture === undefined || said(architecture) ? undefined : architecture,
    dSae === undefined || said(`d-sae-${dSae}`) ? undefined : `${integer(dSae)} features`,
    l1 === undefined || name.includes('λ') ? undefined : `λ\u00a0${compact(l1)}`,
    hook === undefined || hook === common || said(hook) ? undefined : hook,
    unreadable > 0 ? `${counted(unreadable, 'line')} of metrics.jsonl could not be read` : undefined,
  ];
  return parts.filter((part) => part !== undefined).join(' · ');
}

function runRow({ index, name, style, tone, record: { sae, run } }: Placed<Shown>, common: string | undefined): Markup {
  const { standing, last } = run;
  const measured = (value: number | null | undefined, text: (value: number) => string) =>
    [value ?? undefined, text(value ?? Number.NaN)] as const;
  const numbers = [
    [standing.rate, standing.rate === undefined ? MISSING : compact(standing.rate)] as const,
    [standing.left, standing.left === undefined ? MISSING : duration(standing.left)] as const,
    measured(last?.l0, (value) => fixed(value, 1)),
    measured(last?.explained_variance, (value) => fixed(value, 3)),
    measured(last?.loss, compact),
    measured(last?.dead_fraction, (value) => percent(value, 1)),
  ];
  const cells = numbers.map(([value, text]) => markup`<td class="number" data-value="${sortable(value)}">${text}</td>`);
  const marker = inlineMarker(style, tone === null ? undefined : lineColour({ style, tone }));
  return markup`<tr data-sae="${index}"><th scope="row" title="${sae}">${marker}${name}<span class="kind">${kindOf(run, sae, name, common)}</span></th>${stateCell(standing)}${stepCell(standing)}${cells}</tr>
`;
}

const HEADS = [
  ['Step', ''],
  ['Rate', 'activations/s'],
  ['Time left', ''],
  ['L0', 'per token'],
  ['Explained variance', ''],
  ['Loss', ''],
  ['Dead', '%'],
] as const;

function runTable(entries: readonly Placed<Shown>[]): Markup {
  const common = commonHook(entries.map(({ record }) => record.run));
  const heads = HEADS.map(
    ([title, unit]) =>
      markup`<th scope="col" class="number"><span class="title">${title}</span><span class="unit">${unit}</span></th>`,
  );
  return markup`<div class="scroll" tabindex="0" role="region" aria-label="Runs"><table class="runs">
<thead><tr><th scope="col"><span class="title">Run</span></th><th scope="col"><span class="title">State</span></th>${heads}</tr></thead>
<tbody>${entries.map((entry) => runRow(entry, common))}</tbody>
</table></div>`;
}

/** The runs whose curves are drawn, most recently updated first; the more there are, the fewer points each. */
export function drawnEntries(runs: readonly WatchedRun[], root: string): Placed<Shown>[] {
  const begun = entriesOfRuns(runs, root).filter(({ curve }) => curve.length > 0);
  const newest = [...begun].sort((a, b) => a.record.run.standing.silence - b.record.run.standing.silence);
  const drawn = new Set(newest.slice(0, MOST_DRAWN));
  const points = Math.max(50, Math.min(400, Math.floor(POINTS / drawn.size)));
  return begun.filter((entry) => drawn.has(entry)).map((entry) => ({ ...entry, curve: thinned(entry.curve, points) }));
}

/** The curves of the runs; null if there are none yet. */
export function runCurves(runs: readonly WatchedRun[], root: string): Markup | null {
  const figure = trainingCurvesFigure(drawnEntries(runs, root));
  if (figure === null) return null;
  const begun = runs.filter(({ curve }) => curve.length > 0).length;
  const some =
    begun <= MOST_DRAWN ? '' : ` Of ${integer(begun)} runs, the ${MOST_DRAWN} most recently updated are drawn.`;
  return markup`<figure><div class="scroll" tabindex="0" role="region" aria-label="Training curves">${figure}</div>
<figcaption>Against activations seen. Values are means over the steps since the line of metrics.jsonl before, except dead features and learning rate, which are as they stood; long curves are averaged over consecutive lines. Loss is on normalised activations, and not comparable between architectures nor between sparsity coefficients.${some}</figcaption></figure>
`;
}

/**
 * The part of the page that changes.
 *
 * @param root the watched directory
 * @param curves result of runCurves for these runs
 */
export function liveFragment(seen: Seen, root: string, curves: Markup | null): Markup {
  const entries = entriesOfRuns(seen.runs, root);
  const rows = entries.length > 0 ? runTable(entries) : null;
  return markup`${runsSummary(seen)}
${entries.length > SHORT_TABLE ? [curves, rows] : [rows, curves]}`;
}
