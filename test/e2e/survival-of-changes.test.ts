/** A server takes over although files that it needs were overwritten, moved, or are missing for a while. */
import {
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { isSealedMemfd } from '../../src/system/memfd.ts';
import { codeOf } from '../support/suites/filesystem-subject.ts';
import { type Mounted, type MountReport, type MountSettings, useScratch } from './harness.ts';
import { HERE, succeed } from './run.ts';
import { isAlive, serverIn, until } from './system.ts';

const scratch = useScratch();

let image: string;
let other: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (let i = 0; i < 3000; i++) writeFileSync(join(source, `file-${i}`), `${i}`);
  writeFileSync(join(source, 'large'), 'large file '.repeat(100_000));
  image = (await scratch.pack(source)).image;
  writeFileSync(join(source, 'another'), 'another');
  other = (await scratch.pack(source)).image;
});

/** Kills the server; the mount must answer again, with another server. */
async function expectSuccessor(mounted: Mounted): Promise<void> {
  const server = serverIn(mounted.pid) as number;
  process.kill(server, 'SIGKILL');
  await until('it has ended', () => !isAlive(server));
  expectServed(mounted);
  expect(serverIn(mounted.pid)).not.toBe(server);
}

function expectServed(mounted: Mounted): void {
  expect(readdirSync(mounted.path)).toHaveLength(3001);
  expect(readFileSync(mounted.at('large'), 'latin1')).toHaveLength(1_100_000);
}

/** The path of the server's descriptor of its copy of the image. */
function copyOf(pid: number): string {
  const directory = `/proc/${pid}/fd`;
  const fd = readdirSync(directory).find((name) => readlinkSync(`${directory}/${name}`).includes('cfs-image'));
  return `${directory}/${fd}`;
}

/** Waits until the copy of an image is complete and sealed: a server uses no other. */
async function untilKept(pid: number): Promise<void> {
  await until('it is copied and sealed', () => {
    const fd = openSync(copyOf(pid), 'r');
    const isSealed = isSealedMemfd(fd);
    closeSync(fd);
    return isSealed;
  });
  expect(readFileSync(copyOf(pid)).equals(readFileSync(image))).toBe(true);
}

const overwriting: readonly (readonly [string, (path: string) => unknown])[] = [
  ['cp', (path) => succeed(['cp', other, path])],
  ['truncate', (path) => truncateSync(path, 10)],
  ['dd', (path) => succeed(['dd', 'if=/dev/zero', `of=${path}`, 'conv=notrunc', 'bs=4096', 'count=1', 'status=none'])],
];

describe.each(overwriting)('an image that is overwritten by %s', (name, overwrite) => {
  test('is not needed to continue, by an upgrade or another server', async () => {
    const own = scratch.at(`${name}.cfs`);
    copyFileSync(image, own);
    const log = scratch.at(`${name}.log`);
    const mounted = await scratch.mount(own, { args: ['--log', log] });
    expect(readFileSync(copyOf(mounted.pid)), 'nobody writes: no memory is used').toHaveLength(0);
    await overwrite(own);
    expect(readFileSync(copyOf(mounted.pid)).equals(readFileSync(image))).toBe(true);
    expectServed(mounted);
    const { status, stderr } = await scratch.tool('cfs-mount', ['--upgrade', mounted.path]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expectServed(mounted);
    await expectSuccessor(mounted);
    await expectSuccessor(mounted);
    expect(readFileSync(log, 'utf8')).not.toContain('cannot');
    await mounted.unmount();
  });
});

test('an image is overwritten while its server is being replaced, and a writer waits no longer than that', async () => {
  const own = scratch.at('replaced.cfs');
  copyFileSync(image, own);
  const mounted = await scratch.mount(own);
  const server = mounted.pid;
  process.kill(server, 'SIGKILL');
  await succeed(['cp', other, own]);
  expectServed(mounted);
  await expectSuccessor(mounted);
});

test('an image that another process has open for writing is copied at once', async () => {
  const own = scratch.at('open for writing.cfs');
  copyFileSync(image, own);
  const fd = openSync(own, 'r+');
  try {
    const mounted = await scratch.mount(own);
    await untilKept(mounted.pid);
    writeSync(fd, 'nothing of an image', 0);
    await expectSuccessor(mounted);
  } finally {
    closeSync(fd);
  }
});

test('the image of an ordinary user, and the one of root that he mounts, are kept, too', async () => {
  const own = scratch.at('of root.cfs');
  copyFileSync(image, own);
  const at = scratch.directory('mnt of nobody');
  await succeed(['chown', '65534', at]);
  const mounted = await scratch.mount(own, { place: scratch.nobody(), helper: true, at });
  await untilKept(mounted.pid);
  copyFileSync(other, own);
  const server = serverIn(mounted.pid) as number;
  process.kill(server, 'SIGKILL');
  await until('it has ended', () => !isAlive(server));
  expect((await succeed(scratch.nobody().command('ls', at))).trim().split('\n')).toHaveLength(3001);
  await mounted.end();
});

test('cfs-mount --upgrade keeps the current server if the image cannot be read any more', async () => {
  const own = scratch.at('lost.cfs');
  copyFileSync(image, own);
  const mounted = await scratch.mount(own);
  const server = serverIn(mounted.pid) as number;
  const leaseTime = '/proc/sys/fs/lease-break-time';
  const before = readFileSync(leaseTime, 'latin1');
  // a writer does not wait without end for a stopped server
  process.kill(server, 'SIGSTOP');
  writeFileSync(leaseTime, '1');
  try {
    await succeed(['cp', other, own]);
  } finally {
    writeFileSync(leaseTime, before);
    process.kill(server, 'SIGCONT');
  }
  const { status, stderr } = await scratch.tool('cfs-mount', ['--upgrade', mounted.path]);
  expect({ status, stderr }).toEqual({
    status: 32,
    stderr: expect.stringMatching(/so the old one was left.*its id is/),
  });
  expect(isAlive(server)).toBe(true);
  expectServed(mounted);
});

test('two upgrades at once both report the server that continues', async () => {
  const mounted = await scratch.mount(image);
  const outcomes = await Promise.all([1, 2, 3].map(() => scratch.tool('cfs-mount', ['--upgrade', mounted.path])));
  for (const { status, stdout, stderr } of outcomes) {
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: expect.stringMatching(/->/), stderr: '' });
  }
  expectServed(mounted);
});

/** A mount whose supervisor gives up after `seconds`. */
async function mountWithPatience(
  seconds: number,
  settings: MountSettings & { readonly log: string },
): Promise<Mounted> {
  const environment = { ...scratch.environment, CFS_GIVE_UP_SECONDS: String(seconds) };
  const at = scratch.directory('mnt');
  const place = settings.place ?? HERE;
  const command = place.tool(
    'cfs-mount',
    ['--json', '--log', settings.log, '--repo', scratch.store, image, at],
    environment,
  );
  return scratch.adopt(JSON.parse(await succeed(command)) as MountReport, settings);
}

test('a mount is never given up because servers that answered are killed', async () => {
  const log = scratch.at('quick.log');
  const mounted = await mountWithPatience(1, { log });
  for (let i = 0; i < 11; i++) await expectSuccessor(mounted);
  expect(readFileSync(log, 'utf8')).not.toContain('given up');
  await mounted.unmount();
});

test('a mount is given up if no server answers for long, and its log says so', async () => {
  const log = scratch.at('given up.log');
  const mounted = await mountWithPatience(1, { log });
  while (mounted.isMounted) {
    // or the process with which the supervisor waits, between two servers
    const server = serverIn(mounted.pid);
    if (server !== undefined) expect(['no error', 'ESRCH']).toContain(codeOf(() => process.kill(server, 'SIGKILL')));
    await sleep(10);
  }
  await mounted.expectGone();
  expect(readFileSync(log, 'utf8')).toMatch(
    /cfs-supervisor\[\d+\]: .*two servers ended before they answered.*status 137/,
  );
  expect(readFileSync(log, 'utf8')).toMatch(/cfs-supervisor\[\d+\]: .*given up, the mount is taken away/);
});
