// A writer that makes random changes in DIRECTORY until the file STOP exists, and checks each at once with a model of
// what must be there. DIRECTORY is its own. It ends at the first error. Prints, as JSON: the number of steps, the
// longest of them in milliseconds, the error, and the model: all names with what belongs to them.
// Usage: node storm-load.mjs DIRECTORY SEED STOP [no-redirects]
// With no-redirects, directories that are there at the beginning cannot be renamed.
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';

const koffi = createRequire(import.meta.url)('koffi');
const libc = koffi.load('libc.so.6');
const mmap = libc.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)');
const munmap = libc.func('int munmap(void *address, size_t length)');
const renameat2 = libc.func(
  'int renameat2(int dir, const char *name, int newDir, const char *newName, unsigned int flags)',
);
const linkat = libc.func('int linkat(int dir, const char *name, int newDir, const char *newName, int flags)');
const setxattr = libc.func(
  'int setxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
);
const getxattr = libc.func('int64_t getxattr(const char *path, const char *name, void *value, size_t size)');
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
const [RENAME_NOREPLACE, RENAME_EXCHANGE] = [1, 2];
const O_PATH = 0o10000000;
const O_TMPFILE_RDWR = 0o20200002;
const EEXIST = 17;
const MOST_NAMES = 60;
const MOST_DIRECTORIES = 12;
const MOST_HELD = 12;

const [root, seed, stop, redirects] = process.argv.slice(2);
let state = Number(seed);
/** A number from 0 to n - 1 (mulberry32). */
function random(n) {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) % n;
}
const pick = (list) => list[random(list.length)];
const someBytes = (length) => Buffer.from(Array.from({ length }, () => random(256)));
const bytesOf = (sizes) => Buffer.alloc(pick(sizes), someBytes(1 + random(30)));

/** Files and symbolic links by their names: { ino, bytes, mode, mtime, target, xattr }, one object for all links. */
const model = new Map();
/** Inode numbers of directories. */
const directories = new Map();
/** Inode numbers of those that were there at the beginning. */
const firstDirectories = new Set();
/** What goes on without a name: { check(), change(), end() }. */
const held = [];
let counter = 0;
/** Whether the working directory is one that was removed. */
let isAway = false;

const at = (name) => join(root, name);
const fresh = (kind) => join(pick([...directories.keys()]), `${kind}${++counter}`);
const files = () => [...model.keys()].filter((name) => model.get(name).target === undefined);
const linksOf = (inode) => [...model.values()].filter((other) => other === inode).length;

function demand(condition, what) {
  if (!condition) throw new Error(what);
}

function refused(code, call) {
  try {
    call();
  } catch (error) {
    demand(error.code === code, `${error.code} in place of ${code}: ${error.message}`);
    return;
  }
  throw new Error(`no ${code}: it was done`);
}

function done(result, what) {
  demand(result === 0, `${what}: errno ${koffi.errno()}`);
}

function read(directory) {
  directories.set(directory, lstatSync(at(directory)).ino);
  for (const entry of readdirSync(at(directory), { withFileTypes: true })) {
    const name = join(directory, entry.name);
    if (entry.isDirectory()) read(name);
    else {
      const { ino, mode, mtimeMs } = lstatSync(at(name));
      const known = [...model.values()].find((inode) => inode.ino === ino);
      model.set(name, known ?? { ino, mode: mode & 0o777, mtime: mtimeMs, bytes: readFileSync(at(name)) });
    }
  }
}

/** @param {{ino: number, bytes: Buffer, mode?: number, mtime?: number, target?: string}} inode */
function checkStatus({ ino, bytes, mode, mtime, target }, status, links, what) {
  demand(status.ino === ino, `${what}: inode ${status.ino} in place of ${ino}`);
  demand(status.nlink === links, `${what}: ${status.nlink} links in place of ${links}`);
  if (target !== undefined) return;
  demand(status.size === bytes.length, `${what}: ${status.size} bytes in place of ${bytes.length}`);
  demand((status.mode & 0o777) === mode, `${what}: mode ${status.mode.toString(8)} in place of ${mode.toString(8)}`);
  demand(mtime === undefined || status.mtimeMs === mtime, `${what}: mtime ${status.mtimeMs} in place of ${mtime}`);
}

function checkContent({ bytes }, got, what) {
  if (bytes.equals(got)) return;
  const differs = bytes.findIndex((byte, i) => byte !== got[i]);
  throw new Error(`${what}: ${got.length} of ${bytes.length} bytes, another at ${differs}`);
}

function put(inode, bytes) {
  inode.bytes = bytes;
  inode.mtime = undefined;
}

function overwritten(old, bytes, offset) {
  const all = Buffer.alloc(Math.max(old.length, offset + bytes.length));
  old.copy(all);
  bytes.copy(all, offset);
  return all;
}

/** A descriptor of a file without a name. */
const heldOpen = (inode, fd, what) => ({
  check: () => {
    checkStatus(inode, fstatSync(fd), 0, what);
    const got = Buffer.alloc(inode.bytes.length + 1);
    checkContent(inode, got.subarray(0, readSync(fd, got, 0, got.length, 0)), what);
  },
  change: () => {
    const [bytes, offset] = [someBytes(50), random(inode.bytes.length + 1)];
    writeSync(fd, bytes, 0, bytes.length, offset);
    put(inode, overwritten(inode.bytes, bytes, offset));
  },
  end: () => closeSync(fd),
});

/** A file that is only mapped: shared, for reading and writing. */
function heldMapped(inode, fd) {
  const { length } = inode.bytes;
  const address = mmap(null, length, 3, 1, fd, 0);
  closeSync(fd);
  const memory = Buffer.from(koffi.view(address, length));
  return {
    check: () => checkContent(inode, memory, 'mapped'),
    change: () => {
      memory[random(length)] ^= 0xff;
      put(inode, Buffer.from(memory));
    },
    end: () => munmap(address, length),
  };
}

const heldByPath = (inode, fd) => ({
  check: () => {
    checkStatus(inode, fstatSync(fd), 0, 'O_PATH');
    checkContent(inode, readFileSync(`/proc/self/fd/${fd}`), 'O_PATH');
  },
  change: () => {
    truncateSync(`/proc/self/fd/${fd}`, 3);
    put(inode, overwritten(inode.bytes, Buffer.alloc(0), 3).subarray(0, 3));
  },
  end: () => closeSync(fd),
});

/** The working directory, which was removed. */
const heldDirectory = (ino) => ({
  check: () => {
    const status = lstatSync('.');
    demand(status.ino === ino && status.nlink === 0, `working directory: ${status.ino}, ${status.nlink} links`);
    demand(readdirSync('.').length === 0, 'working directory: not empty');
  },
  change: () => refused('ENOENT', () => mkdirSync('in nothing')),
  end: () => {
    process.chdir('/');
    isAway = false;
  },
});

/** Removes a name, and keeps its file by `keep`, which gets the inode and a descriptor. */
function hold(name, flags, keep) {
  const inode = model.get(name);
  const fd = openSync(at(name), flags);
  unlinkSync(at(name));
  model.delete(name);
  if (linksOf(inode) > 0) closeSync(fd);
  else held.push(keep(inode, fd));
}

function move(from, to) {
  model.set(to, model.get(from));
  model.delete(from);
}

/** Changes of a random file. */
const ofFile = {
  refusals: (name) => {
    refused('EEXIST', () => openSync(at(name), 'wx'));
    refused('EEXIST', () => mkdirSync(at(name)));
    refused('EEXIST', () => symlinkSync('target', at(name)));
    refused('ENOENT', () => unlinkSync(at(`${name}-missing`)));
    const result = renameat2(AT_FDCWD, at(name), AT_FDCWD, at(pick(files())), RENAME_NOREPLACE);
    demand(result === -1 && koffi.errno() === EEXIST, 'RENAME_NOREPLACE: no EEXIST');
  },
  write: (name, inode) => {
    const [bytes, offset] = [bytesOf([1, 100, 9000]), random(inode.bytes.length + 1)];
    const fd = openSync(at(name), 'r+');
    writeSync(fd, bytes, 0, bytes.length, offset);
    if (random(4) === 0) fsyncSync(fd);
    closeSync(fd);
    put(inode, overwritten(inode.bytes, bytes, offset));
  },
  append: (name, inode) => {
    const bytes = bytesOf([1, 100, 9000]);
    appendFileSync(at(name), bytes);
    put(inode, Buffer.concat([inode.bytes, bytes]));
  },
  truncate: (name, inode) => {
    const size = pick([0, 5, 20_000]);
    truncateSync(at(name), size);
    put(inode, overwritten(Buffer.alloc(size), inode.bytes.subarray(0, size), 0));
  },
  replaceContent: (name, inode) => {
    const bytes = bytesOf([0, 30, 30_000]);
    writeFileSync(at(name), bytes);
    put(inode, bytes);
  },
  rename: (name) => {
    const to = fresh('renamed');
    renameSync(at(name), at(to));
    move(name, to);
  },
  replace: (name, inode) => {
    const other = pick(files());
    const replaced = model.get(other);
    const fd = openSync(at(other), 'r+');
    renameSync(at(name), at(other));
    // two names of one file stay
    if (replaced !== inode) move(name, other);
    if (linksOf(replaced) > 0) closeSync(fd);
    else held.push(heldOpen(replaced, fd, 'replaced'));
  },
  exchange: (name, inode) => {
    const other = pick([...model.keys()]);
    done(renameat2(AT_FDCWD, at(name), AT_FDCWD, at(other), RENAME_EXCHANGE), 'exchange');
    model.set(name, model.get(other));
    model.set(other, inode);
  },
  link: (name, inode) => {
    const to = fresh('link');
    linkSync(at(name), at(to));
    model.set(to, inode);
  },
  unlink: (name) => {
    unlinkSync(at(name));
    model.delete(name);
    demand(!existsSync(at(name)), `${name} is there after unlink`);
  },
  holdOpen: (name) => hold(name, 'r+', (inode, fd) => heldOpen(inode, fd, 'unlinked')),
  holdByPath: (name) => hold(name, O_PATH, heldByPath),
  holdMapped: (name, inode) => {
    if (inode.bytes.length > 0) hold(name, 'r+', heldMapped);
  },
  read: (name, inode) => checkContent(inode, readFileSync(at(name)), name),
  status: (name, inode) => checkStatus(inode, lstatSync(at(name)), linksOf(inode), name),
  mode: (name, inode) => {
    inode.mode = pick([0o644, 0o600, 0o755]);
    chmodSync(at(name), inode.mode);
    checkStatus(inode, lstatSync(at(name)), linksOf(inode), name);
  },
  times: (name, inode) => {
    const seconds = 1_000_000_000 + random(1000);
    utimesSync(at(name), seconds, seconds);
    inode.mtime = seconds * 1000;
    checkStatus(inode, lstatSync(at(name)), linksOf(inode), name);
  },
  xattr: (name, inode) => {
    inode.xattr = someBytes(8);
    done(setxattr(at(name), 'user.storm', inode.xattr, 8, 0), 'setxattr');
    const got = Buffer.alloc(9);
    demand(getxattr(at(name), 'user.storm', got, 9) === 8 && got.subarray(0, 8).equals(inode.xattr), 'getxattr');
  },
};

/** Changes that need no file. */
const others = {
  create: () => {
    if (model.size >= MOST_NAMES) return;
    const [name, bytes] = [fresh('file'), bytesOf([0, 10, 5000, 70_000])];
    const fd = openSync(at(name), 'wx+', 0o644);
    writeSync(fd, bytes);
    const { ino } = fstatSync(fd);
    closeSync(fd);
    model.set(name, { ino, bytes, mode: 0o644 });
  },
  symlink: () => {
    const name = fresh('symlink');
    symlinkSync('target', at(name));
    demand(readlinkSync(at(name)) === 'target', 'another target');
    if (random(2) === 0) unlinkSync(at(name));
    else model.set(name, { ino: lstatSync(at(name)).ino, bytes: Buffer.from('target'), target: 'target' });
  },
  unlinkSymlink: () => {
    const name = [...model.keys()].find((one) => model.get(one).target !== undefined);
    if (name === undefined) return;
    checkStatus(model.get(name), lstatSync(at(name)), linksOf(model.get(name)), name);
    unlinkSync(at(name));
    model.delete(name);
  },
  tmpfile: () => {
    const fd = openSync(at(pick([...directories.keys()])), O_TMPFILE_RDWR, 0o644);
    const inode = { ino: fstatSync(fd).ino, bytes: bytesOf([10, 5000]), mode: 0o644 };
    writeSync(fd, inode.bytes);
    checkStatus(inode, fstatSync(fd), 0, 'O_TMPFILE');
    if (random(2) === 0) return void held.push(heldOpen(inode, fd, 'O_TMPFILE'));
    const name = fresh('tmpfile');
    done(linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, at(name), AT_SYMLINK_FOLLOW), 'linkat');
    closeSync(fd);
    model.set(name, inode);
  },
  mkdir: () => {
    if (directories.size >= MOST_DIRECTORIES) return;
    const name = fresh('directory');
    mkdirSync(at(name));
    directories.set(name, lstatSync(at(name)).ino);
  },
  rmdir: () => {
    const name = pick([...directories.keys()]);
    if (name === '.') return;
    const isEmpty = ![...model.keys(), ...directories.keys()].some((other) => other.startsWith(`${name}/`));
    if (!isEmpty) return refused('ENOTEMPTY', () => rmdirSync(at(name)));
    const isHeld = random(2) === 0 && !isAway;
    if (isHeld) process.chdir(at(name));
    isAway ||= isHeld;
    rmdirSync(at(name));
    if (isHeld) held.push(heldDirectory(directories.get(name)));
    directories.delete(name);
    demand(!existsSync(at(name)), `${name} is there after rmdir`);
  },
  renameDirectory: () => {
    const name = pick([...directories.keys()]);
    if (name === '.') return;
    const to = fresh('moved');
    if (`${to}/`.startsWith(`${name}/`)) return refused('EINVAL', () => renameSync(at(name), at(to)));
    const isFixed = redirects === 'no-redirects' && firstDirectories.has(directories.get(name));
    if (isFixed) return refused('EXDEV', () => renameSync(at(name), at(to)));
    renameSync(at(name), at(to));
    for (const map of [model, directories]) {
      for (const [old, value] of [...map]) {
        if (old !== name && !old.startsWith(`${name}/`)) continue;
        map.delete(old);
        map.set(to + old.slice(name.length), value);
      }
    }
  },
  list: () => {
    const name = pick([...directories.keys()]);
    const names = [...model.keys(), ...directories.keys()].filter((one) => one !== '.' && dirname(one) === name);
    const got = readdirSync(at(name)).sort().join(' ');
    const expected = names
      .map((one) => basename(one))
      .sort()
      .join(' ');
    demand(got === expected, `${name} lists ${got} in place of ${expected}`);
    demand(lstatSync(at(name)).ino === directories.get(name), `${name} has another inode number`);
  },
  held: () => {
    if (held.length === 0) return;
    const i = random(held.length);
    held[i].check();
    held[i].change();
    held[i].check();
    if (random(3) === 0 || held.length > MOST_HELD) held.splice(i, 1)[0].end();
  },
};

const kinds = [...Object.keys(ofFile), ...Object.keys(others), 'create', 'create', 'list', 'held', 'held'];

function step(kind) {
  if (kind in others) return others[kind]();
  const names = files();
  const name = pick(names);
  if (name !== undefined) ofFile[kind](name, model.get(name));
}

let steps = 0;
let longest = 0;
let error;
let kind = 'begin';
try {
  process.chdir('/');
  read('.');
  for (const ino of directories.values()) firstDirectories.add(ino);
  while (!existsSync(stop)) {
    const began = performance.now();
    kind = pick(kinds);
    step(kind);
    longest = Math.max(longest, performance.now() - began);
    steps++;
  }
  kind = 'end';
  for (const one of held) {
    one.check();
    one.end();
  }
} catch (caught) {
  error = `seed ${seed}, step ${steps}, ${kind}: ${caught.message}`;
}

const entries = [...model].map(([name, inode]) => {
  const { ino, bytes, mode, mtime, xattr } = inode;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return [name, { ino, links: linksOf(inode), size: bytes.length, mode, mtime, sha256, xattr: xattr?.toString('hex') }];
});
process.stdout.write(
  JSON.stringify({ steps, longest: Math.round(longest), error, entries, directories: [...directories] }),
);
