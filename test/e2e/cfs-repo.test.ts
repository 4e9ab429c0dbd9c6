import { chownSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { expectUnlocked, manyFiles, messageOf, mountTmpfs, packed } from './cli.ts';
import { useScratch } from './harness.ts';
import { NOBODY, type Outcome, run, succeed } from './run.ts';

const scratch = useScratch();

const repo = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-repo', args);

/** The one JSON object that a run prints, which must succeed. */
async function json(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await repo(...args, '--json');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as Record<string, unknown>;
}

const refusal = async (status: number, ...args: readonly string[]): Promise<string> =>
  messageOf(await repo(...args), status, 'cfs-repo');

describe('cfs-repo init', () => {
  test('makes a repository, and the missing directories above it', async () => {
    const path = scratch.at('deep/er/store');
    const { status, stdout, stderr } = await repo('init', path);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const meta = JSON.parse(readFileSync(`${path}/meta.json`, 'utf8')) as Record<string, string>;
    expect(stdout).toBe(`created repository ${path} (blake3, uuid ${meta['uuid']})\n`);
    expect(meta).toEqual({ format: 'cfs-repository', version: 1, hash: 'blake3', uuid: expect.any(String) });
    expect(readdirSync(`${path}/objects`)).toHaveLength(256);
    expectUnlocked(path);
  });

  test('accepts --hash, and prints one JSON object', async () => {
    const path = scratch.at('verity');
    const { uuid, ...rest } = await json('init', '--hash', 'fsverity-sha256', path);
    expect(rest).toEqual({ path, hash: 'fsverity-sha256' });
    expect(await json('stat', path)).toMatchObject({ uuid, hash: 'fsverity-sha256' });
  });

  test('makes a repository that packing accepts', async () => {
    const path = scratch.at('for-packing');
    await repo('init', '--hash', 'fsverity-sha256', path);
    const source = manyFiles(scratch.at('source'), 3);
    expect((await packed(scratch, ['--store', path, source, scratch.at('i.cfs')])).hash).toBe('fsverity-sha256');
  });

  test('is writable for its user only, and readable for others', async () => {
    const home = scratch.directory('home');
    chownSync(home, NOBODY, NOBODY);
    await succeed(scratch.nobody().tool('cfs-repo', ['init', `${home}/store`]));
    expect(statSync(`${home}/store/objects`).uid).toBe(NOBODY);
    expect(statSync(`${home}/store/meta.json`).mode & 0o777).toBe(0o644 & ~process.umask());
  });

  test.each([
    ['a repository', 'it is one already'],
    ['a directory with something in it', 'the directory is not empty (it contains "thesis.tex")'],
    ['a file', 'file'],
  ])('refuses %s, which stays as it was', async (what, reason) => {
    const path = scratch.at(`refused-${what.length}`);
    if (what === 'a file') writeFileSync(path, 'x');
    else if (what === 'a repository') await repo('init', path);
    else {
      mkdirSync(path);
      writeFileSync(`${path}/thesis.tex`, '');
    }
    const before = statSync(path, { bigint: true }).ctimeNs;
    const message = await refusal(5, 'init', path);
    expect(message).toContain(`Cannot make a repository in ${path}: `);
    expect(message).toContain(reason);
    expect(statSync(path, { bigint: true }).ctimeNs).toBe(before);
  });

  test('names an obstacle', async () => {
    const mounted = await mountTmpfs(scratch.at('read-only'));
    await succeed(['mount', '-o', 'remount,ro', mounted]);
    expect(await refusal(5, 'init', `${mounted}/store`)).toBe(
      `Cannot make a repository in ${mounted}/store: read-only file system`,
    );
    writeFileSync(scratch.at('file'), '');
    expect(await refusal(5, 'init', scratch.at('file/store'))).toContain('not a directory');
    expect(await refusal(5, 'init', '/proc/cfs')).toContain('/proc/cfs');
    const home = scratch.directory('closed');
    const outcome = await run(scratch.nobody().tool('cfs-repo', ['init', `${home}/store`]));
    expect(messageOf(outcome, 5, 'cfs-repo')).toBe(`Cannot make a repository in ${home}/store: permission denied`);
  });
});

describe('cfs-repo stat', () => {
  const store = scratch.at('counted');

  test('counts objects, bytes, and unfinished files', async () => {
    const source = manyFiles(scratch.at('counted-source'), 20, 5000);
    await packed(scratch, ['--store', store, source, scratch.at('counted.cfs')]);
    writeFileSync(`${store}/tmp/left-over`, '');
    const { uuid, allocatedBytes, ...rest } = await json('stat', store);
    const bytes = readdirSync(source).reduce((sum, name) => sum + statSync(`${source}/${name}`).size, 0);
    expect(rest).toEqual({ path: store, hash: 'blake3', objects: 20, bytes, temporaries: 1 });
    expect(uuid).toBe((JSON.parse(readFileSync(`${store}/meta.json`, 'utf8')) as { uuid: string }).uuid);
    expect(allocatedBytes).toBeGreaterThanOrEqual(bytes);
    const lines = (await repo('stat', store)).stdout.trimEnd().split('\n');
    expect(lines.map((line) => line.split(/ +/)[0])).toEqual(['repository', 'uuid', 'hash', 'objects', 'unfinished']);
    expect(lines[3]).toContain('20 (');
    expect(lines[4]).toContain('1 file');
  });

  test('also accepts the objects directory', async () => {
    expect(await json('stat', `${store}/objects`)).toMatchObject({ path: store, objects: 20 });
  });

  test('needs no write permission', async () => {
    const outcome = await run(scratch.nobody().tool('cfs-repo', ['stat', store]));
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
  });

  test.each([
    ['is missing', 'nowhere', 'there is no such directory'],
    ['is not a repository', 'no-repository', 'it has no meta.json'],
    ['is a file', 'plain-file', 'not a directory'],
  ])('names a DIR that %s', async (_what, name, reason) => {
    mkdirSync(scratch.at('no-repository'), { recursive: true });
    writeFileSync(scratch.at('plain-file'), '');
    const message = await refusal(5, 'stat', scratch.at(name));
    expect(message).toContain(scratch.at(name));
    expect(message).toContain(reason);
  });

  test.each(['objects', 'tmp'])('names the repository if its %s is missing', async (name) => {
    const path = scratch.at(`without-${name}`);
    await repo('init', path);
    rmSync(`${path}/${name}`, { recursive: true });
    expect(await refusal(5, 'stat', path)).toContain(path);
  });
});

describe('cfs-repo', () => {
  test.each([
    ['no command', [], 'a command is missing'],
    ['an unknown command', ['frobnicate'], "unknown command 'frobnicate'"],
    ['no DIR', ['init'], "missing required argument 'DIR'"],
    ['an unknown hash', ['init', '--hash', 'md5', 'x'], '--hash takes blake3 or fsverity-sha256, not "md5"'],
    ['an empty DIR', ['init', ''], 'DIR'],
  ])('with %s reports the error', async (_what, args, message) => {
    const { status, stdout, stderr } = await repo(...args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^cfs-repo: /);
    expect(stderr).toContain(message);
  });

  test('also prints an error as JSON', async () => {
    const { status, stdout } = await repo('stat', '--json', scratch.at('nowhere'));
    expect(status).toBe(5);
    expect(JSON.parse(stdout)).toEqual({
      error: {
        kind: 'store',
        status: 5,
        message: expect.stringContaining('there is no such directory'),
        hint: expect.stringContaining("'cfs-repo init DIR' makes a new, empty one"),
      },
    });
  });

  test('has help with examples for itself and its commands', async () => {
    for (const args of [['--help'], ['init', '--help'], ['help', 'stat']]) {
      const { status, stdout, stderr } = await repo(...args);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(/^Usage: cfs-repo/);
    }
    expect((await repo('--help')).stdout).toContain('Examples:\n  cfs-repo init /srv/store');
  });
});

describe('cfs-repo -q', () => {
  test('prints nothing if all is well', async () => {
    const [store, copied, image] = [scratch.at('q-store'), scratch.at('q-copied'), scratch.at('q.cfs')];
    const source = manyFiles(scratch.at('q-source'), 3, 300);
    const quietly = async (tool: string, ...args: readonly string[]): Promise<void> => {
      const { status, stdout, stderr } = await scratch.tool(tool, args);
      expect({ args, status, stdout, stderr }).toEqual({ args, status: 0, stdout: '', stderr: '' });
    };
    await quietly('cfs-repo', 'init', '-q', store);
    await quietly('cfs-mkimage', '-q', '--store', store, source, image);
    await quietly('cfs-repo', 'fsck', '-q', store);
    await quietly('cfs-repo', 'copy', '--quiet', '--from', store, copied, image);
    await quietly('cfs-repo', 'register', '-q', copied, image);
    await quietly('cfs-repo', 'gc', '-q', copied);
    await quietly('cfs-repo', 'unregister', '-q', copied, image);
    expect((await repo('images', '-q', store)).stderr).toContain("unknown option '-q'");
  });

  test('fsck prints the damage that it finds', async () => {
    const store = scratch.at('q-damaged');
    await packed(scratch, ['--store', store, manyFiles(scratch.at('q-source-2'), 3, 300), scratch.at('q-2.cfs')]);
    const [object] = readdirSync(`${store}/objects`, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.includes('/'),
    );
    rmSync(`${store}/objects/${object}`);
    const { status, stdout } = await repo('fsck', '-q', '-n', store);
    expect(status).toBe(10);
    expect(stdout).toContain('damaged     1');
  });
});
