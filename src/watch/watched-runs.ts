import { join } from 'node:path';
import { METRICS_FILE, type MetricsRecord } from '../train/metrics-record.js';
import { CurveFile } from './curve-file.js';
import { findRuns } from './find-runs.js';
import { type RunSettings, SettingsFile } from './run-settings.js';
import { type Standing, standingOf } from './standing.js';

/** New runs are looked for as often (milliseconds). */
const SEARCH_INTERVAL = 5000;

/** One run as it was last seen. */
export interface Run {
  readonly directory: string;
  readonly settings: RunSettings;
  readonly standing: Standing;
  /** The curve, thinned to less than 800 records. */
  readonly curve: readonly MetricsRecord[];
  /** The newest line. */
  readonly last: MetricsRecord | undefined;
  /** Lines of metrics.jsonl that could not be read. */
  readonly unreadable: number;
}

export interface Seen {
  readonly runs: readonly Run[];
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
