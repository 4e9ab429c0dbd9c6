/**
 * The file system calls with which the store changes data, or finds out what to change: those of node:fs and of
 * the other files here, each with a fail point. Reading objects for a mount is not included.
 */
import fs from 'node:fs';
import * as beneath from './beneath.ts';
import * as descriptors from './descriptors.ts';
import { namesAt as namesAtCall } from './directory-listing.ts';
import { returning, throwing } from './fail-points.ts';
import { statAt as statAtCall } from './file-status.ts';
import * as fsverity from './fsverity.ts';
import * as names from './names.ts';
import * as content from './reading-writing.ts';

/**
 * A function of node:fs as it is when it is called: exact-paths.ts may have replaced it after this module was loaded.
 */
const asItIs = <K extends keyof typeof fs>(name: K): (typeof fs)[K] =>
  ((...args: unknown[]) => (fs[name] as (...given: unknown[]) => unknown)(...args)) as (typeof fs)[K];

/** By its flags: opening a file that is there changes nothing. */
const opening =
  (call: string, flagsAt: number) =>
  (...args: unknown[]): string => {
    const flags = args[flagsAt];
    const creates = typeof flags === 'number' ? (flags & fs.constants.O_CREAT) !== 0 : /[aw]/.test(String(flags));
    return creates ? `${call} O_CREAT` : call;
  };

export const openSync: typeof fs.openSync = throwing(opening('open', 1), asItIs('openSync'));
export const mkdirSync: typeof fs.mkdirSync = throwing('mkdir', asItIs('mkdirSync'));
export const readdirSync: typeof fs.readdirSync = throwing('readdir', asItIs('readdirSync'));
export const writeFileSync: typeof fs.writeFileSync = throwing('write', asItIs('writeFileSync'));
export const ftruncateSync: typeof fs.ftruncateSync = throwing('ftruncate', asItIs('ftruncateSync'));
export const fchmodSync: typeof fs.fchmodSync = throwing('fchmod', asItIs('fchmodSync'));
export const fsyncSync: typeof fs.fsyncSync = throwing('fsync', asItIs('fsyncSync'));
export const renameSync: typeof fs.renameSync = throwing('rename', asItIs('renameSync'));
export const linkSync: typeof fs.linkSync = throwing('link', asItIs('linkSync'));
export const unlinkSync: typeof fs.unlinkSync = throwing('unlink', asItIs('unlinkSync'));
export const rmSync: typeof fs.rmSync = throwing('rm', asItIs('rmSync'));

const opensBeneath = (_dir: number, _path: Uint8Array, { flags }: beneath.OpenHow): string =>
  (flags & fs.constants.O_CREAT) === 0 ? 'openat' : 'openat O_CREAT';

export const openBeneath: typeof beneath.openBeneath = returning(opensBeneath, beneath.openBeneath);
export const namesAt: typeof namesAtCall = returning('readdir', namesAtCall);
export const makeDirectoryAt: typeof names.makeDirectoryAt = returning('mkdir', names.makeDirectoryAt);
export const removeDirectoryAt: typeof names.removeDirectoryAt = returning('rmdir', names.removeDirectoryAt);
export const renameAt: typeof names.renameAt = returning('rename', names.renameAt);
export const openAt: typeof descriptors.openAt = returning(opening('openat', 2), descriptors.openAt);
export const openNameless: typeof descriptors.openNameless = returning('openat O_TMPFILE', descriptors.openNameless);
export const statAt: typeof statAtCall = returning('statx', statAtCall);
export const pread: typeof content.pread = returning('pread', content.pread);
export const pwrite: typeof content.pwrite = returning('pwrite', content.pwrite);
export const cloneFile: typeof content.cloneFile = returning('FICLONE', content.cloneFile);
export const copyFileRange: typeof content.copyFileRange = returning('copy_file_range', content.copyFileRange);
export const syncfs: typeof content.syncfs = returning('syncfs', content.syncfs);
/** EEXIST if the new name exists; EINVAL if the file system does not support RENAME_NOREPLACE. */
export const renameNoReplaceAt: typeof names.renameAt = returning('renameat2', (fromDir, from, toDir, to) =>
  names.renameAt2(fromDir, from, toDir, to, names.RENAME_NOREPLACE),
);
/** Both names exist, and are swapped in one step. EINVAL if the file system does not support RENAME_EXCHANGE. */
export const renameExchangeAt: typeof names.renameAt = returning(
  'renameat2 RENAME_EXCHANGE',
  (fromDir, from, toDir, to) => names.renameAt2(fromDir, from, toDir, to, names.RENAME_EXCHANGE),
);
export const linkAt: typeof names.linkAt = returning('linkat', names.linkAt);
export const linkFd: typeof names.linkFd = returning('linkat fd', names.linkFd);
export const unlinkAt: typeof names.unlinkAt = returning('unlinkat', names.unlinkAt);
export const enableVerity: typeof fsverity.enableVerity = returning('FS_IOC_ENABLE_VERITY', fsverity.enableVerity);
