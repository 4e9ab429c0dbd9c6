/** `cfs-info top`: what a mount does now. */

import { setTimeout as sleep } from 'node:timers/promises';
import { isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import { jsonOf } from '../../src/base/json-text.ts';
import { pathText } from '../../src/base/path-text.ts';
import type { MountActivity } from '../../src/mount/mount-statistics.ts';
import type { Problem } from '../../src/mount/problem-memory.ts';
import { errnoText } from '../../src/system/libc.ts';
import { Screen } from '../screen.ts';
import { type Rates, ratesBetween } from './mount-activity.ts';
import { cfsMounts } from './mounts.ts';
import type { Output } from './output.ts';
import { privateXattr } from './private-xattr.ts';
import { mountpointOrPath } from './stats.ts';
import { lineOf, screenOf } from './top-text.ts';

export interface TopOptions {
  /** Milliseconds between two looks. */
  readonly interval: number;
  /** How often to report. */
  readonly count: number;
  readonly json: boolean;
}

/**
 * Reports again and again: one screen on a terminal, else a line each time.
 * @param path any path in the mount; undefined for the only mount of this machine
 * @throws CfsError: `usage` if that is no mount of cfs, `system` if it ends meanwhile; InterruptedError on a terminal
 */
export async function showTop(path: string | undefined, options: TopOptions, out: Output): Promise<void> {
  const mountpoint = path === undefined ? onlyMount() : mountpointOrPath(path);
  const first = look(mountpoint, path ?? pathText(mountpoint));
  if (!options.json && process.stdout.isTTY) await showScreen(mountpoint, first, options);
  else await showLines(mountpoint, first, options, out);
}

function onlyMount(): Buffer {
  const mounts = cfsMounts();
  const [only, ...others] = mounts;
  if (only === undefined) throw new CfsError('usage', 'nothing is mounted');
  if (others.length > 0) {
    const places = mounts.map(({ mountpointBytes }) => pathText(mountpointBytes)).join(', ');
    throw new CfsError('usage', `MOUNT is missing, and there are several mounts: ${places}`);
  }
  return Buffer.from(only.mountpointBytes);
}

/** One look at a mount. */
interface Look {
  readonly activity: MountActivity;
  /** Milliseconds on a clock that only goes forward. */
  readonly at: number;
}

/** @param shown the path, for messages */
function look(mountpoint: Buffer, shown: string, isFirst = true): Look {
  const value = privateXattr(mountpoint, 'activity');
  if (!isErrno(value)) return { activity: JSON.parse(value) as MountActivity, at: performance.now() };
  if (!isFirst) throw new CfsError('system', `${shown} does not answer any more: ${errnoText(value)}`);
  const isOld = !isErrno(privateXattr(mountpoint, 'statistics'));
  throw new CfsError(
    'usage',
    isOld
      ? `the server of ${shown} is an older version, which cannot be watched. 'cfs-mount --upgrade ${shown}' starts this one.`
      : `${shown} is not in a mount of cfs`,
  );
}

/** Those that this user may see, the oldest first. */
function problemsOf(mountpoint: Buffer): readonly Problem[] {
  const value = privateXattr(mountpoint, 'log');
  return isErrno(value) ? [] : (JSON.parse(value) as Problem[]);
}

const now = (): string => new Date().toISOString();

async function showLines(
  mountpoint: Buffer,
  first: Look,
  { interval, count, json }: TopOptions,
  out: Output,
): Promise<void> {
  let before = first;
  for (let i = 0; i < count; i++) {
    await sleep(interval);
    const next = look(mountpoint, pathText(mountpoint), false);
    const rates = ratesBetween(before.activity, next.activity, next.at - before.at);
    before = next;
    out.text(json ? `${jsonOf(jsonOfRates(mountpoint, rates))}\n` : `${lineOf(rates, now().slice(11, 19))}\n`);
    out.flush();
  }
}

async function showScreen(mountpoint: Buffer, first: Look, { interval, count }: TopOptions): Promise<void> {
  const screen = new Screen();
  try {
    let before = first;
    let rates = ratesBetween(first.activity, first.activity, interval);
    for (let shown = 0; ; shown++) {
      // the first screen, with zeros, says that the mount is watched
      if (shown > count) return;
      const content = { mountpoint: pathText(mountpoint), time: now().slice(11, 19), rates };
      const draw = (): void => screen.draw(screenOf({ ...content, lastProblems: problemsOf(mountpoint) }, screen.size));
      draw();
      let woken = await screen.wait(shown === count ? 0 : interval);
      while (woken === 'stale') {
        draw();
        woken = await screen.wait(interval);
      }
      if (woken === 'quit') return;
      const next = look(mountpoint, pathText(mountpoint), false);
      rates = ratesBetween(before.activity, next.activity, next.at - before.at);
      before = next;
    }
  } finally {
    screen.close();
  }
}

const PROBLEMS_IN_JSON = 5;

/** One line of --json. */
function jsonOfRates(mountpoint: Buffer, rates: Rates): object {
  const { hits, median, slowest, ...others } = rates;
  const lastProblems = problemsOf(mountpoint)
    .slice(-PROBLEMS_IN_JSON)
    .map(({ time, severity, message }) => ({ time, severity, message }));
  return {
    time: now(),
    mountpoint: pathText(mountpoint),
    ...others,
    hits: hits ?? null,
    median: median ?? null,
    slowest: slowest ?? null,
    lastProblems,
  };
}
