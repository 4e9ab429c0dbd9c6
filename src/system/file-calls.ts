/**
 * The file system calls with which the store changes data, or finds out what to change: those of node:fs, syscall.ts
 * and fsverity.ts, each with a fail point. Reading objects for a mount is not included.
 */
import fs from 'node:fs';
import * as beneath from './beneath.ts';
import { returning, throwing } from './fail-points.ts';
import { statAt as statAtCall } from './file-status.ts';
import * as fsverity from './fsverity.ts';
import * as syscall from './syscall.ts';

/** A function of node:fs as it is when it is called: exact-paths.ts may have replaced it after this module was loaded. */
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
export const namesAt: typeof beneath.namesAt = returning('readdir', beneath.namesAt);
export const makeDirectoryAt: typeof beneath.makeDirectoryAt = returning('mkdir', beneath.makeDirectoryAt);
export const removeDirectoryAt: typeof beneath.removeDirectoryAt = returning('rmdir', beneath.removeDirectoryAt);
export const renameAt: typeof beneath.renameAt = returning('rename', beneath.renameAt);
export const openAt: typeof syscall.openAt = returning(opening('openat', 2), syscall.openAt);
export const openNameless: typeof syscall.openNameless = returning('openat O_TMPFILE', syscall.openNameless);
export const statAt: typeof statAtCall = returning('statx', statAtCall);
export const pread: typeof syscall.pread = returning('pread', syscall.pread);
export const pwrite: typeof syscall.pwrite = returning('pwrite', syscall.pwrite);
export const cloneFile: typeof syscall.cloneFile = returning('FICLONE', syscall.cloneFile);
export const copyFileRange: typeof syscall.copyFileRange = returning('copy_file_range', syscall.copyFileRange);
export const syncfs: typeof syscall.syncfs = returning('syncfs', syscall.syncfs);
export const renameNoReplaceAt: typeof syscall.renameNoReplaceAt = returning('renameat2', syscall.renameNoReplaceAt);
export const renameExchangeAt: typeof syscall.renameExchangeAt = returning(
  'renameat2 RENAME_EXCHANGE',
  syscall.renameExchangeAt,
);
export const linkAt: typeof syscall.linkAt = returning('linkat', syscall.linkAt);
export const linkFd: typeof syscall.linkFd = returning('linkat fd', syscall.linkFd);
export const unlinkAt: typeof syscall.unlinkAt = returning('unlinkat', syscall.unlinkAt);
export const enableVerity: typeof fsverity.enableVerity = returning('FS_IOC_ENABLE_VERITY', fsverity.enableVerity);
