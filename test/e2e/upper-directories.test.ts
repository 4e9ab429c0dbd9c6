/**
 * The directories of an upper layer on different file systems, together with the kernel's overlayfs, and in user
 * namespaces. Tests that depend on no file system are in test/unit/upper/prepare-upper.test.ts.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import { closeFd } from '../../src/system/descriptors.ts';
import { mountDetached } from '../../src/system/detached-mount.ts';
import { listXattrs } from '../../src/system/xattrs.ts';
import { closeUpper, type PreparedUpper, prepareUpper, type UpperSettings } from '../../src/upper/prepare-upper.ts';
import { mountLoop, mountTmpfs, succeed } from './cli.ts';
import { useScratch } from './harness.ts';
import { HERE, NOBODY, type Outcome, type Place, run } from './run.ts';
import { mountedAt } from './system.ts';

const scratch = useScratch();

const opened: PreparedUpper[] = [];
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const upper of opened.splice(0)) closeUpper(upper);
  for (const step of undo.splice(0).reverse()) await step();
});

/** A layer in `directory`. */
function layerIn(directory: string): UpperSettings {
  const [upperdir, workdir, mountpoint] = ['u', 'w', 'm'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [upperdir, workdir, mountpoint]) mkdirSync(path, { recursive: true });
  return {
    upperdir,
    workdir,
    mountpoint,
    userxattr: false,
    volatile: false,
    readOnly: false,
    index: true,
    uuid: 'auto',
  };
}

const layer = (): UpperSettings => layerIn(scratch.directory('layer'));

function prepare(settings: UpperSettings): PreparedUpper {
  const prepared = prepareUpper(settings);
  opened.push(prepared);
  return prepared;
}

function end(prepared: PreparedUpper): void {
  opened.splice(opened.indexOf(prepared), 1);
  closeUpper(prepared);
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** The message and hint of the refusal, which must leave nothing open. */
function refused(settings: UpperSettings): string {
  const before = descriptors();
  try {
    end(prepare(settings));
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    expect(error.kind).toBe('mount');
    expect(descriptors()).toBe(before);
    return error.hint === undefined ? error.message : `${error.message} | ${error.hint}`;
  }
  throw new Error('not refused');
}

/** Runs mount(8) with a mount point at `at`, until the end of the test. */
async function mounted(at: string, ...command: readonly string[]): Promise<string> {
  mkdirSync(at, { recursive: true });
  await succeed(['mount', ...command, at]);
  undo.push(() => (mountedAt(at) === undefined ? undefined : run(['umount', '-l', at])));
  return at;
}

const overlayOptions = ({ upperdir, workdir }: UpperSettings, lower: string, more: readonly string[]): string =>
  [`lowerdir=${lower}`, `upperdir=${upperdir}`, `workdir=${workdir}`, ...more].join(',');

/** mount(8) of the kernel's overlayfs; it is unmounted at the end of the test. */
async function overlay(settings: UpperSettings, ...more: readonly string[]): Promise<Outcome> {
  const at = scratch.directory('overlay');
  // the same directory each time: upperdir records it
  const lower = join(settings.mountpoint, '../lower');
  mkdirSync(lower, { recursive: true });
  const outcome = await run(['mount', '-t', 'overlay', 'overlay', '-o', overlayOptions(settings, lower, more), at]);
  if (outcome.status === 0) undo.push(() => (mountedAt(at) === undefined ? undefined : succeed(['umount', at])));
  return outcome;
}

const ANOTHER =
  'Choose a directory on a file system that only this kernel writes to, such as ext4, xfs, btrfs or tmpfs.';

describe('prepareUpper() on', () => {
  test.each<[string, (path: string) => Promise<string>]>([
    ['ext4', (path) => mountLoop(path, 'ext4', 32)],
    ['xfs', (path) => mountLoop(path, 'xfs', 320)],
    ['btrfs', (path) => mountLoop(path, 'btrfs', 128)],
    ['tmpfs', (path) => mountTmpfs(path)],
  ])('%s succeeds, with all features', async (_, make) => {
    const settings = layerIn(await make(scratch.at(`fs-${_}`)));
    for (const volatile of [false, true]) {
      const prepared = prepare({ ...settings, volatile });
      expect(prepared.warnings).toEqual([]);
      expect(prepared.features).toEqual({ nameless: true, types: true, handles: true });
      expect(prepared.mark).toBeGreaterThan(0);
      expect(readdirSync(settings.upperdir)).toEqual([]);
      // the records of overlayfs on upperdir would tie it to a lower directory
      expect(listXattrs(settings.upperdir)).toEqual([]);
      end(prepared);
    }
  });

  test('a file system without whiteouts is refused, with the missing features', async () => {
    const settings = layerIn(await mounted(scratch.at('ramfs'), '-t', 'ramfs', 'cfs-test'));
    expect(refused(settings)).toMatch(
      /as upperdir: its file system, ramfs, has no (?:trusted\.\* extended attributes|RENAME_WHITEOUT) \(.*\) \| Choose a/,
    );
    expect(readdirSync(settings.upperdir)).toEqual([]);
  });

  test('a stacked or FUSE file system is refused', async () => {
    const below = layer();
    const [lower, at] = [scratch.directory('lower'), scratch.directory('overlay')];
    await mounted(at, '-t', 'overlay', 'overlay', '-o', overlayOptions(below, lower, []));
    const settings = layerIn(join(at, 'layer'));
    expect(refused(settings)).toBe(
      `Cannot use ${settings.upperdir} as upperdir: it is on overlay, a stacked file system | ${ANOTHER}`,
    );

    const source = scratch.directory('source');
    for (const name of ['u', 'w', 'm']) mkdirSync(join(source, name));
    const image = await scratch.mount((await scratch.pack(source)).image);
    const own = layerIn(image.path);
    expect(refused(own)).toBe(
      `Cannot use ${image.at('u')} as upperdir: it is on fuse.cfs, a FUSE file system | ${ANOTHER}`,
    );
    expect(refused({ ...own, readOnly: true })).toContain('a FUSE file system');
  });

  test('a read-only file system is refused, except for a read-only mount', async () => {
    const at = await mountTmpfs(scratch.at('read-only'));
    const settings = layerIn(at);
    writeFileSync(join(settings.upperdir, 'file'), '');
    await succeed(['mount', '-o', 'remount,ro', at]);
    expect(refused(settings)).toBe(
      `Cannot use ${settings.workdir} as workdir: cannot make cfs in it: read-only file system | ` +
        'Its file system is mounted read-only.',
    );
    end(prepare({ ...settings, readOnly: true }));
  });

  test('two file systems, mounts or subvolumes is refused', async () => {
    const settings = layer();
    const other = layerIn(await mountTmpfs(scratch.at('another')));
    expect(refused({ ...settings, workdir: other.workdir })).toBe(
      `Cannot use ${other.workdir} as workdir: it is on another mount than the upperdir ${settings.upperdir}: ` +
        `files cannot be renamed from one to the other | Choose a directory beside ${settings.upperdir}.`,
    );
    const bound = await mounted(scratch.at('bound'), '--bind', settings.workdir);
    expect(refused({ ...settings, workdir: bound })).toContain('it is on another mount than the upperdir');

    const btrfs = await mountLoop(scratch.at('subvolumes'), 'btrfs', 128);
    await succeed(['btrfs', 'subvolume', 'create', join(btrfs, 'one')]);
    const [one, two] = [layerIn(join(btrfs, 'one')), layerIn(join(btrfs, 'two'))];
    expect(refused({ ...one, workdir: two.workdir })).toContain(
      `as workdir: it is on another file system or subvolume than the upperdir ${one.upperdir}`,
    );
    end(prepare(one));
  });

  test('one directory inside the other, by way of another mount, is refused', async () => {
    const settings = layer();
    const inside = join(settings.upperdir, 'inside');
    mkdirSync(inside);
    await mountTmpfs(inside);
    const workdir = join(inside, 'w');
    mkdirSync(workdir);
    expect(refused({ ...settings, workdir })).toContain(`as workdir: it is inside of the upperdir`);
    await succeed(['umount', inside]);
  });

  test('a directory with a mount inside it is refused', async () => {
    const settings = layer();
    const inside = await mounted(join(settings.upperdir, 'a b/c'), '-t', 'tmpfs', 'cfs-test');
    expect(refused(settings)).toBe(
      `Cannot use ${settings.upperdir} as upperdir: something is mounted inside of it, on ${inside} | ` +
        `'umount ${inside}' unmounts it.`,
    );
    await succeed(['umount', inside]);
    const work = await mounted(join(settings.workdir, 'work/x'), '-t', 'tmpfs', 'cfs-test');
    writeFileSync(join(work, 'kept'), '');
    expect(refused(settings)).toContain(`as workdir: something is mounted inside of it, on ${work}`);
    expect(readdirSync(work)).toEqual(['kept']);
    await succeed(['umount', work]);
    end(prepare(settings));
  });

  test('files that cannot be removed is refused, with the name of one', async () => {
    const settings = layerIn(await mountLoop(scratch.at('attributes'), 'ext4', 32));
    const file = join(settings.workdir, 'work/#1/locked');
    mkdirSync(join(settings.workdir, 'work/#1'), { recursive: true });
    writeFileSync(file, '');
    await succeed(['chattr', '+i', file]);
    expect(refused(settings)).toBe(
      `Cannot use ${settings.workdir} as workdir: cannot remove work/#1 in it: operation not permitted`,
    );
    await succeed(['chattr', '-i', file]);
    end(prepare(settings));
    for (const [letter, name] of [
      ['i', 'upperdir'],
      ['a', 'workdir'],
    ] as const) {
      await succeed(['chattr', `+${letter}`, settings[name]]);
      expect(refused(settings)).toBe(
        `Cannot use ${settings[name]} as ${name}: it has the attribute ${letter} of chattr(1): ` +
          'its files cannot be renamed or removed',
      );
      await succeed(['chattr', `-${letter}`, settings[name]]);
    }
    end(prepare(settings));
  });

  test('two projects of a quota is refused: rename(2) does not work between them', async () => {
    const at = await mountLoop(scratch.at('projects'), 'xfs', 320);
    const settings = layerIn(at);
    await succeed(['chattr', '-p', '7', '+P', settings.upperdir]);
    expect(refused(settings)).toContain('as upperdir: files cannot be renamed between it and workdir | They must be');
    await succeed(['chattr', '-p', '7', '+P', settings.workdir]);
    expect(readdirSync(settings.upperdir)).toEqual([]);
    mkdirSync(join(at, 'again'));
    await succeed(['chattr', '-p', '7', '+P', join(at, 'again')]);
    end(prepare({ ...settings, workdir: join(at, 'again') }));
  });

  test('a full file system works well enough to delete files', async () => {
    const at = await mountTmpfs(scratch.at('full'), '1m');
    const settings = layerIn(at);
    end(prepare(settings));
    await run(['sh', '-c', `dd if=/dev/zero of=${settings.upperdir}/big bs=4k status=none`]);
    const prepared = prepare(settings);
    for (const warning of prepared.warnings) expect(warning).toContain('is full');
    end(prepared);
  });

  test('a workdir with a default ACL: the directories in it have none', async () => {
    const settings = layer();
    await succeed(['setfacl', '-d', '-m', 'u:1000:rwx', settings.workdir]);
    end(prepare(settings));
    for (const name of ['work', 'index', 'cfs', 'cfs/orphans']) {
      expect(listXattrs(join(settings.workdir, name)), name).toEqual([]);
    }
    expect(lstatSync(join(settings.workdir, 'work')).mode & 0o7777).toBe(0);
  });

  test('a workdir of another user uses none of its files', async () => {
    const settings = layer();
    mkdirSync(join(settings.workdir, 'cfs'), { mode: 0o700 });
    chownSync(join(settings.workdir, 'cfs'), NOBODY, NOBODY);
    expect(refused(settings)).toContain('as workdir: cfs in it belongs to another user');
    const other = layer();
    mkdirSync(join(other.workdir, 'work'), { mode: 0o777 });
    chownSync(join(other.workdir, 'work'), NOBODY, NOBODY);
    end(prepare(other));
    expect(lstatSync(join(other.workdir, 'work')).uid).toBe(0);
  });
});

describe('overlayfs of the kernel', () => {
  test.each([
    [['index=off'], {}],
    [['index=on'], {}],
    [['userxattr'], { userxattr: true }],
  ] as const)('with %s keeps its directories from a mount of cfs', async (options, mode) => {
    const settings = { ...layer(), ...mode };
    const { upperdir, workdir } = settings;
    expect(await overlay(settings, ...options)).toMatchObject({ status: 0 });
    expect(refused(settings)).toMatch(
      new RegExp(
        `^Cannot use ${upperdir} as upperdir: it is the upperdir of an overlayfs on .* \\| 'umount .*' unmounts`,
      ),
    );
    expect(refused({ ...settings, readOnly: true })).toContain('it is the upperdir of an overlayfs on');
    const other = join(workdir, '../other');
    mkdirSync(other);
    expect(refused({ ...settings, upperdir: other })).toContain(
      `Cannot use ${workdir} as workdir: it is the workdir of an overlayfs on`,
    );
    expect(refused({ ...settings, upperdir: workdir, workdir: other })).toContain(
      `Cannot use ${workdir} as upperdir: it is the workdir of an overlayfs on`,
    );
    await undo.pop()?.();
    end(prepare(settings));
  });

  test('is found by any name of its directories', async () => {
    const settings = layerIn(scratch.at('a, \\ b:c=d'));
    const escaped = (path: string): string => path.replace(/[\\,:]/g, '\\$&');
    const { upperdir, workdir } = settings;
    const at = scratch.directory('overlay');
    const fd = mountDetached('overlay', {
      lowerdir: scratch.directory('lower'),
      upperdir: escaped(upperdir),
      workdir: escaped(workdir),
    });
    if (isErrno(fd)) throw new Error(`overlayfs: ${fd}`);
    undo.push(() => closeFd(fd));
    // this mount is in no mount table, but the kernel has its mark
    expect(refused(settings)).toBe(
      `Cannot use ${upperdir} as upperdir: it is the upperdir or workdir of an overlayfs in another mount namespace | ` +
        'Unmount it there, or end the container that has it.',
    );
    closeFd(fd);
    undo.pop();
    const words = overlayOptions({ ...settings, upperdir: escaped(upperdir), workdir: escaped(workdir) }, at, []);
    const outcome = await run(['mount', '-i', '-t', 'overlay', 'overlay', '-o', words, at]);
    if (outcome.status !== 0) return; // this version of mount(8) cannot pass such paths
    undo.push(() => succeed(['umount', at]));
    expect(refused(settings)).toContain(`it is the upperdir of an overlayfs on ${at} | `);
  });

  test('is found in another mount namespace, with the process that has it', async () => {
    const settings = layer();
    const [at, lower] = [scratch.directory('overlay'), scratch.directory('lower')];
    const script = 'mount -t overlay overlay -o "$1" "$2" && echo ready && exec cat';
    const words = overlayOptions(settings, lower, []);
    const holder = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', words, at], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const ended = once(holder, 'exit');
    undo.push(async () => {
      holder.stdin.end();
      await ended;
    });
    await once(holder.stdout, 'data');
    expect(mountedAt(at)).toBeUndefined();
    expect(refused(settings)).toBe(
      `Cannot use ${settings.upperdir} as upperdir: it is the upperdir of an overlayfs on ${at} ` +
        `in the mount namespace of process ${holder.pid} | Unmount it there.`,
    );
  });

  test('is refused by the kernel with index=on, if cfs uses the directory', async () => {
    const settings = layer();
    const prepared = prepare(settings);
    const refusedByKernel = await overlay(settings, 'index=on');
    expect(refusedByKernel.status).not.toBe(0);
    // mount(8) has two texts for EBUSY: the second one, if any other overlay of the machine has the same source
    expect(refusedByKernel.stderr).toMatch(/busy|already mounted on/);
    end(prepared);
    expect(await overlay(settings, 'index=on')).toMatchObject({ status: 0 });
    await undo.pop()?.();
    // the mark left nothing behind that would prevent the next mount of either
    end(prepare(settings));
    expect(await overlay(settings, 'index=on')).toMatchObject({ status: 0 });
  });

  test('is refused after a volatile mount of cfs that did not end, and vice versa', async () => {
    const settings = layer();
    end(prepare({ ...settings, volatile: true }));
    expect((await overlay(settings)).status).not.toBe(0);
    const other = layer();
    expect(await overlay(other, 'volatile')).toMatchObject({ status: 0 });
    await undo.pop()?.();
    expect(refused(other)).toContain('its last mount was volatile and did not end cleanly');
  });
});

/** Runs prepareUpper() in a place, until `end`. */
class Elsewhere {
  readonly #child: ChildProcess;
  readonly answer: Promise<{ readonly mark?: number; readonly warnings?: string[]; readonly error?: string }>;

  constructor(place: Place, settings: UpperSettings) {
    const code = `
      const dist = ${JSON.stringify(place.tools.dist)};
      const { prepareUpper } = await import(dist + '/src/upper/prepare-upper.js');
      let answer;
      try {
        const { mark, warnings } = prepareUpper(${JSON.stringify(settings)});
        answer = { mark, warnings };
      } catch (error) {
        answer = { error: error.message + ' | ' + error.hint };
      }
      console.log(JSON.stringify(answer));
      process.stdin.resume();`;
    const [program, ...args] = place.command(place.tools.node, '--input-type=module', '-e', code) as [string];
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const stdout = this.#child.stdout as NodeJS.ReadableStream;
    this.answer = once(stdout, 'data').then(([line]) => JSON.parse(String(line)) as { error?: string });
  }

  async end(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin?.end();
    await ended;
  }
}

/** The calls of one run that can fail. */
function callsOf(settings: UpperSettings): string[] {
  const trace = scratch.at(`trace-${settings.workdir.replaceAll('/', '-')}`);
  const { status, stderr } = spawnWith(`trace:${trace}`, settings);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return readFileSync(trace, 'utf8').trimEnd().split('\n');
}

/** Runs prepareUpper() on new directories with a fault, and in the same process again without it. */
function spawnWith(fault: string, settings: UpperSettings) {
  const code = `
    const { readdirSync } = await import('node:fs');
    const { upperFailPoints } = await import('${HERE.tools.dist}/src/system/fail-points.js');
    const { prepareUpper, closeUpper } = await import('${HERE.tools.dist}/src/upper/prepare-upper.js');
    const prepare = (settings) => {
      try {
        closeUpper(prepareUpper(settings));
        console.log('done');
      } catch (error) {
        if (error.name !== 'CfsError') throw error;
        console.log(error.message);
      }
      const now = readdirSync('/proc/self/fd').length;
      // the first one loads libraries
      before ??= now;
      if (now !== before) throw new Error('left open');
    };
    let before;
    prepare(${JSON.stringify(layer())});
    const settings = ${JSON.stringify(settings)};
    upperFailPoints.failAt(${JSON.stringify(fault)});
    prepare(settings);
    upperFailPoints.failAt('nowhere');
    prepare(settings);`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
    env: { ...process.env, CFS_FAIL_UPPER_AT: 'nowhere' },
  });
}

describe('each step may fail', () => {
  test('with an error that is reported, and the next mount works', () => {
    const calls = callsOf(layer());
    expect(calls.length).toBeGreaterThan(15);
    for (const [i, call] of calls.entries()) {
      const settings = layer();
      const { status, stdout, stderr } = spawnWith(`main:${i + 1}:EIO`, settings);
      expect({ call, status, stderr }).toEqual({ call, status: 0, stderr: '' });
      const [first, second, third] = stdout.trimEnd().split('\n');
      expect([first, third]).toEqual(['done', 'done']);
      if (second !== 'done')
        expect(second, call).toMatch(/^Cannot use .* as (?:upperdir|workdir): .*(?:input\/output error|in it)/);
      expect(readdirSync(settings.upperdir), call).toEqual([]);
    }
  });

  test('by a kill, and the next mount works', () => {
    for (let at = 1; ; at++) {
      const settings = layer();
      const { status, signal, stderr } = spawnWith(`main:${at}:kill`, settings);
      if (signal === null) {
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        expect(at).toBeGreaterThan(15);
        break;
      }
      expect(signal).toBe('SIGKILL');
      // entries that are invisible in a mount
      for (const name of readdirSync(settings.upperdir)) {
        expect(lstatSync(join(settings.upperdir, name)).isCharacterDevice()).toBe(true);
      }
      end(prepare(settings));
    }
  });
});

describe('in another process', () => {
  test('a mount has its directories until its process is killed', async () => {
    const settings = layer();
    const other = new Elsewhere(HERE, settings);
    undo.push(() => other.end());
    expect(await other.answer).toMatchObject({ warnings: [] });
    expect(refused(settings)).toContain(`another mount of cfs uses it, at ${settings.mountpoint}`);
    await undo.pop()?.();
    end(prepare(settings));
  });
});

describe.each([
  { title: 'root', namespace: () => scratch.namespace('upper of root'), owner: 0 },
  { title: 'nobody', namespace: () => scratch.namespaceOfNobody(), owner: NOBODY },
])('in a user namespace of $title', ({ namespace, owner }) => {
  let place: Place;
  beforeAll(async () => {
    place = await namespace();
  });

  function ownLayer(): UpperSettings {
    const settings = layer();
    for (const path of [settings.upperdir, settings.workdir]) chownSync(path, owner, owner);
    return { ...settings, userxattr: true };
  }

  test('works with userxattr', async () => {
    const settings = ownLayer();
    for (let i = 0; i < 2; i++) {
      const upper = new Elsewhere(place, settings);
      undo.push(() => upper.end());
      expect(await upper.answer).toMatchObject({ warnings: [] });
      const second = new Elsewhere(place, settings);
      expect((await second.answer).error).toContain('another mount of cfs uses it');
      await second.end();
      await undo.pop()?.();
    }
    expect(readdirSync(settings.upperdir)).toEqual([]);
    expect(listXattrs(settings.upperdir)).toEqual([]);
    expect(lstatSync(join(settings.workdir, 'work')).mode & 0o777).toBe(0);
  });

  test('says that trusted.* attributes need userxattr', async () => {
    const settings = { ...ownLayer(), userxattr: false };
    const upper = new Elsewhere(place, settings);
    expect((await upper.answer).error).toBe(
      `Cannot use ${settings.upperdir} as upperdir: this process may not set trusted.* extended attributes | ` +
        'Only root outside of user namespaces may. `userxattr` uses user.* attributes instead.',
    );
    await upper.end();
  });

  test('finds an overlayfs of the host', async () => {
    const settings = ownLayer();
    expect(await overlay({ ...settings, userxattr: true }, 'userxattr')).toMatchObject({ status: 0 });
    const upper = new Elsewhere(place, settings);
    expect((await upper.answer).error).toContain('it is the upperdir');
    await upper.end();
  });
});
