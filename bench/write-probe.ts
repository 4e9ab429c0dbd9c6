/**
 * The loops of the probe that change files, and those that look at them afterwards: `count` files, in directories of
 * 100, of which the names are those of `pathsOf`. Each does one thing with every file, in the order of their creation.
 */
import {
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { seeded } from './random.ts';

interface Done {
  readonly count: number;
  readonly bytes: number;
}
type Loop = () => Done;

const { O_CREAT, O_EXCL, O_TRUNC, O_WRONLY } = constants;
const FILES_PER_DIRECTORY = 100;
const BLOCK = 4096;
const SEED = 512;

/** The paths of the files; `letter` begins their names. */
function pathsOf(root: string, count: number, letter: string): string[] {
  const directory = (i: number): string => `${root}/d${String(Math.floor(i / FILES_PER_DIRECTORY)).padStart(5, '0')}`;
  return Array.from({ length: count }, (_, i) => `${directory(i)}/${letter}${String(i).padStart(7, '0')}`);
}

/** `create ROOT COUNT SIZE`: open, one write, close. The directories are made before. */
function createFiles(root: string, count: string, size: string): Loop {
  const paths = pathsOf(root, Number(count), 'f');
  for (let i = 0; i < paths.length; i += FILES_PER_DIRECTORY) {
    const path = paths[i] as string;
    mkdirSync(path.slice(0, path.lastIndexOf('/')));
  }
  return () => writeEach(paths, O_WRONLY | O_CREAT | O_EXCL, Number(size));
}

/** `overwrite ROOT COUNT SIZE`: the same with O_TRUNC, of files that exist. */
function overwriteFiles(root: string, count: string, size: string): Loop {
  const paths = pathsOf(root, Number(count), 'f');
  return () => writeEach(paths, O_WRONLY | O_TRUNC, Number(size));
}

function writeEach(paths: readonly string[], flags: number, size: number): Done {
  const content = Buffer.alloc(size, 'x');
  let bytes = 0;
  for (const path of paths) {
    const fd = openSync(path, flags, 0o644);
    bytes += writeSync(fd, content, 0, size);
    closeSync(fd);
  }
  return { count: paths.length, bytes };
}

/** `read ROOT COUNT SIZE`: open, one read, close. */
function readFiles(root: string, count: string, size: string): Loop {
  const paths = pathsOf(root, Number(count), 'f');
  const buffer = Buffer.alloc(Number(size));
  return () => {
    let bytes = 0;
    for (const path of paths) {
      const fd = openSync(path, 'r');
      bytes += readSync(fd, buffer, 0, buffer.length, 0);
      closeSync(fd);
    }
    return { count: paths.length, bytes };
  };
}

/** `lstat ROOT COUNT` */
function statFiles(root: string, count: string): Loop {
  return forEach(pathsOf(root, Number(count), 'f'), (path) => lstatSync(path));
}

/** `rename ROOT COUNT`: to another name in the same directory. */
function renameFiles(root: string, count: string): Loop {
  return forBoth(root, Number(count), renameSync);
}

/** `link ROOT COUNT`: one more name in the same directory. */
function linkFiles(root: string, count: string): Loop {
  return forBoth(root, Number(count), linkSync);
}

/** `unlink ROOT COUNT` */
function unlinkFiles(root: string, count: string): Loop {
  return forEach(pathsOf(root, Number(count), 'f'), unlinkSync);
}

function forEach(paths: readonly string[], act: (path: string) => unknown): Loop {
  return () => {
    for (const path of paths) act(path);
    return { count: paths.length, bytes: 0 };
  };
}

function forBoth(root: string, count: number, act: (from: string, to: string) => void): Loop {
  const from = pathsOf(root, count, 'f');
  const to = pathsOf(root, count, 'g');
  return () => {
    for (let i = 0; i < count; i++) act(from[i] as string, to[i] as string);
    return { count, bytes: 0 };
  };
}

/** `append FILE COUNT SIZE`: one new file, so many writes of so many bytes. */
function appendTo(file: string, count: string, size: string): Loop {
  const content = Buffer.alloc(Number(size), 'x');
  const writes = Number(count);
  return () => {
    const fd = openSync(file, O_WRONLY | O_CREAT | O_EXCL, 0o644);
    let bytes = 0;
    for (let i = 0; i < writes; i++) bytes += writeSync(fd, content, 0, content.length);
    closeSync(fd);
    return { count: writes, bytes };
  };
}

/** `scatter FILE COUNT`: writes of 4 KiB to aligned blocks of a file, which a fixed seed chooses. */
function scatterOver(file: string, count: string): Loop {
  const content = Buffer.alloc(BLOCK, 'x');
  const random = seeded(SEED);
  const blocks = Math.floor(lstatSync(file).size / BLOCK);
  const places = Float64Array.from({ length: Number(count) }, () => random.below(blocks) * BLOCK);
  return () => {
    const fd = openSync(file, O_WRONLY);
    let bytes = 0;
    for (const place of places) bytes += writeSync(fd, content, 0, BLOCK, place);
    closeSync(fd);
    return { count: places.length, bytes };
  };
}

export const WRITE_LOOPS: Readonly<Record<string, (...args: string[]) => Loop>> = {
  create: createFiles,
  overwrite: overwriteFiles,
  read: readFiles,
  lstat: statFiles,
  rename: renameFiles,
  link: linkFiles,
  unlink: unlinkFiles,
  append: appendTo,
  scatter: scatterOver,
};
