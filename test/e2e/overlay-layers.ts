/** For the tests of overlayfs' format: the image below the overlays, and the xattrs in the layers. */
import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { errnoName, isErrno } from '../../src/base/errno.ts';
import { fuseIdentity, type InodeIdentity } from '../../src/base/handle-format.ts';
import { getXattr, listXattrs } from '../../src/system/xattrs.ts';
import {
  decodeImpure,
  decodeMetacopy,
  decodeNlink,
  decodeOpaque,
  decodeOrigin,
  decodeOverlayHandle,
  decodeProtectedAttributes,
  decodeRedirect,
  decodeUuid,
  encodeMetacopy,
  encodeNlink,
  encodeOrigin,
  encodeOverlayHandle,
  encodeProtectedAttributes,
  encodeRedirect,
  X,
  Y,
} from '../../src/upper/overlay-format.ts';
import { type OverlayXattr, OverlayXattrNames } from '../../src/upper/overlay-names.ts';
import { makeDevice, mknod, setXattr } from '../support/libc.ts';
import { handleOf } from './handle-calls.ts';
import type { Scratch } from './harness.ts';

export const FEATURES: readonly string[] = ['index=on', 'redirect_dir=on', 'metacopy=on', 'uuid=on', 'xino=off'];
export const TRUSTED: OverlayXattrNames = new OverlayXattrNames(false);
/** Hard links of two names. */
export const PAIRS: readonly string[] = [
  '00',
  '01',
  '02',
  '03',
  '04',
  '05',
  '06',
  '07',
  '08',
  '09',
  '10',
  '11',
  '12',
  '13',
];
export const NOT_UTF8: Buffer = Buffer.from('caf\xe9', 'latin1');
/** Directories whose paths have 256 and 257 bytes. */
export const LONG_PARENTS: readonly string[] = ['p'.repeat(100), 'q'.repeat(100)];
export const LONG: readonly string[] = ['r'.repeat(53), 's'.repeat(54)];

/** Packs and mounts the image below the overlays, until the end of the test file. Returns the mount point. */
export async function mountLower(scratch: Scratch): Promise<string> {
  const source = scratch.directory('source');
  const write = (name: string): void => writeFileSync(join(source, name), `${name} of the image`);
  for (const name of ['moved/sub/deep', 'other', 'removed/below']) mkdirSync(join(source, name), { recursive: true });
  for (const name of LONG) mkdirSync(join(source, ...LONG_PARENTS, name), { recursive: true });
  mkdirSync(Buffer.concat([Buffer.from(`${source}/`), NOT_UTF8]));
  for (const name of ['file', 'written', 'renamed', 'gone', 'moved/file', 'moved/sub/file', 'other/file']) write(name);
  write('linked');
  linkSync(join(source, 'linked'), join(source, 'other/linked too'));
  mkdirSync(join(source, 'pairs'));
  for (const pair of PAIRS) {
    write(`pairs/${pair}`);
    linkSync(join(source, 'pairs', pair), join(source, 'pairs', `${pair} too`));
  }
  symlinkSync('file', join(source, 'link'));
  symlinkSync('file', join(source, 'linked link'));
  linkSync(join(source, 'linked link'), join(source, 'other/linked link'));
  mknod(join(source, 'fifo'), 0o010644);
  mknod(join(source, 'device'), 0o020644, makeDevice(1, 3));
  return (await scratch.mount((await scratch.pack(source)).image)).path;
}

export const text = (path: string): string => readFileSync(path, 'utf8');
export const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** The name of the error that `call` throws; "" for none. */
export function errorOf(call: () => unknown): string {
  try {
    call();
    return '';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

/** All xattrs of a file, by name. */
export function xattrsOf(path: string): Map<string, Uint8Array> {
  const names = listXattrs(path);
  if (isErrno(names)) throw new Error(`llistxattr ${path}: ${errnoName(names)}`);
  return new Map(names.map((name) => [textOf(name), getXattr(path, name) as Uint8Array]));
}

/** An xattr of overlayfs as it is in the layer. */
export const stored = (path: string, xattr: OverlayXattr, layer = TRUSTED): Uint8Array | undefined =>
  xattrsOf(path).get(textOf(layer.names[xattr]));

export const store = (path: string, xattr: OverlayXattr, value: Uint8Array): void =>
  setXattr(path, textOf(TRUSTED.names[xattr]), value);

export function inodeOf(path: string): InodeIdentity {
  const identity = fuseIdentity(handleOf(path));
  if (identity === undefined) throw new Error(`${path} is not in a mount of FUSE`);
  return identity;
}

export const originOf = (path: string): Uint8Array => {
  const { id, generation } = inodeOf(path);
  return encodeOrigin(id, generation);
};

/** Decodes a value, and encodes the result. */
const RECODE: Readonly<Record<OverlayXattr, (value: Uint8Array) => Uint8Array | undefined>> = {
  opaque: (value) => ({ opaque: Y, 'xattr-whiteouts': X, merged: undefined })[decodeOpaque(value)],
  impure: (value) => (decodeImpure(value) ? Y : undefined),
  origin: (value) => {
    const origin = decodeOrigin(value);
    return origin !== undefined && 'id' in origin ? encodeOrigin(origin.id, origin.generation) : undefined;
  },
  upper: (value) => {
    const handle = decodeOverlayHandle(value);
    return typeof handle === 'object' ? encodeOverlayHandle(handle) : undefined;
  },
  redirect: (value) => {
    const redirect = decodeRedirect(value);
    return redirect && encodeRedirect(redirect);
  },
  metacopy: (value) => {
    const metacopy = decodeMetacopy(value);
    return metacopy && encodeMetacopy(metacopy);
  },
  nlink: (value) => {
    const nlink = decodeNlink(value);
    return nlink && encodeNlink(nlink);
  },
  protattr: (value) => {
    const attributes = decodeProtectedAttributes(value);
    return attributes && encodeProtectedAttributes(attributes);
  },
  uuid: decodeUuid,
  whiteout: () => undefined,
};

export interface StoredXattr {
  readonly path: string;
  readonly name: string;
  readonly value: Uint8Array;
}

/** Expects that xattrs of the layer are decoded, and encoded again in the same bytes. Returns the set of them. */
export function expectRecoded(xattrs: readonly StoredXattr[], layer: OverlayXattrNames): Set<string> {
  const known = new Map(Object.entries(layer.names).map(([xattr, name]) => [textOf(name), xattr as OverlayXattr]));
  const seen = new Set<string>();
  for (const { path, name, value } of xattrs) {
    if (!layer.isOwn(bytes(name))) continue;
    const xattr = known.get(name);
    if (xattr === undefined) throw new Error(`${path} has ${name}`);
    const recoded = toHex(RECODE[xattr](value) ?? bytes('?'));
    expect({ path, xattr, value: recoded }).toEqual({ path, xattr, value: toHex(value) });
    seen.add(xattr);
  }
  return seen;
}
