import { join } from 'node:path';
import { METRICS_FILE, type MetricsRecord } from '../sae/training-curve.js';
import { Owners } from '../status/owners.js';
import { type RunSettings, SettingsFile } from '../status/run-settings.js';
import { type RunStanding, standingOf } from '../status/run-standing.js';
import { MOST_DIRECTORIES, search } from '../status/search.js';
import { CurveFile } from './run-files.js';

/** Interval between searches for new runs (milliseconds). */
const SEARCH_INTERVAL = 5000;

/** One run as last seen. */
export interface WatchedRun {
  readonly directory: string;
  readonly settings: RunSettings;
  readonly standing: RunStanding;
  /** The curve, thinned to less than 800 records. */
  readonly curve: readonly MetricsRecord[];
  /** The last line. */
  readonly last: MetricsRecord | undefined;
  /** Unreadable lines of metrics.jsonl. */
  readonly unreadable: number;
}

export interface Seen {
  readonly runs: readonly WatchedRun[];
  /** False if not every directory was searched. */
  readonly complete: boolean;
  /** Runs whose metrics.jsonl is not readable. */
  readonly refused: number;
  /** Changes whenever a curve, a setting or the set of runs does; not with time alone. */
  readonly version: number;
}

interface Followed {
  readonly curve: CurveFile;
  readonly settings: SettingsFile;
}

/** The runs in and below a directory, followed as they grow. Reads only when `look` is called. */
export class WatchedRuns {
  private followed = new Map<string, Followed>();
  private searched = Number.NEGATIVE_INFINITY;
  private complete = true;
  private refused = new Set<string>();
  private version = 0;
  private readonly owners = new Owners();

  /** @param now milliseconds since 1970 */
  constructor(
    private readonly root: string,
    private readonly now: () => number = Date.now,
  ) {}

  /** Reads what is new on disk. Calls must not overlap. */
  async look(): Promise<Seen> {
    // A clock that is set back must not stop the search until it has caught up.
    if (Math.abs(this.now() - this.searched) >= SEARCH_INTERVAL) await this.search();
    for (const [directory, { curve, settings }] of this.followed) {
      try {
        const changed = [await settings.update(), await curve.update()];
        if (changed.includes(true)) this.version++;
      } catch (error) {
        // The next search finds it again if it comes back.
        this.followed.delete(directory);
        this.version++;
        if (!isGone(error)) this.refused.add(directory);
      }
    }
    const runs: WatchedRun[] = [];
    for (const [directory, { curve, settings }] of this.followed) {
      const { settings: said } = settings;
      // A finished run looks the same, whoever owns it.
      const owner = said.finished ? undefined : ((await this.owners.of(directory))?.state ?? 'gone');
      runs.push({
        directory,
        settings: said,
        standing: standingOf(curve.recent, { ...said, owner }, curve.written, this.now()),
        curve: curve.curve.records(),
        last: curve.curve.last,
        unreadable: curve.unreadable,
      });
    }
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

/** Max runs to follow. */
const MOST_FOLLOWED = 500;

interface FoundRuns {
  /** Directories with a metrics.jsonl, sorted by path. */
  readonly directories: string[];
  /** False if the search was truncated. */
  readonly complete: boolean;
}

/**
 * The runs in and below a directory, nearest first. Directories below a run are not searched; symbolic links, hidden
 * and unreadable directories are skipped.
 */
export async function findRuns(
  root: string,
  { mostDirectories = MOST_DIRECTORIES, mostRuns = MOST_FOLLOWED } = {},
): Promise<FoundRuns> {
  const directories: string[] = [];
  const complete = await search(
    root,
    (directory, entries) => {
      if (!entries.some((entry) => entry.name === METRICS_FILE && entry.isFile())) return 'below';
      if (directories.length >= mostRuns) return 'stop';
      directories.push(directory);
      return 'skip';
    },
    mostDirectories,
  );
  return { directories: directories.sort(), complete };
}
