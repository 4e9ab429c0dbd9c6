// One of several processes that change a file system at once, as in fsstress, with a check of every result. It works in
// DIRECTORY/worker-INDEX, which only it changes, and in DIRECTORY/shared, which all change. At the end it prints the
// content of its own directory as JSON: path -> description. It fails at the first error.
// Usage: node load-worker.mjs DIRECTORY INDEX SEED STEPS
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';

const [directory, index, seed, steps] = process.argv.slice(2);
const own = join(directory, `worker-${index}`);
const shared = join(directory, 'shared');

let state = Number(seed) >>> 0;
/** A whole number below `n`: mulberry32. */
function below(n) {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) % n;
}
const pick = (list) => list[below(list.length)];
const bytes = (length) => Buffer.alloc(length, `${below(1e9)}.`);

// The expected content of its directory: a file is { content, mode, names }, shared by its names; a link { target }.
const root = { children: new Map() };

/** Takes the initial state as right. */
function adopt(path, node) {
  for (const entry of fs.readdirSync(path, { withFileTypes: true })) {
    const at = join(path, entry.name);
    if (entry.isDirectory()) {
      const child = { children: new Map() };
      node.children.set(entry.name, child);
      adopt(at, child);
    } else if (entry.isSymbolicLink()) node.children.set(entry.name, { target: fs.readlinkSync(at) });
    else node.children.set(entry.name, { content: fs.readFileSync(at), mode: fs.statSync(at).mode & 0o7777, names: 1 });
  }
}
fs.mkdirSync(own, { recursive: true });
adopt(own, root);

function must(condition, text) {
  if (!condition) throw new Error(text);
}

/** All places, with the directory that they are in. */
function places(kind, node = root, path = own, found = []) {
  for (const [name, child] of node.children) {
    const at = join(path, name);
    if (kind(child)) found.push({ parent: node, name, node: child, path: at });
    if (child.children) places(kind, child, at, found);
  }
  return found;
}
const isFile = (node) => node.content !== undefined;
const isDirectory = (node) => node.children !== undefined;
const anyDirectory = () => pick([{ node: root, path: own }, ...places(isDirectory)]);
const newName = (node) => {
  const name = pick(['a', 'b', 'c', 'data', 'x'.repeat(1 + below(200))]) + below(40);
  return node.children.has(name) ? undefined : name;
};

function removed(node) {
  if (isFile(node)) node.names--;
}

const OWN = {
  create() {
    const { node, path } = anyDirectory();
    const name = newName(node);
    if (name === undefined) return;
    const content = bytes(below(40_000));
    fs.writeFileSync(join(path, name), content, { mode: 0o644 });
    node.children.set(name, { content, mode: 0o644, names: 1 });
  },
  overwrite() {
    const file = pick(places(isFile));
    if (!file) return;
    const fd = fs.openSync(file.path, 'r+');
    const part = bytes(1 + below(20_000));
    const at = below(file.node.content.length + 5000);
    must(fs.writeSync(fd, part, 0, part.length, at) === part.length, 'a short write');
    fs.closeSync(fd);
    const size = Math.max(file.node.content.length, at + part.length);
    const content = Buffer.alloc(size);
    file.node.content.copy(content);
    part.copy(content, at);
    file.node.content = content;
  },
  append() {
    const file = pick(places(isFile));
    if (!file) return;
    const part = bytes(1 + below(5000));
    fs.appendFileSync(file.path, part);
    file.node.content = Buffer.concat([file.node.content, part]);
  },
  truncate() {
    const file = pick(places(isFile));
    if (!file) return;
    const size = below(50_000);
    fs.truncateSync(file.path, size);
    file.node.content = Buffer.concat([
      file.node.content.subarray(0, size),
      Buffer.alloc(Math.max(0, size - file.node.content.length)),
    ]);
  },
  read() {
    const file = pick(places(isFile));
    if (!file) return;
    must(fs.readFileSync(file.path).equals(file.node.content), `content of ${file.path}`);
    const { size, nlink, mode } = fs.statSync(file.path);
    must(size === file.node.content.length, `size of ${file.path}: ${size}, not ${file.node.content.length}`);
    must(nlink === file.node.names, `links of ${file.path}: ${nlink}, not ${file.node.names}`);
    must((mode & 0o7777) === file.node.mode, `mode of ${file.path}`);
  },
  list() {
    const { node, path } = anyDirectory();
    const names = fs.readdirSync(path).sort().join('/');
    must(names === [...node.children.keys()].sort().join('/'), `names in ${path}: ${names}`);
  },
  chmod() {
    const file = pick(places(isFile));
    if (!file) return;
    file.node.mode = 0o600 + below(0o100);
    fs.chmodSync(file.path, file.node.mode);
  },
  mkdir() {
    const { node, path } = anyDirectory();
    const name = newName(node);
    if (name === undefined || path.length > 1500) return;
    fs.mkdirSync(join(path, name));
    node.children.set(name, { children: new Map() });
  },
  symlink() {
    const { node, path } = anyDirectory();
    const name = newName(node);
    if (name === undefined) return;
    const target = `../${'t'.repeat(1 + below(300))}`;
    fs.symlinkSync(target, join(path, name));
    node.children.set(name, { target });
  },
  link() {
    const file = pick(places(isFile));
    const { node, path } = anyDirectory();
    const name = newName(node);
    if (!file || name === undefined) return;
    fs.linkSync(file.path, join(path, name));
    file.node.names++;
    node.children.set(name, file.node);
  },
  unlink() {
    const file = pick(places((node) => !isDirectory(node)));
    if (!file) return;
    fs.unlinkSync(file.path);
    removed(file.node);
    file.parent.children.delete(file.name);
  },
  rename() {
    const from = pick(places(() => true));
    const to = anyDirectory();
    if (!from || `${to.path}/`.startsWith(`${from.path}/`)) return;
    const names = [...to.node.children].filter(([, node]) => isDirectory(node) === isDirectory(from.node));
    // over an existing file, or to a new name
    const name = below(3) === 0 && names.length > 0 ? pick(names)[0] : newName(to.node);
    if (name === undefined) return;
    const before = to.node.children.get(name);
    if (before === from.node) return;
    if (before && isDirectory(before) && before.children.size > 0) {
      let code;
      try {
        fs.renameSync(from.path, join(to.path, name));
      } catch (error) {
        code = error.code;
      }
      must(code === 'ENOTEMPTY' || code === 'EINVAL', `rename over a directory that is not empty: ${code}`);
      return;
    }
    fs.renameSync(from.path, join(to.path, name));
    if (before) removed(before);
    from.parent.children.delete(from.name);
    to.node.children.set(name, from.node);
  },
  remove() {
    if (below(4) !== 0) return;
    const place = pick(places(isDirectory));
    if (!place) return;
    fs.rmSync(place.path, { recursive: true });
    for (const { node } of places(isFile, place.node, place.path)) removed(node);
    place.parent.children.delete(place.name);
  },
  sync() {
    const file = pick(places(isFile));
    if (!file) return;
    const fd = fs.openSync(file.path, 'r+');
    fs.fsyncSync(fd);
    fs.closeSync(fd);
  },
};

/** A content with its own hash, which shows whether it is whole. */
function sealed() {
  const body = bytes(below(30_000));
  return Buffer.concat([createHash('sha1').update(body).digest(), body]);
}
const isWhole = (content) => createHash('sha1').update(content.subarray(20)).digest().equals(content.subarray(0, 20));

/** Errors that others may cause at any time. */
const EXPECTED = new Set(['ENOENT', 'EEXIST', 'ENOTEMPTY', 'ENOTDIR', 'EISDIR', 'EINVAL', 'EPERM']);
const inShared = () => join(shared, ...(below(3) === 0 ? [`dir${below(3)}`] : []), `file${below(12)}`);
const SHARED = {
  replace() {
    const temporary = join(shared, `tmp-${index}-${below(1e9)}`);
    fs.writeFileSync(temporary, sealed());
    try {
      fs.renameSync(temporary, inShared());
    } catch (error) {
      fs.unlinkSync(temporary);
      throw error;
    }
  },
  read() {
    const path = inShared();
    must(isWhole(fs.readFileSync(path)), `${path} is a part of a file, or of two`);
  },
  rename: () => fs.renameSync(inShared(), inShared()),
  link: () => fs.linkSync(inShared(), inShared()),
  unlink: () => fs.unlinkSync(inShared()),
  mkdir: () => fs.mkdirSync(join(shared, `dir${below(3)}`)),
  rmdir: () => fs.rmdirSync(join(shared, `dir${below(3)}`)),
  moveDirectory: () => fs.renameSync(join(shared, `dir${below(3)}`), join(shared, `dir${below(3)}`)),
  list() {
    const names = fs.readdirSync(shared);
    must(new Set(names).size === names.length, `a name twice in ${names.join(' ')}`);
  },
};

for (let step = 0; step < Number(steps); step++) {
  pick(Object.values(OWN))();
  try {
    pick(Object.values(SHARED))();
  } catch (error) {
    if (!EXPECTED.has(error.code)) throw error;
  }
}

const left = {};
for (const { node, path } of places(() => true)) {
  const name = path.slice(own.length + 1);
  if (isDirectory(node)) left[name] = 'directory';
  else if (isFile(node))
    left[name] = `file ${node.mode.toString(8)} ${node.names} ${createHash('sha1').update(node.content).digest('hex')}`;
  else left[name] = `link ${node.target}`;
}
process.stdout.write(JSON.stringify(left));
