/**
 * A layered file system over a tree of the model, and its files by their paths. Ordinary users have xattrs of `user.`.
 */
import { closeSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { digestContent } from '../../../src/base/digest.ts';
import { ENOENT, type Errno, errnoName, isErrno } from '../../../src/base/errno.ts';
import { ROOT_INO } from '../../../src/fs/filesystem.ts';
import { ImageFilesystem } from '../../../src/fs/image-filesystem.ts';
import {
  type Changes,
  emptyWritableAttributes,
  type WritableAttributes,
  type Writer,
} from '../../../src/fs/writable-filesystem.ts';
import type { LayerParts, LayerSettings } from '../../../src/layered/layer-parts.ts';
import { allocateLayerState } from '../../../src/layered/layer-state.ts';
import { LayeredFilesystem } from '../../../src/layered/layered-filesystem.ts';
import { attachTables, type ManifestTables, shareTables } from '../../../src/manifest/tables.ts';
import type { ContentSource } from '../../../src/objects/content-source.ts';
import type { ObjectName } from '../../../src/objects/repository.ts';
import { IdentityTable, tableBytes } from '../../../src/upper/identity-table.ts';
import { closeUpper, type PreparedUpper, prepareUpper } from '../../../src/upper/prepare-upper.ts';
import { isRoot } from '../../support/root.ts';
import { buildTables, directory, type Tree, treeOf } from '../manifest/model.ts';

const INODES = 10_000;
const NO_CHANGES: Changes = { killPrivileges: false };
const [UID, GID] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];

/** A process that changes something. */
export const writer = (given: Partial<Writer> = {}): Writer => ({
  uid: UID,
  gid: GID,
  pid: process.pid,
  umask: 0o022,
  again: false,
  noted: [0, 0],
  note: () => undefined,
  ...given,
});

/** Thrown for an error number of the file system. */
export class Failure extends Error {}

const bytes = (text: string | Uint8Array): Uint8Array => (typeof text === 'string' ? Buffer.from(text) : text);

export interface LayerOptions {
  readonly settings?: Partial<LayerSettings>;
  /** Whether the kernel knows an inode; all by default. */
  readonly isKnown?: (ino: number) => boolean;
  /** Whether the kernel collects writes. */
  readonly collects?: boolean;
  /** The table has place for so many. */
  readonly inodes?: number;
}

/** The tables of a tree, and its contents: made once, and never changed. */
const images = new WeakMap<Tree, { readonly tables: ManifestTables; readonly contents: ContentSource }>();

function imageOf(tree: Tree): { readonly tables: ManifestTables; readonly contents: ContentSource } {
  const known = images.get(tree);
  if (known !== undefined) return known;
  const made = { tables: attachTables(shareTables(buildTables(tree))), contents: contentsOf(tree) };
  images.set(tree, made);
  return made;
}

/** The content of objects by their digests. */
function contentsOf(tree: Tree): ContentSource {
  const contents = new Map<string, Uint8Array>();
  for (const { body } of tree.inodes) {
    if (body.type === 'file') contents.set(toHex(digestContent(tree.hash, body.content).digest), body.content);
  }
  return {
    openless: true,
    openedIdentity: 0,
    open: () => ENOENT,
    current: () => -1,
    read: ({ digest }: ObjectName, offset: number, into: Uint8Array) => {
      const content = contents.get(toHex(digest)) as Uint8Array;
      into.set(content.subarray(offset, offset + into.length));
      return Math.min(into.length, content.length - offset);
    },
    proofOf: () => undefined,
    prefetch: () => undefined,
  } as unknown as ContentSource;
}

export class LayeredTree {
  fs: LayeredFilesystem;
  readonly image: ImageFilesystem;
  readonly tables: ManifestTables;
  readonly table: IdentityTable;
  readonly prepared: PreparedUpper;
  readonly log: string[] = [];
  readonly out: WritableAttributes = emptyWritableAttributes();
  readonly #parts: LayerParts;

  /** @param dir has the directories `u` and `w`, made here if they are missing */
  constructor(
    tree: Tree,
    dir: string,
    { settings, isKnown = () => true, collects = false, inodes = INODES }: LayerOptions = {},
    table?: IdentityTable,
  ) {
    for (const name of ['u', 'w', 'm']) mkdirSync(join(dir, name), { recursive: true });
    const userxattr = settings?.userxattr ?? !isRoot;
    this.prepared = prepareUpper({
      upperdir: join(dir, 'u'),
      workdir: join(dir, 'w'),
      mountpoint: join(dir, 'm'),
      userxattr,
      volatile: false,
      readOnly: false,
      index: settings?.index ?? true,
      uuid: 'auto',
    });
    const { tables, contents } = imageOf(tree);
    this.tables = tables;
    this.image = new ImageFilesystem(tables, contents);
    this.table = table ?? IdentityTable.create(new SharedArrayBuffer(tableBytes(inodes)), inodes, new Uint8Array(32));
    this.#parts = {
      image: this.image,
      tables: this.tables,
      directories: this.prepared,
      settings: {
        volatile: false,
        readOnly: false,
        redirectDir: userxattr ? 'nofollow' : 'on',
        metacopy: !userxattr,
        index: true,
        ...settings,
        userxattr,
      },
      table: this.table,
      collects,
      state: allocateLayerState(),
      log: (line) => this.log.push(line),
      isKnown,
    };
    this.fs = new LayeredFilesystem(this.#parts);
    this.fs.begin();
  }

  /** What the next server has after one was killed: the same table and directories, and another state. */
  takeOver(): void {
    this.fs = new LayeredFilesystem({ ...this.#parts, state: allocateLayerState() });
    this.fs.resume();
  }

  close(): void {
    closeUpper(this.prepared);
  }

  /** The attributes of a path. Throws a Failure if there is none. */
  stat(path: string): WritableAttributes {
    this.#check(path, this.fs.getattr(ROOT_INO, this.out));
    for (const name of path.split('/').filter((part) => part !== '')) {
      this.#check(path, this.fs.lookup(this.out.ino, Buffer.from(name), this.out));
    }
    return { ...this.out };
  }

  ino(path: string): number {
    return this.stat(path).ino;
  }

  /** Calls a method that takes a directory and a name. */
  at<T>(path: string, call: (parent: number, name: Uint8Array) => T | Errno): T {
    const slash = path.lastIndexOf('/');
    const result = call(this.ino(path.slice(0, slash)), Buffer.from(path.slice(slash + 1)));
    this.#check(path, result);
    return result as T;
  }

  write(path: string, content: string | Uint8Array, given?: Partial<Writer>): number {
    this.at(path, (parent, name) => this.#closed(this.fs.create(parent, name, 0o644, 1, writer(given), this.out)));
    const { ino } = this.out;
    this.#check(path, this.fs.write(ino, 0, bytes(content), false));
    return ino;
  }

  /** Opens a file for writing, as with O_WRONLY, and writes. */
  overwrite(path: string, content: string | Uint8Array, flags = 1): void {
    const { ino } = this.stat(path);
    this.#check(path, this.#closed(this.fs.open(ino, flags, false)));
    this.#check(path, this.fs.write(ino, 0, bytes(content), false));
  }

  #closed<T extends { readonly fd: number }>(opened: T | Errno): T | Errno {
    if (!isErrno(opened) && opened.fd >= 0) closeSync(opened.fd);
    return opened;
  }

  read(path: string): string {
    const { ino, size } = this.stat(path);
    const into = Buffer.alloc(size);
    const read = this.fs.read(ino, 0, into);
    this.#check(path, read);
    return into.toString('latin1', 0, read);
  }

  mkdir(path: string, mode = 0o755): number {
    this.at(path, (parent, name) => this.fs.mkdir(parent, name, mode, writer(), this.out));
    return this.out.ino;
  }

  unlink(path: string): void {
    this.at(path, (parent, name) => this.fs.unlink(parent, name, writer()));
  }

  rmdir(path: string): void {
    this.at(path, (parent, name) => this.fs.rmdir(parent, name, writer()));
  }

  link(from: string, to: string): void {
    const ino = this.ino(from);
    this.at(to, (parent, name) => this.fs.link(ino, parent, name, writer(), this.out));
  }

  rename(from: string, to: string, flags = 0): void {
    this.at(from, (parent, name) =>
      this.at(to, (newParent, newName) => this.fs.rename(parent, name, newParent, newName, flags, writer())),
    );
  }

  change(path: string, changes: Partial<Changes>): WritableAttributes {
    this.#check(path, this.fs.setattr(this.ino(path), { ...NO_CHANGES, ...changes }, writer(), this.out));
    return { ...this.out };
  }

  /** Names in a directory, without "." and "..", in answers of `most` entries. */
  list(path: string, most = 3): string[] {
    const { ino } = this.stat(path);
    const names: string[] = [];
    for (let from = 0, more = true; more; ) {
      let count = 0;
      const result = this.fs.readdir(ino, from, true, this.out, (name, next) => {
        if (count === most) return false;
        count++;
        from = next;
        names.push(Buffer.from(name).toString());
        return true;
      });
      this.#check(path, result);
      more = count > 0;
    }
    return names.filter((name) => name !== '.' && name !== '..').sort();
  }

  #check(path: string, result: unknown): void {
    if (isErrno(result)) throw new Failure(`${errnoName(result)} ${path}`);
  }
}

/** A tree of the model whose files an ordinary user can make: his own, with directories that can be searched. */
export function ownTree(paths: Parameters<typeof treeOf>[0]): Tree {
  const own = { uid: UID, gid: GID };
  const attributes = Object.entries({ '/': directory, ...paths }).map(([path, body]) => [
    path,
    { ...own, mode: body === directory ? 0o755 : 0o644 },
  ]);
  return treeOf(paths, Object.fromEntries(attributes));
}

/** A layered tree, and the directory with its `u` and `w`. */
export type Layered = LayeredTree & { readonly dir: string };

interface Layers {
  /** @param dir a new one by default */
  layered(options?: LayerOptions, dir?: string, table?: IdentityTable): Layered;
  /** The same upper layer with another table. */
  withoutTable(before: LayeredTree & { readonly dir: string }, options?: LayerOptions): Layered;
}

/** Layers over one image, which are closed after each test. @param at names in a scratch directory */
export function useLayers(tree: Tree, at: (name: string) => string): Layers {
  let count = 0;
  const open: LayeredTree[] = [];
  afterEach(() => {
    for (const one of open.splice(0)) one.close();
  });
  const layered = (options?: LayerOptions, dir = at(`layer-${++count}`), table?: IdentityTable): Layered => {
    const made = new LayeredTree(tree, dir, options, table);
    open.push(made);
    return Object.assign(made, { dir });
  };
  return {
    layered,
    withoutTable: (before, options) => {
      before.close();
      open.splice(open.indexOf(before), 1);
      return layered(options, before.dir);
    },
  };
}
