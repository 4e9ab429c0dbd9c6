/**
 * Root works with a store that another user owns and has prepared: nothing outside the store is created, changed or
 * deleted, and nothing waits. And the reverse: a user that may only read root's store delays no other.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { manyFiles, objectsIn } from './cli.ts';
import { useScratch } from './harness.ts';
import { asUser, NOBODY, type Outcome, run, succeed } from './run.ts';

const scratch = useScratch();
const OWNER = 12345;
let serial = 0;
let store: string;
let image: string;
let source: string;
let outside: string;

const repo = (...args: readonly string[]): string[] => [process.execPath, 'dist/tools/cfs-repo.js', ...args];
/** Root trusts the store, so that only the store's own protection is left. */
const trusting = (command: readonly string[]): Promise<Outcome> =>
  run(command, { env: { ...process.env, CFS_SAFE_STORES: store } });

beforeEach(async () => {
  serial++;
  store = scratch.at(`store-${serial}`);
  outside = scratch.directory('outside');
  source = manyFiles(scratch.at(`source-${serial}`), 6, 600);
  ({ image } = await scratch.pack(source, { store }));
  for (let i = 0; i < 40; i++) writeFileSync(join(outside, `file${i}`), 'precious');
});

// its tmp/ may be of any type by now
afterEach(() => rmSync(store, { recursive: true, force: true }));

const giveAway = async (): Promise<void> => void (await succeed(['chown', '-Rh', `${OWNER}:${OWNER}`, store]));

/** As the owner, who has no other rights. */
const asOwner = (...command: readonly string[]): Promise<string> => succeed([...asUser(OWNER), ...command]);

const expectUntouched = (): void => {
  expect(readdirSync(outside)).toHaveLength(40);
  for (const name of readdirSync(outside)) expect(readFileSync(join(outside, name), 'utf8')).toBe('precious');
};

const works = (): readonly (readonly string[])[] => [
  [process.execPath, 'dist/tools/cfs-mkimage.js', '--quiet', '--store', store, source, scratch.at('other.cfs')],
  repo('gc', '--min-age', '0', '--empty-quarantine', '--keep', image, store),
  repo('fsck', store),
  repo('register', store, image),
  repo('unregister', store, image),
  repo('stat', store),
];

describe.each(['tmp', 'quarantine', 'leases', 'cache', 'roots', 'objects'])('%s as a link', (name) => {
  test('leads no work of root out of the store', async () => {
    await giveAway();
    await asOwner('rm', '-rf', join(store, name));
    await asOwner('ln', '-s', outside, join(store, name));
    const more = scratch.at(`source-${serial}`, 'more');
    for (const work of works()) {
      writeFileSync(more, `${Math.random()}`.repeat(20));
      await trusting(work);
      expectUntouched();
    }
    rmSync(scratch.at('other.cfs'), { force: true });
  });
});

test.each([[], ['--no-fsync']])('objects/xx as a link causes no object outside (%s)', async (...how) => {
  await succeed(repo('unregister', store, image));
  await succeed(repo('gc', '--min-age', '0', '--keep-none', store));
  await giveAway();
  for (const prefix of readdirSync(join(store, 'objects'))) {
    rmSync(join(store, 'objects', prefix), { recursive: true });
    symlinkSync(outside, join(store, 'objects', prefix));
  }
  const pack = [process.execPath, 'dist/tools/cfs-mkimage.js', '--quiet', ...how, '--store', store, source];
  const { status, stderr } = await trusting([...pack, scratch.at('never.cfs')]);
  expect(status).toBe(5);
  expect(stderr).toMatch(/it is a symbolic link .*objects\/[0-9a-f]{2}/);
  const fsck = await run(repo('fsck', '--dry-run', store));
  expect(fsck.stdout).toContain('it is a symbolic link');
  expect(fsck.status).toBe(0);
  expectUntouched();
});

test('objects behind a link are not served, and fsck checks the others', async () => {
  const [object] = objectsIn(store).sort() as [string];
  const prefix = join(store, 'objects', object.slice(0, 2));
  await succeed(['mv', prefix, `${prefix}-moved`]);
  symlinkSync(`${prefix}-moved`, prefix);
  const mounted = await scratch.mount(image, { repos: [store], args: ['--log', scratch.at('log')] });
  const failed = readdirSync(mounted.path).filter((name) => spawnSync('cat', [mounted.at(name)]).status !== 0);
  expect(failed).toHaveLength(readdirSync(`${prefix}-moved`).length);
  await mounted.end();
  const { status, stdout } = await run(repo('fsck', '--dry-run', store));
  expect(status).toBe(10);
  expect(stdout).toMatch(new RegExp(`objects/${object.slice(0, 2)} +it is a symbolic link`));
  expect(stdout).toContain('it is missing');
});

test.each(['meta.json', 'lock', 'roots'])('%s as a fifo, a device or a link blocks no program', async (name) => {
  const path = (): string =>
    name === 'roots' ? join(store, name, readdirSync(join(store, 'roots'))[0] as string) : join(store, name);
  const at = path();
  for (const make of [
    ['mkfifo', at],
    ['ln', '-s', '/dev/zero', at],
    ['ln', '-s', join(outside, 'new'), at],
    ['truncate', '-s', '1T', at],
    ['mkdir', at],
  ]) {
    rmSync(at, { recursive: true, force: true });
    await succeed(make);
    for (const work of [...works(), repo('seal', store)]) {
      // the status of timeout(1) is 124
      const { status } = await run(['timeout', '60', ...work]);
      expect(status, `${make[0]} ${work.join(' ')}`).not.toBe(124);
      if (lstatSync(at, { throwIfNoEntry: false }) === undefined) await succeed(make);
    }
  }
  expectUntouched();
});

describe('a store of another user', () => {
  test('is written to by root only if it is named as safe', async () => {
    await giveAway();
    for (const work of works().filter((words) => !words.includes('fsck') && !words.includes('stat'))) {
      const { status, stderr } = await run(work);
      expect(status, stderr).toBe(5);
      expect(stderr).toContain(`as root: user ${OWNER} owns it`);
      expect(stderr).toContain('CFS_SAFE_STORES');
    }
    for (const work of works()) expect(await trusting(work)).toMatchObject({ status: 0 });
    // files that root has created there belong to the owner, who must be able to remove them
    expect(statSync(join(store, 'lock')).uid).toBe(OWNER);
    for (const name of readdirSync(join(store, 'leases')))
      expect(statSync(join(store, 'leases', name)).uid).toBe(OWNER);
    rmSync(scratch.at('other.cfs'), { force: true });
  });

  test('a store that all users may write to counts as such; one of a group does not', async () => {
    chmodSync(store, 0o777);
    expect((await run(repo('register', store, image))).stderr).toContain('everybody may write to it');
    chmodSync(store, 0o2775);
    chownSync(store, 0, OWNER);
    await succeed(repo('register', store, image));
    expect(statSync(join(store, 'lock')).mode & 0o777).toBe(0o600);
    rmSync(join(store, 'lock'));
    await succeed(repo('register', store, image));
    expect(statSync(join(store, 'lock'))).toMatchObject({ mode: 0o100660, gid: OWNER });
  });

  test('is mounted by root without a lease of its own, and the log says so', async () => {
    await succeed(repo('unregister', store, image));
    await giveAway();
    const log = scratch.at(`log-${serial}`);
    const mounted = await scratch.mount(image, { repos: [store], args: ['--log', log] });
    expect(readFileSync(log, 'utf8')).toMatch(new RegExp(`no lease: .*as root: user ${OWNER} owns it`));
    expect(readdirSync(mounted.path)).toHaveLength(6);
    await mounted.end();
  });
});

describe('a user that may only read a store of root', () => {
  const canRead = (path: string): boolean =>
    spawnSync('setpriv', [...asUser(NOBODY).slice(1), 'cat', path]).status === 0;

  test('can read objects, and lock nothing', () => {
    const [root] = readdirSync(join(store, 'roots')) as [string];
    expect(canRead(join(store, 'meta.json'))).toBe(true);
    expect(canRead(join(store, 'lock'))).toBe(false);
    expect(canRead(join(store, 'roots', root))).toBe(false);
  });

  test('cannot lock anything if an older version made the store, once its owner has written to it', async () => {
    const [root] = readdirSync(join(store, 'roots')) as [string];
    for (const path of [join(store, 'lock'), join(store, 'roots', root)]) chmodSync(path, 0o644);
    await succeed(repo('gc', store));
    expect(canRead(join(store, 'lock'))).toBe(false);
    expect(canRead(join(store, 'roots', root))).toBe(false);
  });

  test('that has locked the lock of an old store does not prevent a mount', async () => {
    chmodSync(join(store, 'lock'), 0o644);
    const holder = spawn('setpriv', [
      ...asUser(NOBODY).slice(1),
      ...['flock', '-x', join(store, 'lock'), 'sh', '-c', 'echo held; cat'],
    ]);
    await once(holder.stdout, 'data');
    const log = scratch.at(`log-${serial}`);
    const mounted = await scratch.mount(image, { repos: [store], args: ['--log', log] });
    expect(readFileSync(log, 'utf8')).toMatch(/no lease: .*process \d+ has had it locked for 3 s/);
    holder.stdin.end();
    await once(holder, 'close');
    await mounted.end();
  });
});
