/**
 * For any user: with xattrs of `user.`, on the disk. For other file systems and mounts:
 * test/e2e/upper-directories.test.ts.
 */
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';
import {
  closeUpper,
  endVolatile,
  type PreparedUpper,
  prepareUpper,
  reopenUpper,
  type UpperSettings,
} from '../../../src/upper/prepare-upper.ts';
import { isRoot } from '../../support/root.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
let counter = 0;

/** Two new directories. */
function layer(): UpperSettings {
  const dir = at(`layer-${++counter}`);
  for (const name of ['u', 'w', 'm']) mkdirSync(join(dir, name), { recursive: true });
  return {
    upperdir: join(dir, 'u'),
    workdir: join(dir, 'w'),
    userxattr: true,
    volatile: false,
    readOnly: false,
    index: true,
    uuid: 'auto',
    mountpoint: join(dir, 'm'),
  };
}

const open: PreparedUpper[] = [];
afterEach(() => {
  for (const upper of open.splice(0)) closeUpper(upper);
});

function prepare(settings: UpperSettings): PreparedUpper {
  const prepared = prepareUpper(settings);
  open.push(prepared);
  return prepared;
}

/** Releases what `prepare` acquired. */
function end(prepared: PreparedUpper): void {
  open.splice(open.indexOf(prepared), 1);
  closeUpper(prepared);
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** The message and hint of the refusal, which must leave nothing open and nothing in upperdir. */
function refused(settings: UpperSettings): string {
  const before = descriptors();
  try {
    end(prepare(settings));
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    const { kind, message, hint } = error as CfsError;
    expect(kind).toBe('mount');
    expect(descriptors()).toBe(before);
    return hint === undefined ? message : `${message} | ${hint}`;
  }
  throw new Error('not refused');
}

const modeOf = (path: string): number => lstatSync(path).mode & 0o7777;

describe('prepareUpper()', () => {
  test('creates the entries that overlayfs and cfs need in workdir, and nothing in upperdir', () => {
    const settings = layer();
    const before = descriptors();
    const prepared = prepare(settings);
    expect(prepared).toMatchObject({ warnings: [], features: { nameless: true, types: true, handles: true } });
    const { workdir } = settings;
    expect(readdirSync(settings.upperdir)).toEqual([]);
    expect(readdirSync(workdir).sort()).toEqual(['cfs', 'index', 'work']);
    // an ordinary user cannot use a directory without permissions
    const closed = isRoot ? 0 : 0o700;
    expect([modeOf(join(workdir, 'work')), modeOf(join(workdir, 'index'))]).toEqual([closed, closed]);
    for (const name of ['cfs', 'cfs/orphans']) expect(modeOf(join(workdir, name))).toBe(0o700);
    expect(modeOf(join(workdir, 'cfs/lock'))).toBe(0o600);
    expect(readFileSync(join(workdir, 'cfs/lock'), 'utf8')).toBe(settings.mountpoint);
    for (const fd of [prepared.upper, prepared.base, prepared.work, prepared.index, prepared.orphans]) {
      expect(statSync(`/proc/self/fd/${fd}`).isDirectory()).toBe(true);
    }
    end(prepared);
    expect(descriptors()).toBe(before);
  });

  test('creates them with mode 0700 for any umask, and if workdir has the set-group-ID bit', () => {
    const settings = layer();
    chmodSync(settings.workdir, 0o2777);
    const umask = process.umask(0o777);
    try {
      end(prepare(settings));
    } finally {
      process.umask(umask);
    }
    expect(modeOf(join(settings.workdir, 'cfs'))).toBe(0o700);
    end(prepare(settings));
  });

  test('empties work, but keeps index, orphans and the table of identities', () => {
    const settings = layer();
    const { workdir } = settings;
    end(prepare(settings));
    chmodSync(join(workdir, 'work'), 0o700);
    chmodSync(join(workdir, 'index'), 0o700);
    mkdirSync(join(workdir, 'work/#12/a'), { recursive: true });
    for (const name of ['work/#13', 'work/#12/a/b', 'index/00fb', 'cfs/orphans/12']) {
      writeFileSync(join(workdir, name), '');
    }
    writeFileSync(join(workdir, 'work/cfs-ids'), 'table', { mode: 0o600 });
    end(prepare(settings));
    chmodSync(join(workdir, 'work'), 0o700);
    chmodSync(join(workdir, 'index'), 0o700);
    expect(readdirSync(join(workdir, 'work'))).toEqual(['cfs-ids']);
    expect(readFileSync(join(workdir, 'work/cfs-ids'), 'utf8')).toBe('table');
    expect(readdirSync(join(workdir, 'index'))).toEqual(['00fb']);
    expect(readdirSync(join(workdir, 'cfs/orphans'))).toEqual(['12']);
  });

  test.each<[string, (table: string, outside: string) => void]>([
    ['a link', (table, outside) => symlinkSync(outside, table)],
    ['a hard link of another file', (table, outside) => linkSync(outside, table)],
    ['a directory', (table) => mkdirSync(table)],
    [
      'a file that others may write to',
      (table) => {
        writeFileSync(table, '');
        chmodSync(table, 0o622);
      },
    ],
  ])('removes a table that is %s', (_, make) => {
    const settings = layer();
    const outside = at(`outside-${counter}`);
    writeFileSync(outside, 'kept', { mode: 0o600 });
    mkdirSync(join(settings.workdir, 'work'));
    make(join(settings.workdir, 'work/cfs-ids'), outside);
    end(prepare(settings));
    chmodSync(join(settings.workdir, 'work'), 0o700);
    expect(readdirSync(join(settings.workdir, 'work'))).toEqual([]);
    expect(readFileSync(outside, 'utf8')).toBe('kept');
  });

  test('replaces work, if it is a file or a link', () => {
    for (const make of [
      (path: string) => writeFileSync(path, ''),
      (path: string) => symlinkSync(at('target'), path),
      (path: string) => symlinkSync('nowhere', path),
    ]) {
      const settings = layer();
      mkdirSync(at('target'), { recursive: true });
      writeFileSync(at('target/kept'), '');
      make(join(settings.workdir, 'work'));
      end(prepare(settings));
      expect(lstatSync(join(settings.workdir, 'work')).isDirectory()).toBe(true);
    }
    expect(readdirSync(at('target'))).toEqual(['kept']);
  });

  test.each(['cfs', 'index', 'cfs/orphans', 'cfs/mark'])('refuses a link in the place of %s', (name) => {
    const settings = layer();
    const target = at(`target-${counter}`);
    mkdirSync(target, { mode: 0o700 });
    if (name.includes('/')) mkdirSync(join(settings.workdir, 'cfs'), { mode: 0o700 });
    symlinkSync(target, join(settings.workdir, name));
    const own = name.split('/').at(-1);
    expect(refused(settings)).toBe(
      `Cannot use ${settings.workdir} as workdir: ${own} in it is not a directory | Choose an empty directory.`,
    );
    expect(readdirSync(target)).toEqual([]);
  });

  test('refuses a link in the place of the lock, and writes to no file that has another name', () => {
    const settings = layer();
    mkdirSync(join(settings.workdir, 'cfs'), { mode: 0o700 });
    const target = at('lock-target');
    writeFileSync(target, 'kept');
    symlinkSync(target, join(settings.workdir, 'cfs/lock'));
    expect(refused(settings)).toMatch(/as workdir: cannot open cfs\/lock in it: too many levels of symbolic links$/);

    const other = layer();
    mkdirSync(join(other.workdir, 'cfs'), { mode: 0o700 });
    linkSync(target, join(other.workdir, 'cfs/lock'));
    end(prepare(other));
    expect(readFileSync(target, 'utf8')).toBe('kept');
  });

  test('refuses a directory of cfs that other users may write to', () => {
    const settings = layer();
    mkdirSync(join(settings.workdir, 'cfs'));
    chmodSync(join(settings.workdir, 'cfs'), 0o770);
    expect(refused(settings)).toContain('cfs in it belongs to another user, or others may write to it | ');
  });
});

describe('prepareUpper() refuses', () => {
  test('missing directories, and files that are not directories', () => {
    const settings = layer();
    const [file, none] = [at('file'), at('none')];
    writeFileSync(file, '');
    const { upperdir } = settings;
    expect(refused({ ...settings, upperdir: none })).toBe(
      `Cannot use ${none} as upperdir: it does not exist | Make an empty directory for it.`,
    );
    expect(refused({ ...settings, workdir: none })).toContain(`Cannot use ${none} as workdir: it does not exist`);
    expect(refused({ ...settings, workdir: file })).toBe(`Cannot use ${file} as workdir: it is not a directory`);
    expect(refused({ ...settings, upperdir: `${file}/x` })).toContain('as upperdir: it is not a directory');
    expect(readdirSync(upperdir)).toEqual([]);
  });

  test('one directory for both, or one inside the other, by whatever path', () => {
    const settings = layer();
    const { upperdir, workdir } = settings;
    const link = at('a link');
    symlinkSync(upperdir, link);
    const deep = join(upperdir, 'a/b/c');
    mkdirSync(deep, { recursive: true });
    const beside = `Choose a directory beside ${upperdir}.`;
    expect(refused({ ...settings, workdir: upperdir })).toBe(
      `Cannot use ${upperdir} as workdir: it is the upperdir itself | ${beside}`,
    );
    expect(refused({ ...settings, workdir: `${link}/.` })).toContain('it is the upperdir itself');
    expect(refused({ ...settings, workdir: deep })).toBe(
      `Cannot use ${deep} as workdir: it is inside of the upperdir ${upperdir} | ${beside}`,
    );
    expect(refused({ ...settings, upperdir: deep, workdir: upperdir })).toContain(
      `as workdir: the upperdir ${deep} is inside of it`,
    );
    expect(refused({ ...settings, workdir: '/' })).toContain(`as workdir: the upperdir ${upperdir} is inside of it`);
    end(prepare({ ...settings, upperdir: link, workdir }));
  });

  test('a mount point inside one of them; but upperdir itself may be a mount point', () => {
    const settings = layer();
    for (const name of ['upperdir', 'workdir'] as const) {
      const mountpoint = join(settings[name], 'm/n');
      mkdirSync(mountpoint, { recursive: true });
      expect(refused({ ...settings, mountpoint })).toBe(
        `Cannot use ${settings[name]} as ${name}: the mount point ${mountpoint} is inside of it | Mount somewhere else.`,
      );
    }
    end(prepare({ ...settings, mountpoint: settings.upperdir }));
  });

  test('directories of another mount, and says where that is', () => {
    const settings = layer();
    const first = prepare(settings);
    const hint = 'Each mount needs directories of its own. `listMounts` shows the mounts.';
    expect(refused(settings)).toBe(
      `Cannot use ${settings.workdir} as workdir: another mount of cfs uses it, at ${settings.mountpoint} | ${hint}`,
    );
    const other = layer();
    expect(refused({ ...settings, workdir: other.workdir })).toBe(
      `Cannot use ${settings.upperdir} as upperdir: another mount of cfs uses it | ${hint}`,
    );
    expect(refused({ ...settings, readOnly: true })).toContain('another mount of cfs uses it');
    end(first);
    end(prepare(settings));
  });

  test('the work directory of a volatile mount that did not end, also to read only', () => {
    const settings = layer();
    const { workdir } = settings;
    end(prepare({ ...settings, volatile: true }));
    const message =
      `Cannot use ${workdir} as workdir: its last mount was volatile and did not end cleanly: ` +
      'files in upperdir may be damaged or lost | Begin with empty directories. If the machine has not crashed since, ' +
      `remove ${workdir}/work/incompat/volatile.`;
    expect(refused(settings)).toBe(message);
    expect(refused({ ...settings, volatile: true })).toBe(message);
    if (isRoot) expect(refused({ ...settings, readOnly: true })).toBe(message);
    chmodSync(join(workdir, 'work'), 0o700);
    expect(existsSync(join(workdir, 'work/incompat/volatile/dirty'))).toBe(true);
  });

  test('a work directory with a mark of another feature', () => {
    const settings = layer();
    mkdirSync(join(settings.workdir, 'work/incompat/xyz\n'), { recursive: true });
    writeFileSync(join(settings.workdir, 'work/#1'), '');
    expect(refused(settings)).toBe(
      `Cannot use ${settings.workdir} as workdir: ${settings.workdir}/work/incompat/xyz\\x0a ` +
        'says that it has a feature that is not supported | Choose an empty directory.',
    );
    expect(readdirSync(join(settings.workdir, 'work')).sort()).toEqual(['#1', 'incompat']);
  });

  test.runIf(!isRoot)('directories of another user', () => {
    const settings = layer();
    expect(refused({ ...settings, upperdir: '/root' })).toContain('as upperdir: cannot open it: permission denied');
    expect(refused({ ...settings, userxattr: false })).toContain(
      'this process may not set trusted.* extended attributes | Only root outside of user namespaces may. `userxattr`',
    );
  });
});

test('a volatile mount that ends can be mounted again', () => {
  const settings = { ...layer(), volatile: true };
  const first = prepare(settings);
  expect(endVolatile(first)).toBe(0);
  expect(endVolatile(first)).toBe(0);
  end(first);
  end(prepare(settings));
});

describe('a read-only mount', () => {
  test('changes nothing, needs no workdir, and shares upperdir with others', () => {
    const settings = { ...layer(), readOnly: true, workdir: at('no such directory') };
    const first = prepare(settings);
    const second = prepare(settings);
    expect(first).toMatchObject({ base: -1, work: -1, index: -1, orphans: -1, lock: -1, mark: -1 });
    expect(refused({ ...layer(), upperdir: settings.upperdir })).toContain('as upperdir: another mount of cfs uses it');
    end(first);
    end(second);
    expect(readdirSync(settings.upperdir)).toEqual([]);
    expect(existsSync(settings.workdir)).toBe(false);
  });
});

test('reopenUpper() opens the directories again, and changes nothing', () => {
  const settings = { ...layer(), volatile: true };
  const { upper, base, lock, mark, work, index, orphans, features } = prepareUpper(settings);
  chmodSync(join(settings.workdir, 'work'), 0o700);
  writeFileSync(join(settings.workdir, 'work/#1'), '');
  const before = descriptors();
  const again = reopenUpper({ upper, base, lock, mark }, features, true);
  expect(descriptors()).toBe(before + 4);
  for (const [one, other] of [
    [again.work, work],
    [again.index, index],
    [again.orphans, orphans],
  ] as const) {
    expect(statSync(`/proc/self/fd/${one}`).ino).toBe(statSync(`/proc/self/fd/${other}`).ino);
  }
  expect(readdirSync(join(settings.workdir, 'work')).sort()).toEqual(['#1', 'incompat']);
  closeUpper(again);
  closeUpper({ ...again, upper: -1, base: -1, lock: -1, mark: -1, work, index, orphans });
});
