/** The tree of a writable mount as tables, with the contents of changed files hashed, and stored nowhere. */
import { closeSync } from 'node:fs';
import { ContentHasher, type HashAlgorithm } from '../../base/digest.ts';
import { isErrno } from '../../base/errno.ts';
import { type BuilderInode, ManifestBuilder } from '../../manifest/builder.ts';
import type { ManifestTables } from '../../manifest/tables.ts';
import { readContent } from '../../objects/read-content.ts';
import { statFd } from '../../system/file-status.ts';
import { isUnchanged } from '../file-state.ts';
import type { FileContent, SourceEntry } from '../source.ts';
import type { WritableMount } from './mount-state.ts';
import { changed } from './source-error.ts';
import { WritableMountSource } from './writable-mount.ts';

/**
 * Only changed files are read.
 * @throws CfsError (source) if a file cannot be read, or anything changes meanwhile
 */
export function tablesOfMount(mount: WritableMount): ManifestTables {
  const { hash } = mount.tables.header;
  const source = new WritableMountSource(mount, {
    useEpoch: false,
    skipXattrs: false,
    skipDevices: false,
    exclude: new Map(),
    inlineMax: undefined,
    hash,
    holds: () => true,
    warn: () => undefined,
    close: () => undefined,
  });
  const builder = new ManifestBuilder(hash, source.root);
  const inodes: BuilderInode[] = [0];
  for (const { inode: what, parent, name, path } of source.entries()) {
    const inode = what.kind === 'link' ? (inodes[what.to] as BuilderInode) : builder.addInode(what.metadata);
    inodes.push(inode);
    builder.link(inodes[parent] as BuilderInode, name, inode);
    if (what.kind === 'symlink') builder.setTarget(inode, what.target);
    if (what.kind === 'regular') setContent(builder, inode, what.content, path, hash);
  }
  source.finish();
  return builder.finish();
}

function setContent(
  builder: ManifestBuilder,
  inode: BuilderInode,
  { known, open }: FileContent,
  path: SourceEntry['path'],
  hash: HashAlgorithm,
): void {
  if (known?.inline !== undefined) builder.setInline(inode, known.content, known.inline, known.generation);
  else if (known !== undefined) builder.setObject(inode, known.content, known.generation);
  else {
    const { fd, state } = open();
    try {
      const hasher = new ContentHasher(hash);
      const read = readContent(fd, state.size, hasher);
      const now = statFd(fd);
      if (read !== state.size || isErrno(now) || !isUnchanged(state, now)) throw changed(path);
      builder.setObject(inode, hasher.finish());
    } finally {
      closeSync(fd);
    }
  }
}
