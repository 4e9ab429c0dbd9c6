// Sends every kind of request to a file system, through the dispatcher of a mount, and checks the properties that every
// accepted image must have.

import { ImageFilesystem } from '../../dist/src/fs/image-filesystem.js';
import * as abi from '../../dist/src/fuse/abi.js';
import { imageDispatcher } from '../../dist/src/fuse/dispatch.js';
import { allocateOpenFileState, OpenFiles } from '../../dist/src/fuse/open-files.js';
import { inodeCount, objectCount, u64 } from '../../dist/src/manifest/tables.js';
import { contentsOf } from '../../dist/src/mount/contents.js';
import { MountIdentity } from '../../dist/src/mount/mount-identity.js';
import { Topology } from '../../dist/src/mount/topology.js';
import { allocateObjectState } from '../../dist/src/objects/object-state.js';

/** The number of inodes that are asked about: for mutated images a few are as good as all. */
const MOST_INODES = 64;
/** The largest number of READDIR requests for a directory. */
const MOST_PAGES = 200;
const PAGE = 300;

const record = {
  pid: 1,
  sources: 1,
  imageId: '00'.repeat(32),
  mountpoint: Buffer.from('/mnt'),
  options: Buffer.from('verify=open'),
  release: 'fuzz',
};
/** @type {import('../../dist/src/mount-info/source-record.js').SourceRecord} */
const source = {
  kind: 'image',
  index: 0,
  count: 1,
  given: Buffer.from('i.cfs'),
  path: Buffer.from('/i.cfs'),
  device: { major: 8, minor: 1 },
  ino: 5n,
  fsType: 'ext4',
  fsUuid: undefined,
  mountId: 1,
  handle: undefined,
  parent: undefined,
  id: record.imageId,
};

/** A server of the tables without a store: reading contents that are not inline fails with EIO. */
export function serverOf(tables, verify) {
  const problems = [];
  const log = (line) => problems.push(line);
  const contents = contentsOf(tables, [], verify, allocateObjectState(objectCount(tables)), log);
  const topology = new Topology(tables, [], { mode: verify === 'read' ? 'read' : 'off' });
  const identity = new MountIdentity(tables, topology, {
    record,
    source: () => source,
    statistics: () => '{}',
    activity: () => '{}',
    problems: () => '[]',
  });
  const fs = new ImageFilesystem(tables, contents, undefined, identity);
  const failures = [];
  const openFiles = new OpenFiles(fs, allocateOpenFileState(fs.slots, 16), undefined);
  const dispatcher = imageDispatcher(fs, openFiles, (line) => failures.push(line));
  return { dispatcher, failures };
}

function demand(condition, what) {
  if (!condition) throw new Error(`the image was accepted, but ${what}`);
}

let unique = 2n;

/** The payload of the answer, or its error. */
function ask(dispatcher, opcode, ino, body = Buffer.alloc(0)) {
  const request = Buffer.alloc(40 + body.length);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt32LE(opcode, 4);
  request.writeBigUInt64LE(unique++, 8);
  request.writeBigUInt64LE(BigInt(ino), 16);
  request.set(body, 40);
  dispatcher.request.bytes.set(request);
  const length = dispatcher.serve(request.length);
  if (length === 0) return { error: 0, payload: Buffer.alloc(0) };
  const reply = dispatcher.reply.bytes.subarray(0, length);
  demand(
    length >= 16 && reply.readUInt32LE(0) === length,
    `opcode ${opcode} has a reply of ${length} bytes that claims another length`,
  );
  const error = reply.readInt32LE(4);
  demand(error <= 0 && error > -4096, `opcode ${opcode} has error ${error}`);
  return { error, payload: Buffer.from(reply.subarray(16)) };
}

const words = (...values) => Buffer.from(Uint32Array.from(values).buffer);
const readIn = (offset, size) => words(0, 0, offset, Math.floor(offset / 2 ** 32), size, 0, 0, 0, 0, 0);
const named = (head, name) => Buffer.concat([head, Buffer.from(name), Buffer.alloc(1)]);

/** Reads a directory through small pages; returns names and inode numbers. */
function list(dispatcher, ino, plus) {
  const entries = [];
  let offset = 0;
  for (let page = 0; page < MOST_PAGES; page++) {
    const { error, payload } = ask(
      dispatcher,
      plus ? abi.FUSE_READDIRPLUS : abi.FUSE_READDIR,
      ino,
      readIn(offset, PAGE + (plus ? 128 : 0)),
    );
    demand(error === 0 || error === -22, `directory ${ino} gives error ${error}`);
    if (error !== 0 || payload.length === 0) return entries;
    for (let at = 0; at < payload.length; ) {
      if (plus) at += 128;
      const length = payload.readUInt32LE(at + 16);
      const next = Number(payload.readBigUInt64LE(at + 8));
      demand(next > offset, `directory ${ino} goes back from ${offset} to ${next}`);
      offset = next;
      entries.push([payload.toString('latin1', at + 24, at + 24 + length), Number(payload.readBigUInt64LE(at))]);
      at += Math.ceil((24 + length) / 8) * 8;
    }
  }
  return entries;
}

function exerciseInode({ dispatcher }, tables, row) {
  const ino = u64(tables.inodes.id, row);
  const self = ask(dispatcher, abi.FUSE_LOOKUP, ino, named(Buffer.alloc(0), '.'));
  demand(
    self.error === 0 && Number(self.payload.readBigUInt64LE(0)) === ino,
    `inode ${ino} is not found by its own id`,
  );
  const attributes = ask(dispatcher, abi.FUSE_GETATTR, ino, Buffer.alloc(16));
  demand(attributes.error === 0, `inode ${ino} has no attributes`);
  const type = attributes.payload.readUInt32LE(16 + 60) >>> 12;
  if (type === 4) {
    const entries = list(dispatcher, ino, false);
    demand(
      JSON.stringify(entries) === JSON.stringify(list(dispatcher, ino, true)),
      `directory ${ino} has two listings`,
    );
    for (const [name, child] of entries.slice(0, 20)) {
      const found = ask(dispatcher, abi.FUSE_LOOKUP, ino, named(Buffer.alloc(0), Buffer.from(name, 'latin1')));
      demand(
        found.error === 0 && Number(found.payload.readBigUInt64LE(0)) === child,
        `a name of directory ${ino} leads elsewhere`,
      );
    }
  }
  const link = ask(dispatcher, abi.FUSE_READLINK, ino);
  demand((link.error === 0) === (type === 10), `READLINK of type ${type} gives ${link.error}`);
  const opened = ask(dispatcher, abi.FUSE_OPEN, ino, words(0, 0));
  if (opened.error === 0) {
    const handle = opened.payload.readBigUInt64LE(0);
    const fh = words(Number(handle & 0xffffffffn), Number(handle >> 32n));
    for (const offset of [0, 1, 4095, 2 ** 32, 2 ** 52]) {
      const body = readIn(offset, 4096);
      body.set(fh, 0);
      ask(dispatcher, abi.FUSE_READ, ino, body);
    }
    ask(dispatcher, abi.FUSE_RELEASE, ino, Buffer.concat([fh, Buffer.alloc(16)]));
  }
  const names = ask(dispatcher, abi.FUSE_LISTXATTR, ino, words(65_536, 0));
  for (const name of names.payload.toString('latin1').split('\0').filter(Boolean).slice(0, 20)) {
    const value = ask(dispatcher, abi.FUSE_GETXATTR, ino, named(words(65_536, 0), Buffer.from(name, 'latin1')));
    demand(value.error === 0, `a listed xattr of inode ${ino} gives ${value.error}`);
    demand(!/^(?:trusted|user)\.cfs\./.test(name), `a private xattr of inode ${ino} is listed`);
  }
  for (const name of [
    'trusted.cfs.path',
    'user.cfs.file',
    'user.cfs.object',
    'trusted.cfs.source.0',
    'user.cfs.none',
  ]) {
    ask(dispatcher, abi.FUSE_GETXATTR, ino, named(words(65_536, 0), name));
  }
  for (const nr of [1, 2, 3])
    ask(
      dispatcher,
      abi.FUSE_IOCTL,
      ino,
      Buffer.concat([words(0, 0, 0, (0xc000c600 | nr) >>> 0, 0, 0, 8, 16_000), Buffer.alloc(8)]),
    );
}

/** @throws Error that names the violated property */
export function exercise(tables) {
  for (const verify of ['off', 'read']) {
    const server = serverOf(tables, verify);
    for (let row = 0; row < Math.min(inodeCount(tables), MOST_INODES); row++) exerciseInode(server, tables, row);
    ask(server.dispatcher, abi.FUSE_STATFS, 1);
    demand(server.failures.length === 0, `a request failed as none should: ${server.failures[0]}`);
  }
}
