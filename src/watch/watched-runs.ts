import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { secondsLeft } from '../progress/progress.js';
import { METRICS_FILE, type MetricsRecord } from '../sae/training-curve.js';
import { CurveFile, type RunSettings, SettingsFile } from './run-files.js';

/** New runs are looked for as often (milliseconds). */
const SEARCH_INTERVAL = 5000;

/** One run as it was last seen. */
export interface WatchedRun {
  readonly directory: string;
  readonly settings: RunSettings;
  readonly standing: RunStanding;
  /** The curve, thinned to less than 800 records. */
  readonly curve: readonly MetricsRecord[];
  /** The newest line. */
  readonly last: MetricsRecord | undefined;
  /** Lines of metrics.jsonl that could not be read. */
  readonly unreadable: number;
}

export interface Seen {
  readonly runs: readonly WatchedRun[];
  /** False where not every directory was looked into. */
  readonly complete: boolean;
  /** Runs whose metrics.jsonl may not be read. */
  readonly refused: number;
  /** Another number whenever a curve, a setting or the set of runs has changed; time alone does not change it. */
  readonly version: number;
}

interface Followed {
  readonly curve: CurveFile;
  readonly settings: SettingsFile;
}

/** The runs in and below a directory, followed as they grow. Nothing is read but when `look` is called. */
export class WatchedRuns {
  private followed = new Map<string, Followed>();
  private searched = Number.NEGATIVE_INFINITY;
  private complete = true;
  private refused = new Set<string>();
  private version = 0;

  /** @param now milliseconds since 1970 */
  constructor(
    private readonly root: string,
    private readonly now: () => number = Date.now,
  ) {}

  /** Takes in what is new on disk. Not to be called again before it is done. */
  async look(): Promise<Seen> {
    // A clock that was set back must not stop the search until it has caught up.
    if (Math.abs(this.now() - this.searched) >= SEARCH_INTERVAL) await this.search();
    for (const [directory, { curve, settings }] of this.followed) {
      try {
        const changed = [await settings.update(), await curve.update()];
        if (changed.includes(true)) this.version++;
      } catch (error) {
        // The next search finds it again where it comes back.
        this.followed.delete(directory);
        this.version++;
        if (!isGone(error)) this.refused.add(directory);
      }
    }
    const runs = [...this.followed].map(
      ([
        directory,
        {
          curve,
          settings: { settings },
        },
      ]) => ({
        directory,
        settings,
        standing: standingOf(curve.recent, settings, curve.written, this.now()),
        curve: curve.curve.records(),
        last: curve.curve.last,
        unreadable: curve.unreadable,
      }),
    );
    return { runs, complete: this.complete, refused: this.refused.size, version: this.version };
  }

  private async search(): Promise<void> {
    const { directories, complete } = await findRuns(this.root);
    this.complete = complete;
    this.refused.clear();
    const before = this.followed;
    this.followed = new Map(
      directories.map((directory) => [directory, before.get(directory) ?? follow(directory)] as const),
    );
    if (before.size !== this.followed.size || directories.some((directory) => !before.has(directory))) this.version++;
    this.searched = this.now();
  }
}

const isGone = (error: unknown) => ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

function follow(directory: string): Followed {
  return { curve: new CurveFile(join(directory, METRICS_FILE)), settings: new SettingsFile(directory) };
}

/** Most directories that are looked into: someone may watch a whole home directory. */
const MOST_DIRECTORIES = 5000;
/** Most runs that are followed. */
const MOST_FOLLOWED = 500;

interface FoundRuns {
  /** Directories with a metrics.jsonl, in the order of their paths. */
  readonly directories: string[];
  /** False where there was more than is looked into. */
  readonly complete: boolean;
}

/**
 * The runs in and below a directory, nearer ones first found. Nothing is looked for below a run; symbolic links, hidden
 * directories and those that may not be read are passed over.
 */
export async function findRuns(
  root: string,
  { mostDirectories = MOST_DIRECTORIES, mostRuns = MOST_FOLLOWED } = {},
): Promise<FoundRuns> {
  const directories: string[] = [];
  const queue = [root];
  // The loop reaches what it appends.
  for (const directory of queue) {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    if (entries.some((entry) => entry.name === METRICS_FILE && entry.isFile())) {
      if (directories.length >= mostRuns) return { directories: directories.sort(), complete: false };
      directories.push(directory);
      continue;
    }
    for (const entry of entries) {
      if (!entry.isDirectory() || entry.name.startsWith('.') || entry.name === 'node_modules') continue;
      if (queue.length >= mostDirectories) return { directories: directories.sort(), complete: false };
      queue.push(join(directory, entry.name));
    }
  }
  return { directories: directories.sort(), complete: true };
}

/** A run is stalled when it has been silent for this many times the interval of its lines, */
const TIMES = 5;
/** and for at least this many seconds: file systems of clusters show changes late. */
const LEAST_SILENCE = 60;
/** Before its first line nobody knows how long lines take (seconds). */
const FIRST_LINE = 600;

/** How a run stands. */
export interface RunStanding {
  readonly state: 'running' | 'stalled' | 'finished';
  /** Steps done. */
  readonly step: number;
  /** Steps of the whole run, where it is known. */
  readonly steps: number | undefined;
  /** Activations a second over the last lines; undefined without lines. */
  readonly rate: number | undefined;
  /** Seconds; undefined where it cannot be told. */
  readonly left: number | undefined;
  /** Seconds since metrics.jsonl was written. */
  readonly silence: number;
}

/**
 * @param recent the last lines of the curve, in order
 * @param written when metrics.jsonl was last written, in milliseconds, as `now`
 */
export function standingOf(
  recent: readonly MetricsRecord[],
  { finished, steps }: { finished: boolean; steps?: number },
  written: number,
  now: number,
): RunStanding {
  const last = recent.at(-1);
  const step = last?.step ?? 0;
  const silence = Math.max(0, (now - written) / 1000);
  const stretches = stretchesOf(recent);
  const longest = Math.max(...stretches.map(({ seconds }) => seconds));
  const patience = last === undefined ? FIRST_LINE : Math.max(LEAST_SILENCE, TIMES * longest);
  const state = finished ? 'finished' : silence > patience ? 'stalled' : 'running';
  // The mean over all of them, not the mean of their rates.
  const total = (key: 'tokens' | 'seconds') => stretches.reduce((sum, stretch) => sum + stretch[key], 0);
  const rate = stretches.length > 0 ? total('tokens') / total('seconds') : undefined;
  const known = state === 'running' && last !== undefined && steps !== undefined && rate !== undefined;
  const left = known ? secondsLeft((steps - step) * (last.tokens / step), rate) : undefined;
  return { state, step, steps, rate, left, silence };
}

/** What lies between the lines; of a single one, what lies before it. Lines without a speed are left out. */
function stretchesOf(recent: readonly MetricsRecord[]): { tokens: number; seconds: number }[] {
  const from = recent.length === 1 ? [0] : recent.map(({ tokens }) => tokens);
  const lines = recent.length === 1 ? recent : recent.slice(1);
  return lines
    .map((line, i) => ({ tokens: line.tokens - from[i]!, rate: line.tokens_per_second }))
    .filter(({ rate }) => rate > 0)
    .map(({ tokens, rate }) => ({ tokens, seconds: tokens / rate }));
}
