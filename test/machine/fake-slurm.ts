import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from '../temporary.js';

/** Commands of Slurm by name, each the body of a shell script; those not named are not there. */
export type FakeSlurm = Readonly<Partial<Record<'squeue' | 'sacct' | 'scontrol', string>>>;

/** What `scontrol show config` says on a cluster. */
export const onCluster = (name: string) => `echo 'Configuration data'; echo 'ClusterName             = ${name}'`;
/** Never answers. */
export const HANGS = 'exec sleep 600';
/** What a controller says of a job that it has forgotten. */
export const FORGOTTEN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1";

/** A directory of fake commands of Slurm. */
export function fakeSlurm(t: TestContext, commands: FakeSlurm): string {
  const bin = join(temporaryDirectory(t), 'bin');
  mkdirSync(bin);
  for (const [name, body] of Object.entries(commands)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return bin;
}

/**
 * Puts fake commands of Slurm in the way of this process, and no job around it, until the test ends. Those that are not
 * given fail, whatever the machine has.
 */
export function withSlurm(t: TestContext, commands: FakeSlurm): void {
  const before = { ...process.env };
  const bin = fakeSlurm(t, { squeue: 'exit 127', sacct: 'exit 127', scontrol: 'exit 127', ...commands });
  process.env.PATH = [bin, process.env.PATH].join(delimiter);
  const ofJob = Object.keys(process.env).filter((name) => name.startsWith('SLURM_'));
  for (const name of ofJob) delete process.env[name];
  t.after(() => {
    for (const name of ['PATH', ...ofJob]) process.env[name] = before[name];
  });
}
