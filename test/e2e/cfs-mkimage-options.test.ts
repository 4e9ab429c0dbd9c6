/** The options of cfs-mkimage that choose what is packed, and the default place of objects. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { mknod, removeXattr, setTime, setXattr } from '../support/libc.ts';
import { expectWhole, messageOf, mkimage, mountTmpfs, objectsIn, packed } from './cli.ts';
import { type Packed, useScratch } from './harness.ts';
import { HERE, NOBODY, type Outcome, run, succeed } from './run.ts';

const scratch = useScratch();
let serial = 0;

const newImage = (): string => scratch.at(`image${serial++}.cfs`);
const pack = (source: string, ...options: readonly string[]): Promise<Packed> =>
  packed(scratch, [...options, source, newImage()]);
const idOf = async (source: string, ...options: readonly string[]): Promise<string> =>
  (await pack(source, ...options)).id;

/** The paths of the image of `source`. */
async function pathsOf(source: string, ...options: readonly string[]): Promise<string[]> {
  const { image } = await pack(source, ...options);
  const list = JSON.parse(await succeed(HERE.tool('cfs-info', ['ls', '-R', '--json', image]))) as { path: string }[];
  return list.map(({ path }) => path).filter((path) => path !== '/');
}

/** A tree with fixed times. */
function tree(files: Readonly<Record<string, string>> = { file: 'content' }): string {
  const root = scratch.directory('source');
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(`${root}/${name}`, content);
    setTime(`${root}/${name}`, 1000, 1);
  }
  setTime(root, 1000, 1);
  return root;
}

describe('--inline-max', () => {
  const sizes = { empty: '', one: 'x', at: 'x'.repeat(100), above: 'y'.repeat(101), large: 'z'.repeat(65_537) };

  test.each([
    [0, 0, 4],
    [100, 2, 2],
    [101, 3, 1],
    [65_536, 3, 1],
  ])('%i puts %i contents into the image, %i into the store', async (max, inlineFiles, objects) => {
    const store = scratch.at(`inline-${max}`);
    const result = await pack(tree(sizes), '--inline-max', `${max}`, '--store', store);
    expect(result).toMatchObject({ inlineFiles, objects });
    expect(objectsIn(store)).toHaveLength(objects);
    expectWhole(store);
  });

  test('is 64 by default', async () => {
    const root = tree({ a: 'x'.repeat(64), b: 'x'.repeat(65) });
    expect(await idOf(root)).toBe(await idOf(root, '--inline-max', '64'));
    expect(await idOf(root)).not.toBe(await idOf(root, '--inline-max', '65'));
  });
});

describe('--use-epoch', () => {
  test('makes the same id for trees that differ only in times', async () => {
    const [one, other] = [tree(), tree()];
    setTime(`${other}/file`, 5, 5);
    setTime(other, 6, 6);
    expect(await idOf(one)).not.toBe(await idOf(other));
    expect(await idOf(one, '--use-epoch')).toBe(await idOf(other, '--use-epoch'));
  });
});

describe('--skip-xattrs', () => {
  test('makes the same id for trees that differ only in xattrs', async () => {
    const [one, other] = [tree(), tree()];
    setXattr(`${other}/file`, 'user.a', Buffer.from('1'));
    setXattr(other, 'trusted.b', Buffer.from('2'));
    expect(await idOf(one)).not.toBe(await idOf(other));
    expect(await idOf(other, '--skip-xattrs')).toBe(await idOf(one));
    removeXattr(`${other}/file`, 'user.a');
    removeXattr(other, 'trusted.b');
    expect(await idOf(one)).toBe(await idOf(other));
  });
});

describe('--skip-devices', () => {
  test('leaves out devices and whiteouts, and keeps fifos and sockets', async () => {
    const root = tree();
    mknod(`${root}/block`, 0o60660, 0x811);
    mknod(`${root}/char`, 0o20666, 0x103);
    mknod(`${root}/whiteout`, 0o20000, 0);
    mknod(`${root}/fifo`, 0o10644);
    mknod(`${root}/socket`, 0o140755);
    expect(await pathsOf(root)).toEqual(['/block', '/char', '/fifo', '/file', '/socket', '/whiteout']);
    expect(await pathsOf(root, '--skip-devices')).toEqual(['/fifo', '/file', '/socket']);
  });
});

describe('--one-file-system', () => {
  test('makes empty directories of mount points of other file systems, not of the same one', async () => {
    const root = tree();
    for (const name of ['other', 'same', 'plain']) mkdirSync(`${root}/${name}`);
    await mountTmpfs(`${root}/other`);
    writeFileSync(`${root}/other/inside`, 'x');
    const bound = tree({ bound: 'y' });
    await succeed(['mount', '--bind', bound, `${root}/same`]);
    const all = ['/file', '/other', '/other/inside', '/plain', '/same', '/same/bound'];
    expect(await pathsOf(root)).toEqual(all);
    expect(await pathsOf(root, '--one-file-system')).toEqual(all.filter((path) => path !== '/other/inside'));
  });

  test('uses the file system of the source, even if the source itself is a mount point', async () => {
    const root = await mountTmpfs(scratch.at('mounted-source'));
    writeFileSync(`${root}/inside`, 'x');
    expect(await pathsOf(root, '--one-file-system')).toEqual(['/inside']);
  });
});

describe('--record-hint', () => {
  test('records uuid and hint of the store, and changes nothing else', async () => {
    const { image, id } = await pack(tree(), '--record-hint', 'https://example.org/store');
    expect(id).not.toBe(await idOf(tree()));
    const { uuid } = JSON.parse(await succeed(HERE.tool('cfs-repo', ['stat', '--json', scratch.store]))) as {
      uuid: string;
    };
    expect(statSync(image).size).toBeGreaterThan(0);
    expect((await run(['grep', '-c', '--text', uuid, image])).stdout).toBe('1\n');
    expect((await run(['grep', '-c', '--text', 'https://example.org/store', image])).stdout).toBe('1\n');
  });
});

describe('wrong options', () => {
  const source = scratch.directory('unused');
  const image = scratch.at('unused.cfs');

  test.each([
    ['--threads', '0', '--threads takes a whole number from 1 to 64, not "0"'],
    ['--threads', '65', 'not "65"'],
    ['--threads', '1e1', 'not "1e1"'],
    ['--threads', '', 'not ""'],
    ['--inline-max', '-1', '--inline-max takes a whole number from 0 to 65536, not "-1"'],
    ['--inline-max', '65537', 'not "65537"'],
    ['--hash', 'md5', '--hash takes blake3 or fsverity-sha256, not "md5"'],
  ])('%s "%s" is reported', async (option, value, message) => {
    expect(messageOf(await mkimage(scratch, [option, value, source, image]), 1)).toContain(message);
  });

  // as after `--store "$UNSET"`
  test.each([
    ['--store', ['--store', '', source, image]],
    ['SOURCE', ['', image]],
    ['IMAGE', [source, '']],
  ])('an empty %s is reported, before anything is made', async (what, args) => {
    const cwd = scratch.directory('empty');
    const outcome = await run(HERE.tool('cfs-mkimage', args, scratch.environment), { cwd });
    expect(messageOf(outcome, 1)).toContain(what);
    expect(readdirSync(cwd)).toEqual([]);
  });

  test.each([
    ['no argument', [], "missing required argument 'SOURCE'"],
    ['one argument', [source], "missing required argument 'IMAGE'"],
    ['three arguments', [source, image, 'more'], 'too many arguments'],
    ['an unknown option', ['--frobnicate', source, image], "unknown option '--frobnicate'"],
    ['an option without its value', ['--store'], "option '--store <DIR>' argument missing"],
  ])('%s is reported, with a pointer to the help', async (_what, args, message) => {
    const { status, stdout, stderr } = await mkimage(scratch, args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr).toContain("Try 'cfs-mkimage --help'.");
  });

  test('with --json are also one object on stdout', async () => {
    const { status, stdout } = await mkimage(scratch, ['--json', '--threads', '0', source, image]);
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      error: { kind: 'usage', message: '--threads takes a whole number from 1 to 64, not "0"', status: 1 },
    });
  });

  test('--help has examples, --version prints a version', async () => {
    const help = await mkimage(scratch, ['--help']);
    expect(help).toMatchObject({ status: 0, stderr: '' });
    expect(help.stdout).toMatch(/^Usage: cfs-mkimage .*\n\n.*[\s\S]*\nExamples:\n {2}cfs-mkimage /);
    expect((await mkimage(scratch, ['--version'])).stdout).toMatch(/^cfs-mkimage \d+\.\d+\.\d+\n/);
  });
});

describe('the default repository', () => {
  const source = tree({ file: 'x'.repeat(100) });
  chmodSync(scratch.path, 0o755);

  /** A directory that the user nobody owns. */
  function ownedByNobody(name: string): string {
    const path = scratch.directory(name);
    chownSync(path, NOBODY, NOBODY);
    return path;
  }

  const asNobody = (env: Readonly<Record<string, string>>): Promise<Outcome> =>
    run(scratch.nobody().tool('cfs-mkimage', ['--quiet', source, `${ownedByNobody('images')}/i.cfs`], env));

  test('is $CFS_STORE', async () => {
    const home = ownedByNobody('home');
    expect(await asNobody({ HOME: home, CFS_STORE: `${home}/store` })).toMatchObject({ status: 0, stderr: '' });
    expect(readdirSync(home)).toEqual(['store']);
    expect(expectWhole(`${home}/store`)).toHaveLength(1);
    expect(statSync(`${home}/store/meta.json`).uid).toBe(NOBODY);
  });

  test('is $XDG_DATA_HOME/cfs for others than root', async () => {
    const home = ownedByNobody('home');
    expect(await asNobody({ HOME: home, XDG_DATA_HOME: `${home}/data` })).toMatchObject({ status: 0 });
    expect(expectWhole(`${home}/data/cfs`)).toHaveLength(1);
  });

  test.each([{}, { XDG_DATA_HOME: 'relative' }, { CFS_STORE: '', XDG_DATA_HOME: '' }])(
    'is ~/.local/share/cfs with %j',
    async (env) => {
      const home = ownedByNobody('home');
      expect(await asNobody({ HOME: home, ...env })).toMatchObject({ status: 0 });
      expect(expectWhole(`${home}/.local/share/cfs`)).toHaveLength(1);
    },
  );

  test('is /var/lib/cfs for root', async () => {
    // in a mount namespace with another /var/lib: the machine may have a store
    const tool = HERE.tool('cfs-mkimage', ['--quiet', source, newImage()]).join(' ');
    const script = `mount -t tmpfs none /var/lib && unset CFS_STORE && XDG_DATA_HOME=/var/tmp/wrong ${tool} && rm -rf /var/lib/cfs/cache && ls /var/lib /var/lib/cfs`;
    const listed = await succeed(['unshare', '--mount', 'sh', '-c', script]);
    expect(listed).toBe('/var/lib:\ncfs\n\n/var/lib/cfs:\nleases\nlock\nmeta.json\nobjects\npaths\nroots\ntmp\n');
  });

  test('is named with the reason if it cannot be made', async () => {
    const outcome = await asNobody({ HOME: '/root/nowhere' });
    expect(messageOf(outcome, 5)).toContain(
      'Cannot make a repository in /root/nowhere/.local/share/cfs: permission denied',
    );
  });

  test('may be reached through a symbolic link', async () => {
    const store = scratch.directory('real-store');
    symlinkSync(store, scratch.at('store-link'));
    await pack(source, '--store', scratch.at('store-link'));
    expect(expectWhole(store)).toHaveLength(1);
    rmSync(scratch.at('store-link'));
  });
});

describe('IMAGE', () => {
  test('keeps its mode and owner when it is packed again, with its signature beside it', async () => {
    const source = scratch.directory();
    writeFileSync(join(source, 'key'), 'secret');
    const image = join(scratch.directory(), 'private.cfs');
    await succeed(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', `${image}.pem`]);
    const words = ['--no-fsync', '--store', scratch.at('private-store'), '--sign', `${image}.pem`, source, image];
    await packed(scratch, words);
    for (const path of [image, `${image}.sig`]) {
      chownSync(path, 61001, 61002);
      chmodSync(path, 0o600);
    }
    writeFileSync(join(source, 'key'), 'another secret');
    await packed(scratch, words);
    for (const path of [image, `${image}.sig`]) {
      const { mode, uid, gid } = statSync(path);
      expect([mode & 0o7777, uid, gid]).toEqual([0o600, 61001, 61002]);
    }
  });

  test("that is a link is written at the link's target, whether or not it exists", async () => {
    const source = scratch.directory();
    const directory = scratch.directory();
    mkdirSync(join(directory, 'versions'));
    symlinkSync('versions/1.cfs', join(directory, 'latest.cfs'));
    symlinkSync('latest.cfs', join(directory, 'link.cfs'));
    const pack = (image: string): ReturnType<typeof mkimage> =>
      mkimage(scratch, ['--no-fsync', '--quiet', '--store', scratch.at('link-store'), source, join(directory, image)]);
    for (const _ of ['no file', 'a file']) {
      expect(await pack('link.cfs')).toMatchObject({ status: 0, stderr: '' });
      expect(readdirSync(directory).sort()).toEqual(['latest.cfs', 'link.cfs', 'versions']);
      expect(readdirSync(join(directory, 'versions'))).toEqual(['1.cfs']);
      expect(lstatSync(join(directory, 'latest.cfs')).isSymbolicLink()).toBe(true);
    }
    symlinkSync('nowhere/1.cfs', join(directory, 'lost.cfs'));
    expect(messageOf(await pack('lost.cfs'), 1)).toBe(
      `Cannot write image ${directory}/lost.cfs: there is no directory ${directory}/nowhere`,
    );
    symlinkSync('circle.cfs', join(directory, 'circle.cfs'));
    expect(messageOf(await pack('circle.cfs'), 1)).toContain('too many symbolic links');
  });
});
