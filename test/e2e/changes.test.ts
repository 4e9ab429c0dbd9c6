/** The changes that a writable mount reports, and programs that rely on them. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { printable } from '../../src/base/bytes.ts';
import { isErrno } from '../../src/base/errno.ts';
import { changesOf, type MountChanges } from '../../src/mount-info/ask-changes.ts';
import { EXIT } from '../../tools/cli.ts';
import type { ChangesJson } from '../../tools/info/changes.ts';
import { Random } from '../support/random.ts';
import { EACH_STEP } from '../support/sample.ts';
import { compare, type Mounted, useScratch } from './harness.ts';
import { type Layers, newLayers } from './layers.ts';
import { RandomChanges } from './random-changes.ts';
import { asUser, NOBODY, OWN_TOOLS, run, succeed } from './run.ts';
import { killServer, until } from './system.ts';

const scratch = useScratch();
const CONTENT = 'content of the image '.repeat(20);

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  for (const directory of ['etc', 'usr/bin', 'usr/share/doc/pkg', 'moved/below']) {
    mkdirSync(join(source, directory), { recursive: true });
  }
  for (const file of ['etc/a', 'etc/b', 'etc/c', 'usr/bin/tool', 'usr/share/doc/pkg/copyright', 'moved/below/deep']) {
    writeFileSync(join(source, file), `${file} ${CONTENT}`);
  }
  chmodSync(join(source, 'etc/b'), 0o644);
  utimesSync(join(source, 'etc/b'), 1000, 1000);
  linkSync(join(source, 'usr/bin/tool'), join(source, 'usr/bin/also-tool'));
  symlinkSync('a', join(source, 'etc/link'));
  for (let i = 0; i < 500; i++) writeFileSync(join(source, 'usr/share/doc', `file-${i}`), `${i}`);
  image = (await scratch.pack(source)).image;
});

/** The upper directory has the mode and the time of the image's root, whose attributes it replaces. */
function layersLikeRoot(): Layers {
  const layers = newLayers(scratch);
  chmodSync(layers.upper, lstatSync(source).mode & 0o7777);
  execFileSync('touch', ['-r', source, layers.upper]);
  return layers;
}

const mount = (layers: Layers = layersLikeRoot(), of = image): Promise<Mounted> =>
  scratch.mount(of, { words: layers.words });

/** The changes of a mount, asked by this process. */
function ask({ path }: Mounted, since?: string): MountChanges {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const found = changesOf(fd, since);
    if (isErrno(found)) throw new Error(`error ${found}`);
    return found;
  } finally {
    closeSync(fd);
  }
}

/** The lines of the tool without the token. */
async function lines(mounted: Mounted, ...args: readonly string[]): Promise<string[]> {
  const { stdout } = await scratch.tool('cfs-info', ['changes', ...args, mounted.path]);
  return stdout.split('\n').filter((line) => line !== '' && !line.startsWith('T '));
}

const isOfDirectoryTimes = (line: string): boolean => /^M \S*(?: {2}mtime)?$/.test(line);

describe('cfs-info changes', () => {
  test('lists nothing in a new mount, and prints a token', async () => {
    const mounted = await mount();
    const { status, stdout } = await scratch.tool('cfs-info', ['changes', mounted.path]);
    expect(status).toBe(EXIT.ok);
    expect(stdout).toMatch(/^T [0-9a-f]{16}-[0-9a-f]+\n$/);
  });

  test('lists each kind of change, with renames as they were made', async () => {
    const mounted = await mount();
    const at = (path: string): string => mounted.at(path);
    renameSync(at('etc/a'), at('etc/a.old'));
    writeFileSync(at('etc/a'), 'new');
    chmodSync(at('etc/b'), 0o600);
    appendFileSync(at('etc/c'), 'more');
    writeFileSync(at('etc/c.new'), 'c');
    renameSync(at('etc/c.new'), at('etc/c'));
    renameSync(at('moved'), at('usr/moved'));
    rmSync(at('usr/moved/below/deep'));
    writeFileSync(at('usr/moved/below/new'), '');
    rmSync(at('usr/share/doc/pkg'), { recursive: true });
    rmSync(at('usr/bin/also-tool'));
    linkSync(at('etc/b'), at('etc/b.linked'));
    symlinkSync('else', at('etc/new-link'));
    rmSync(at('etc/link'));
    mkdirSync(at('etc/link'));
    const { status } = await scratch.tool('cfs-info', ['changes', mounted.path]);
    expect(status).toBe(EXIT.found);
    expect((await lines(mounted)).filter((line) => !isOfDirectoryTimes(line))).toEqual([
      'A /etc/a',
      'R /etc/a -> /etc/a.old',
      'M /etc/b  mode,links',
      'A /etc/b.linked',
      'M /etc/c  content,mtime',
      'M /etc/link  type,mode,mtime',
      'A /etc/new-link',
      'D /moved/below/deep',
      'D /usr/bin/also-tool',
      'M /usr/bin/tool  links',
      'R /moved -> /usr/moved',
      'A /usr/moved/below/new',
      'D /usr/share/doc/pkg',
      'D /usr/share/doc/pkg/copyright',
    ]);
  });

  test('follows an inode with several names', async () => {
    const mounted = await mount();
    chmodSync(mounted.at('usr/bin/tool'), 0o755);
    // the other name is not in the upper layer
    expect(await lines(mounted)).toEqual(['M /usr/bin/also-tool  mode', 'M /usr/bin/tool  mode']);
    renameSync(mounted.at('usr/bin/also-tool'), mounted.at('usr/bin/other'));
    expect((await lines(mounted)).filter((line) => !isOfDirectoryTimes(line))).toEqual([
      'R /usr/bin/also-tool -> /usr/bin/other  mode',
      'M /usr/bin/tool  mode',
    ]);
  });

  test('does not list a file that is as in the image', async () => {
    const mounted = await mount();
    utimesSync(mounted.at('etc/b'), 1, 1);
    expect(await lines(mounted)).toEqual(['M /etc/b  mtime']);
    chmodSync(mounted.at('etc/b'), 0o777);
    utimesSync(mounted.at('etc/b'), 1000, 1000);
    chmodSync(mounted.at('etc/b'), 0o644);
    expect(await lines(mounted)).toEqual([]);
  });

  test('needs several answers for many names, above and below a name that is gone', async () => {
    const mounted = await mount();
    rmSync(mounted.at('usr/share/doc'), { recursive: true });
    mkdirSync(mounted.at('usr/share/doc'));
    for (let i = 0; i < 1500; i++) writeFileSync(mounted.at('usr/share/doc', `file-${i}`), '');
    const all = await lines(mounted);
    const of = (letter: string): number => all.filter((line) => line.startsWith(`${letter} /usr/share/doc/`)).length;
    expect([of('A'), of('M'), of('D')]).toEqual([1500, 0, 502]);
    expect(new Set(all).size).toBe(all.length);
    const { token } = ask(mounted);
    writeFileSync(mounted.at('usr/share/doc/file-1000'), 'x');
    expect(await lines(mounted, '--since', token)).toEqual(['A /usr/share/doc/file-1000']);
  });

  test('prints paths that are not UTF-8 as they are', async () => {
    const mounted = await mount();
    const name = Buffer.from([0xff, 0x2f, 0xfe]).filter((byte) => byte !== 0x2f);
    writeFileSync(Buffer.concat([Buffer.from(`${mounted.path}/etc/`), name]), '');
    const path = Buffer.concat([Buffer.from('/etc/'), name]);
    expect(await lines(mounted)).toContain(`A ${printable(path)}`);
    const json = JSON.parse(
      (await scratch.tool('cfs-info', ['changes', '--json', mounted.path])).stdout,
    ) as ChangesJson;
    const added = json.changes.find(({ change }) => change === 'added');
    expect(added?.new?.pathBase64).toBe(path.toString('base64'));
    const child = await run(['node', `${OWN_TOOLS.dist}/tools/cfs-info.js`, 'changes', '-0', mounted.path], {});
    expect(child.stdout).toContain('A\0\0\0/etc/');
  });

  test('reports a mount without an upper layer, and a directory that is in none', async () => {
    const mounted = await scratch.mount(image);
    const plain = await scratch.tool('cfs-info', ['changes', mounted.path]);
    expect(plain).toMatchObject({ status: EXIT.usage, stderr: expect.stringContaining('has no upper layer') });
    const none = await scratch.tool('cfs-info', ['changes', scratch.path]);
    expect(none).toMatchObject({ status: EXIT.usage, stderr: expect.stringContaining('is not in a mount of cfs') });
  });

  test('tells a user only what he may list', async () => {
    const mounted = await mount();
    mkdirSync(mounted.at('secret'), 0o700);
    writeFileSync(mounted.at('secret/file'), '');
    mkdirSync(mounted.at('searched'), 0o711);
    writeFileSync(mounted.at('searched/file'), '');
    writeFileSync(mounted.at('shown'), '');
    rmSync(mounted.at('etc/a'));
    chmodSync(mounted.at('etc'), 0o700);
    const tool = [process.execPath, `${OWN_TOOLS.dist}/tools/cfs-info.js`, 'changes', mounted.path];
    const { stdout, stderr } = await run([...asUser(NOBODY), ...tool]);
    const seen = stdout.split('\n').filter((line) => /^[ADR]/.test(line));
    expect(seen).toEqual(['A /searched', 'A /secret', 'A /shown']);
    expect(stderr).toContain('directories that you may not list');
    chmodSync(mounted.at('etc'), 0o755);
    expect((await run([...asUser(NOBODY), ...tool])).stdout).toContain('D /etc/a\n');
  });
});

describe('cfs-info changes --since', () => {
  test('lists only what changed since, over a kill of the server and a remount', async () => {
    const layers = layersLikeRoot();
    let mounted = await mount(layers);
    writeFileSync(mounted.at('etc/one'), '1');
    const { token } = ask(mounted);
    expect(await lines(mounted, '--since', token)).toEqual([]);
    writeFileSync(mounted.at('etc/two'), '2');
    await killServer(mounted);
    expect(await lines(mounted, '--since', token)).toEqual(['M /etc  mtime,entries', 'A /etc/two']);
    const next = ask(mounted).token;
    await mounted.unmount();
    mounted = await mount(layers);
    expect(await lines(mounted, '--since', next)).toEqual([]);
    chmodSync(mounted.at('etc/one'), 0o600);
    rmSync(mounted.at('etc/two'));
    expect(await lines(mounted, '--since', next)).toEqual(['M /etc  mtime,entries', 'A /etc/one']);
    expect(ask(mounted, token).isEverything).toBe(false);
  });

  test('lists a file as long as it may be written', async () => {
    const mounted = await mount();
    const fd = openSync(mounted.at('etc/a'), 'a');
    const { token } = ask(mounted);
    writeSync(fd, 'x');
    const { token: later } = ask(mounted, token);
    const listed = ask(mounted, later).records.map(({ path, isChanging }) => [path.toString(), isChanging]);
    expect(listed).toEqual([['/etc/a', true]]);
    writeSync(fd, 'y');
    closeSync(fd);
    // RELEASE comes after close(2) has returned
    await until('the file is closed', () => !ask(mounted, later).records.some(({ isChanging }) => isChanging));
    expect(ask(mounted, later).records.map(({ path }) => path.toString())).toEqual(['/etc/a']);
    const { token: last } = ask(mounted);
    expect(ask(mounted, last).records).toEqual([]);
  });

  test('lists everything for a token that the mount does not know', async () => {
    const mounted = await mount();
    writeFileSync(mounted.at('new'), '');
    const { token } = ask(mounted);
    for (const other of ['', 'nonsense', `${'0'.repeat(16)}-1`, token.replace(/-.*/, '-0')]) {
      expect(ask(mounted, other)).toMatchObject({ isEverything: true, token });
    }
    const { stderr } = await scratch.tool('cfs-info', ['changes', '--since', 'nonsense', mounted.path]);
    expect(stderr).toContain('does not know the token nonsense: all changes are listed');
  });

  test('says that a moved directory is to be taken as new', async () => {
    const mounted = await mount();
    mkdirSync(mounted.at('new'));
    writeFileSync(mounted.at('new/file'), '');
    const { token } = ask(mounted);
    renameSync(mounted.at('new'), mounted.at('newer'));
    renameSync(mounted.at('moved'), mounted.at('elsewhere'));
    expect((await lines(mounted, '--since', token)).filter((line) => !line.startsWith('M '))).toEqual([
      'R /moved -> /elsewhere  entries,tree',
      'A /newer  entries,tree',
      'A /newer/file',
    ]);
  });
});

describe('the backup program of docs/changes.md', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/changes.md'), 'utf8');
  const program = scratch.at('backup.py');
  const [, text = ''] = /```python\n([\s\S]+?)```/.exec(page) ?? [];

  async function backup(mounted: Mounted, to: string): Promise<void> {
    const bin = scratch.at('bin');
    if (!existsSync(bin)) {
      mkdirSync(bin);
      symlinkSync(`${OWN_TOOLS.dist}/tools/cfs-info.js`, join(bin, 'cfs-info'));
      writeFileSync(program, text);
    }
    await succeed(['env', `PATH=${bin}:${process.env['PATH']}`, 'python3', program, mounted.path, to]);
  }

  /** Hard links become files of their own, and the link counts of merged directories are 1. */
  async function expectSame(mounted: Mounted, copy: string): Promise<void> {
    const { differences } = await compare(mounted.path, copy, { ignore: ['nlink', 'inode'] });
    expect(differences).toEqual([]);
  }

  test('has some 50 lines', () => {
    expect(text.split('\n').length).toBeLessThan(60);
  });

  test.each(EACH_STEP ? [1, 2, 3] : [1])(
    'keeps a copy equal, whatever happens between two runs (%i)',
    async (seed) => {
      const random = new Random(seed);
      const layers = layersLikeRoot();
      let mounted = await mount(layers);
      const to = scratch.at(`backup-${seed}`);
      let changes = new RandomChanges(mounted.path, random);
      for (let round = 0; round < 12; round++) {
        for (let i = random.integer(1, 25); i > 0; i--) {
          changes.step();
          if (random.integer(0, 40) === 0) await killServer(mounted);
        }
        if (random.integer(0, 4) === 0) {
          changes.end();
          await mounted.unmount();
          mounted = await mount(layers);
          changes = new RandomChanges(mounted.path, random);
        }
        await backup(mounted, to);
        await expectSame(mounted, to);
      }
      changes.end();
    },
    240_000,
  );
});
