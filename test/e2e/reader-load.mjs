// A reader that continues until the file STOP exists: it uses random files of a mount in one way, and compares all
// results with the source of the image. After some steps, which even the slowest machine reaches, it creates the file
// STOP.begun-SEED. It prints the number of steps, the errors, and the longest time of a step, as JSON.
// Usage: node reader-load.mjs KIND MOUNT SOURCE STOP SEED
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { nameToHandle, openByHandle } from '../../dist/src/system/file-handle.js';

const [kind, mount, source, stop, seed] = process.argv.slice(2);
const LEAST = 11;

let state = Number(seed) || 1;
/** A number from 0 to n - 1 (xorshift32). */
function random(n) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % n;
}

const files = [];
const directories = ['.'];
for (let i = 0; i < directories.length; i++) {
  for (const entry of readdirSync(join(source, directories[i]), { withFileTypes: true })) {
    const path = join(directories[i], entry.name);
    if (entry.isDirectory()) directories.push(path);
    else if (entry.isFile()) files.push(path);
  }
}

function pick(list) {
  return list[random(list.length)];
}

function demand(condition, what) {
  if (!condition) throw new Error(what);
}

function samePiece(fd, path) {
  const own = openSync(join(source, path), 'r');
  try {
    const at = random(Math.max(1, fstatSync(own).size));
    const [expected, got] = [Buffer.alloc(5000), Buffer.alloc(5000)];
    const [n, m] = [readSync(own, expected, 0, 5000, at), readSync(fd, got, 0, 5000, at)];
    demand(n === m && expected.equals(got), `${path}: other bytes at ${at}: ${m} of ${n}`);
  } finally {
    closeSync(own);
  }
}

const held = new Map();

function mapper() {
  const koffi = createRequire(import.meta.url)('koffi');
  const libc = koffi.load('libc.so.6');
  const mmap = libc.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)');
  const munmap = libc.func('int munmap(void *address, size_t length)');
  return (path) => {
    const expected = readFileSync(join(source, path));
    if (expected.length === 0) return;
    const fd = openSync(join(mount, path), 'r');
    const address = mmap(null, expected.length, 1, 2, fd, 0);
    closeSync(fd);
    // the mapping is copied, so each page is read once
    const got = Buffer.from(koffi.decode(address, koffi.array('uint8_t', expected.length, 'Typed')));
    demand(expected.equals(got), `${path}: other bytes in memory`);
    munmap(address, expected.length);
  };
}

const steps = {
  open: () => {
    const path = pick(files);
    demand(readFileSync(join(source, path)).equals(readFileSync(join(mount, path))), `${path}: other bytes`);
  },
  hold: () => {
    const path = pick(files);
    if (!held.has(path)) held.set(path, openSync(join(mount, path), 'r'));
    samePiece(held.get(path), path);
    if (held.size < 100) return;
    const [first, fd] = held.entries().next().value;
    closeSync(fd);
    held.delete(first);
  },
  list: () => {
    const path = pick(directories);
    const [expected, got] = [readdirSync(join(source, path)), readdirSync(join(mount, path))];
    demand(expected.sort().join('/') === got.sort().join('/'), `${path}: other names`);
    for (const name of got.slice(0, 20)) {
      const [a, b] = [lstatSync(join(source, path, name)), lstatSync(join(mount, path, name))];
      demand(a.mode === b.mode && (a.isDirectory() || a.size === b.size), `${path}/${name}: other attributes`);
    }
  },
  map: (() => {
    let map;
    return () => {
      map ??= mapper();
      map(pick(files));
    };
  })(),
  handle: () => {
    const path = pick(files);
    const named = nameToHandle(join(mount, path));
    if (typeof named !== 'object') throw new Error(`${path}: no handle: ${named}`);
    const root = openSync(mount, constants.O_RDONLY | constants.O_DIRECTORY);
    const fd = openByHandle(root, named.handle, constants.O_RDONLY);
    closeSync(root);
    demand(fd >= 0, `${path}: its handle does not open: ${fd}`);
    samePiece(fd, path);
    closeSync(fd);
  },
};

const errors = [];
let count = 0;
let longest = 0;
while (errors.length < 10 && (count < LEAST || !existsSync(stop))) {
  const began = performance.now();
  try {
    steps[kind]();
  } catch (error) {
    errors.push(`${kind}: ${error.message}`);
  }
  longest = Math.max(longest, performance.now() - began);
  if (++count === LEAST) writeFileSync(`${stop}.begun-${seed}`, '');
}
process.stdout.write(JSON.stringify({ kind, count, errors, longest: Math.round(longest) }));
