/** A root file system of Debian, for tests with real programs. */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.ts';

/** Made by hand or by an earlier run, because it takes a minute. */
const PREPARED = '/var/tmp/rootfs';
const CACHE = '/var/tmp/cfs-rootfs-cache';
const PACKAGES = 'python3,gcc,libc6-dev,make,git,perl';
const TIMEOUT_MS = 9 * 60_000;

/** The directory of a root file system of Debian 12 with these packages, which must not be changed. */
export async function debianTree(): Promise<string> {
  const finished = join(CACHE, 'rootfs');
  const existing = (): string | undefined => [PREPARED, finished].find((path) => existsSync(join(path, 'usr/bin/gcc')));
  const found = existing();
  if (found !== undefined) return found;
  mkdirSync(CACHE, { recursive: true });
  const unfinished = join(CACHE, `unfinished-${process.pid}`);
  rmSync(unfinished, { recursive: true, force: true });
  const command = ['debootstrap', '--variant=minbase', `--include=${PACKAGES}`, 'bookworm', unfinished];
  const { status, stdout } = await run(command, { timeoutMs: TIMEOUT_MS });
  if (status !== 0) throw new Error(`debootstrap failed with status ${status}:\n${stdout.slice(-2000)}`);
  // complete or missing: an interrupted run leaves nothing that a later run would use
  try {
    renameSync(unfinished, finished);
  } catch (error) {
    // another test was faster
    if (existing() === undefined) throw error;
    rmSync(unfinished, { recursive: true });
  }
  return finished;
}
