/** The errors that all calls with a path have in common. */
import { symlinkSync } from 'node:fs';
import { useScratch } from '../e2e/harness.ts';
import * as calls from './calls.ts';
import { type Case, describeCases, fails, makeDirectory, makeFile, ok } from './cases.ts';
import { ALICE, as } from './users.ts';

const scratch = useScratch();

/** A call, its result for a missing name, and whether it follows a symbolic link in the last component. */
interface Call {
  readonly call: (path: string) => number;
  readonly makes: boolean;
  readonly follows: boolean;
}

const closing = (fd: number): number => (fd < 0 ? fd : calls.close(fd));
const length = (bytes: Uint8Array | number): number => (typeof bytes === 'number' ? bytes : bytes.length);

const looking = (call: (path: string) => number, follows = true): Call => ({ call, makes: false, follows });
const making = (call: (path: string) => number): Call => ({ call, makes: true, follows: false });

const CALLS: Readonly<Record<string, Call>> = {
  'open to read': looking((path) => closing(calls.open(path, calls.O_RDONLY))),
  'open to write': looking((path) => closing(calls.open(path, calls.O_WRONLY))),
  'open O_CREAT': {
    ...making((path) => closing(calls.open(path, calls.O_CREAT | calls.O_RDWR, 0o644))),
    follows: true,
  },
  mkdir: making((path) => calls.mkdir(path, 0o755)),
  mkfifo: making((path) => calls.mkfifo(path, 0o644)),
  mknod: making((path) => calls.mknod(path, calls.S_IFREG | 0o644)),
  symlink: making((path) => calls.symlink('target', path)),
  'link to': making((path) => calls.link('spare', path)),
  'rename to': making((path) => calls.rename('spare', path)),
  unlink: looking(calls.unlink, false),
  rmdir: looking(calls.rmdir, false),
  readlink: looking((path) => length(calls.readlink(path)), false),
  chmod: looking((path) => calls.chmod(path, 0o644)),
  chown: looking((path) => calls.chown(path, -1, -1)),
  lchown: looking((path) => calls.lchown(path, -1, -1), false),
  truncate: looking((path) => calls.truncate(path, 0)),
  utimens: looking((path) => calls.utimens(path, 'now', 'now')),
  access: looking((path) => calls.access(path, 0)),
  setxattr: looking((path) => calls.setxattr(path, 'user.name', new Uint8Array(3))),
  lremovexattr: looking((path) => calls.lremovexattr(path, 'user.name'), false),
  'link from': looking((path) => calls.link(path, 'new link'), false),
  'rename from': looking((path) => calls.rename(path, 'new name'), false),
};

function arrange(): void {
  makeFile('file');
  makeFile('spare', { owner: ALICE });
  symlinkSync('loop', 'loop');
  symlinkSync('one', 'two');
  symlinkSync('two', 'one');
  makeDirectory('dir', { owner: ALICE });
  makeDirectory('closed', { mode: 0o600 });
  makeFile('closed/file');
}

/** They need permission to write the file or its directory. */
const WRITING = new Set(['open to write', 'truncate', 'utimens', 'setxattr', 'unlink', 'rmdir', 'rename from']);

const LONGEST_NAME = 'n'.repeat(255);
/** A path of `bytes` bytes to `last`. With its NUL a path may have 4096. */
const longPath = (bytes: number, last: string): string => {
  const before = bytes - last.length;
  return './'.repeat(before / 2) + (before % 2 === 1 ? '/' : '') + last;
};

const cases: readonly Case[] = Object.entries(CALLS).flatMap(([name, { call, makes, follows }]) => [
  {
    name: `${name}: ENOENT for a directory that is missing, an empty path`,
    arrange,
    act: () => {
      fails(call('missing/name'), 'ENOENT');
      fails(call('dir/missing/name'), 'ENOENT');
      fails(call(''), 'ENOENT');
      if (!makes) fails(call('missing'), 'ENOENT');
    },
  },
  { name: `${name}: ENOTDIR below a file`, arrange, act: () => fails(call('file/name'), 'ENOTDIR') },
  {
    name: `${name}: names of 255 bytes, ENAMETOOLONG for longer ones`,
    arrange,
    act: () => {
      fails(call(`${LONGEST_NAME}n`), 'ENAMETOOLONG');
      fails(call(`dir/${LONGEST_NAME}n`), 'ENAMETOOLONG');
      fails(call(`${LONGEST_NAME}n/name`), 'ENAMETOOLONG');
      if (makes) ok(call(`dir/${LONGEST_NAME}`));
      else fails(call(`dir/${LONGEST_NAME}`), 'ENOENT');
    },
  },
  {
    name: `${name}: paths of 4095 bytes, ENAMETOOLONG for longer ones`,
    arrange,
    act: () => {
      fails(call(longPath(4096, 'dir/new')), 'ENAMETOOLONG');
      if (makes) ok(call(longPath(4095, 'dir/new')));
      else fails(call(longPath(4095, 'dir/new')), 'ENOENT');
    },
  },
  {
    name: `${name}: ELOOP for symbolic links that lead to each other`,
    arrange,
    act: () => {
      for (const path of ['loop/name', 'one/name']) fails(call(path), 'ELOOP');
      if (follows) for (const path of ['loop', 'one']) fails(call(path), 'ELOOP');
    },
  },
  {
    name: `${name}: EACCES without permission to search`,
    arrange,
    act: () => as(ALICE, () => fails(call('closed/file'), 'EACCES')),
  },
  {
    name: `${name}: EACCES without permission to write`,
    arrange,
    act: () => {
      if (makes) as(ALICE, () => fails(call('new'), 'EACCES'));
      else if (WRITING.has(name)) as(ALICE, () => fails(call('file'), 'EACCES'));
    },
  },
]);

describeCases(scratch, {
  paths: cases,
});
