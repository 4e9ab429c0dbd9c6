/**
 * The situations of a name in two layers, each with the steps that lead to it, and the actions on the name, "it". Each
 * directory also has "other" (a file), "dir" (with "file" in it) and "empty".
 */
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { makeDevice } from '../../support/libc.ts';
import * as calls from '../calls.ts';
import type { Step } from './steps.ts';

export interface Situation {
  readonly name: string;
  /** Makes the files of the lower layer, in the working directory. */
  readonly lower?: () => void;
  readonly steps?: readonly Step[];
}

const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, RENAME_EXCHANGE, RENAME_NOREPLACE } = calls;

const open = (path: string, flags: number): Step => ({ op: 'open', path, flags, mode: 0o640 });
const close: Step = { op: 'close', slot: 0 };
const write: Step = { op: 'write', slot: 0, at: 3, length: 5, fill: 4 };
const read: Step = { op: 'read', slot: 0, at: 0, length: 10_000 };
const create = (path: string): Step[] => [open(path, O_CREAT | O_EXCL | O_RDWR), write, close];
const mkdir = (path: string): Step => ({ op: 'mkdir', path, mode: 0o750 });
const unlink = (path: string): Step => ({ op: 'unlink', path });
const rmdir = (path: string): Step => ({ op: 'rmdir', path });
const rename = (path: string, to: string, flags = 0): Step => ({ op: 'rename', path, to, flags });
const link = (path: string, to: string): Step => ({ op: 'link', path, to });
const symlink = (path: string, to: string): Step => ({ op: 'symlink', path, to });
const chmod = (path: string): Step => ({ op: 'chmod', path, mode: 0o705 });

const file = (name: string) => (): void => writeFileSync(name, `${name} of the lower layer`);
const directory = (name: string) => (): void => {
  mkdirSync(`${name}/sub`, { recursive: true });
  for (const path of ['file', 'sub/file']) file(`${name}/${path}`)();
};
const empty = (name: string) => (): void => mkdirSync(name);
const emptied = (name: string): Step[] => [unlink(`${name}/sub/file`), rmdir(`${name}/sub`), unlink(`${name}/file`)];
const linkTo =
  (target: string, name = 'it') =>
  (): void =>
    symlinkSync(target, name);
const all =
  (...makers: (() => void)[]) =>
  (): void => {
    for (const make of makers) make();
  };
const twoNames = all(file('it'), () => linkSync('it', 'more'));

/** The other entries of each directory. */
export const besides: () => void = all(file('other'), empty('dir'), file('dir/file'), empty('empty'));

export const SITUATIONS: readonly Situation[] = [
  { name: 'nothing' },
  { name: 'a file of the lower layer', lower: file('it') },
  { name: 'a new file', steps: create('it') },
  { name: 'a file that was written to', lower: file('it'), steps: [open('it', O_RDWR), write, close] },
  { name: 'a file whose mode was changed', lower: file('it'), steps: [chmod('it')] },
  { name: 'a file that was removed', lower: file('it'), steps: [unlink('it')] },
  { name: 'a file that was removed and made again', lower: file('it'), steps: [unlink('it'), ...create('it')] },
  { name: 'a file with another name than before', lower: file('old'), steps: [rename('old', 'it')] },
  { name: 'a new file that was removed', steps: [...create('it'), unlink('it')] },
  { name: 'a file in the place of a directory', lower: empty('it'), steps: [rmdir('it'), ...create('it')] },
  { name: 'a FIFO of the lower layer', lower: () => void calls.mkfifo('it', 0o644) },
  {
    name: 'a device of the lower layer',
    lower: () => void calls.mknod('it', calls.S_IFCHR | 0o666, makeDevice(1, 3)),
  },
  { name: 'an empty directory of the lower layer', lower: empty('it') },
  { name: 'a directory of the lower layer', lower: directory('it') },
  { name: 'a new directory', steps: [mkdir('it')] },
  { name: 'a new directory with a file', steps: [mkdir('it'), ...create('it/file')] },
  { name: 'a directory with files of both layers', lower: directory('it'), steps: create('it/new') },
  { name: 'a directory whose content was removed', lower: directory('it'), steps: emptied('it') },
  { name: 'a directory that was removed', lower: directory('it'), steps: [...emptied('it'), rmdir('it')] },
  {
    name: 'a directory that was removed and made again',
    lower: directory('it'),
    steps: [...emptied('it'), rmdir('it'), mkdir('it')],
  },
  { name: 'a directory with another name than before', lower: directory('old'), steps: [rename('old', 'it')] },
  {
    name: 'a directory with another name, and files of both layers',
    lower: directory('dir/old'),
    steps: [...create('dir/old/new'), rename('dir/old', 'it'), unlink('it/file')],
  },
  {
    name: 'a directory in the place of a file',
    lower: file('it'),
    steps: [unlink('it'), mkdir('it'), ...create('it/file')],
  },
  {
    name: 'a directory of the lower layer in the place of another',
    lower: all(directory('old'), directory('it')),
    steps: [...emptied('it'), rename('old', 'it')],
  },
  { name: 'a symbolic link to a file', lower: linkTo('other') },
  { name: 'a new symbolic link to a file', steps: [symlink('it', 'other')] },
  { name: 'a symbolic link to one to a file', lower: all(linkTo('other', 'link'), linkTo('link')) },
  { name: 'a symbolic link to a directory', lower: linkTo('dir') },
  { name: 'a symbolic link to nothing', lower: linkTo('absent') },
  {
    name: 'a symbolic link to a file that was removed',
    lower: all(file('gone'), linkTo('gone')),
    steps: [unlink('gone')],
  },
  { name: 'a symbolic link that was moved', lower: linkTo('other', 'old'), steps: [rename('old', 'it')] },
  { name: 'one of two hard links', lower: twoNames },
  { name: 'one of two hard links, written by the other', lower: twoNames, steps: [open('more', O_RDWR), write, close] },
  { name: 'one of two hard links, the other was removed', lower: twoNames, steps: [unlink('more')] },
  { name: 'a new hard link to a file', lower: file('old'), steps: [link('old', 'it')] },
  { name: 'a new third hard link', lower: twoNames, steps: [link('more', 'dir/third'), chmod('dir/third')] },
  { name: 'a hard link that was moved', lower: twoNames, steps: [rename('it', 'old'), rename('old', 'it')] },
  { name: 'a hard link to a symbolic link', lower: linkTo('other', 'old'), steps: [link('old', 'it')] },
];

const opened = (flags: number): Step[] => [open('it', flags), read, write, read, { op: 'fstat', slot: 0 }, close];

export const ACTIONS: readonly (readonly Step[])[] = [
  ...[O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_APPEND, O_RDWR | O_TRUNC, O_WRONLY | O_TRUNC].map(opened),
  ...[O_CREAT, O_CREAT | O_EXCL, O_CREAT | O_TRUNC, O_CREAT | O_EXCL | O_TRUNC, O_CREAT | O_APPEND]
    .flatMap((flags) => [O_RDONLY, O_RDWR].map((access) => flags | access))
    .map(opened),
  [open('it', O_RDONLY | calls.O_DIRECTORY), { op: 'list', slot: 0 }, close],
  [open('it/', O_RDONLY), open('it/', O_CREAT | O_RDWR)],
  ...[0, 3, 10_000].map((size): Step[] => [{ op: 'truncate', path: 'it', size }]),
  [chmod('it'), { op: 'stat', path: 'it' }],
  [{ op: 'lchown', path: 'it', uid: 11, gid: 12 }],
  [{ op: 'lutimens', path: 'it', seconds: 1_000_000_007 }],
  [{ op: 'setxattr', path: 'it', name: 'trusted.note', length: 5, flags: 0 }],
  [{ op: 'readlink', path: 'it' }],
  [unlink('it'), unlink('it'), ...create('it')],
  [unlink('it'), mkdir('it'), ...create('it/new')],
  [unlink('it/'), rmdir('it/')],
  [rmdir('it'), rmdir('it'), mkdir('it')],
  [...emptied('it'), rmdir('it'), mkdir('it'), ...create('it/file')],
  [...emptied('it'), unlink('it/new'), rmdir('it'), ...create('it')],
  [mkdir('it'), mkdir('it/more'), ...create('it/more/file')],
  [mkdir('it/'), ...create('it/new'), open('it/file', O_RDWR), write, close],
  [symlink('it', 'other'), ...opened(O_RDWR)],
  [{ op: 'mknod', path: 'it', mode: calls.S_IFIFO | 0o600, device: 0 }],
  [link('it', 'new'), ...opened(O_RDWR), unlink('it'), { op: 'stat', path: 'new' }],
  [{ op: 'linkFollowing', path: 'it', to: 'new' }],
  [link('other', 'it')],
  [rename('it', 'new'), ...create('it')],
  [rename('it', 'new'), mkdir('it'), rename('new', 'it')],
  [rename('it', 'dir/new'), rename('dir', 'moved'), rename('moved/new', 'it')],
  [rename('it', 'other'), rename('other', 'it')],
  [rename('it', 'empty'), rename('empty', 'new'), mkdir('empty')],
  [rename('it', 'dir')],
  [rename('other', 'it'), ...create('other')],
  [rename('dir', 'it'), mkdir('dir'), rename('it', 'dir')],
  [rename('empty', 'it'), ...create('it/new')],
  [rename('it', 'dir/file'), rename('dir', 'it')],
  [rename('it', 'it'), rename('it/', 'new/')],
  [rename('it', 'new', RENAME_NOREPLACE), rename('other', 'new', RENAME_NOREPLACE)],
  [rename('it', 'other', RENAME_EXCHANGE), ...opened(O_RDWR)],
  [rename('it', 'dir', RENAME_EXCHANGE), ...create('it/new'), rename('it', 'dir', RENAME_EXCHANGE)],
  [rename('it', 'dir/file', RENAME_EXCHANGE), unlink('dir/file'), rmdir('dir')],
  [open('it', O_RDWR), unlink('it'), write, read, { op: 'fchmod', slot: 0, mode: 0o600 }, close],
  [open('it', O_RDWR), rename('other', 'it'), write, read, { op: 'fstat', slot: 0 }, close],
];
