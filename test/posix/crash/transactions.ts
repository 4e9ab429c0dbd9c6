/**
 * Changes of a directory that end with the fsync(2) that makes them durable, and the states that a power failure may
 * leave: before the first call that of the image, after the last one the final one, in between one of several.
 */
import { constants } from 'node:fs';
import type { Random } from '../../support/random.ts';

/** `text`, repeated up to `size` bytes; of these, the bytes from `from` on. */
export interface Filling {
  readonly text: string;
  readonly size: number;
  readonly from?: number;
}

export const bytesOf = (parts: readonly Filling[]): Buffer =>
  Buffer.concat(parts.map(({ text, size, from = 0 }) => Buffer.alloc(size, text).subarray(from)));

/** A call of writer.mjs. Paths are relative to the writer's directory. */
export type Call =
  | {
      readonly op: 'write';
      readonly path: string;
      readonly flags: string | number;
      readonly filling: Filling;
      /** With fsync(2) of the same open file. */
      readonly sync?: boolean;
    }
  | { readonly op: 'fsync' | 'unlink' | 'mkdir' | 'rmdir'; readonly path: string }
  | { readonly op: 'rename' | 'link'; readonly from: string; readonly to: string }
  | { readonly op: 'symlink'; readonly target: string; readonly path: string }
  | { readonly op: 'truncate'; readonly path: string; readonly size: number }
  | { readonly op: 'chmod'; readonly path: string; readonly mode: number };

/** A regular file. */
export interface FileState {
  readonly parts: readonly Filling[];
  /** The content may be only the beginning of `parts`, with so many bytes or more. */
  readonly atLeast?: number;
  readonly mode?: number;
  readonly links?: number;
}

/** The state of a name. */
export type State = 'absent' | 'directory' | { readonly target: string } | FileState;

export interface Change {
  readonly path: string;
  readonly before: State;
  readonly after: State;
  /** Other states that a failure during the transaction may leave. */
  readonly between?: readonly State[];
}

export interface Transaction {
  readonly name: string;
  /** The files of the image that it needs. */
  readonly image?: Readonly<Record<string, State>>;
  readonly calls: readonly Call[];
  readonly changes: readonly Change[];
  /** One of these names must be there at any time. */
  readonly kept?: readonly string[];
  /** These names are one inode afterwards. */
  readonly same?: readonly string[];
}

/** The name of the transactions that need redirects. */
export const MOVES_DIRECTORY = 'a directory of the image, renamed';

const SHARED_DIRECTORIES = 5;
const SIZES = [7, 600, 5000, 70_000, 300_000];
const MODE = 0o644;
/** Of the file systems of the tests. */
const BLOCK = 4096;

const file = (...parts: readonly Filling[]): FileState => ({ parts, mode: MODE, links: 1 });
const part = (...parts: readonly Filling[]): FileState => ({ ...file(...parts), atLeast: 0 });
const linked = (state: FileState, links: number): FileState => ({ ...state, links });

const fsync = (path: string): Call => ({ op: 'fsync', path });
const renaming = (from: string, to: string): Call => ({ op: 'rename', from, to });
const linking = (from: string, to: string): Call => ({ op: 'link', from, to });
const write = (path: string, flags: string | number, filling: Filling): Call => ({
  op: 'write',
  path,
  flags,
  filling,
  sync: true,
});

/** What transaction `n` uses. */
interface Setting {
  readonly n: number;
  /** A directory of the image that several transactions change. */
  readonly shared: string;
  /** A content in the image, and another one. */
  readonly original: Filling;
  readonly content: Filling;
  /** Names in the directory of the writer itself. */
  readonly own: (name: string) => string;
  /** Names in the shared directory. */
  readonly deep: (name: string) => string;
}

function settingOf(n: number, random: Random): Setting {
  const shared = `shared-${n % SHARED_DIRECTORIES}`;
  return {
    n,
    shared,
    original: { text: `image ${n} `, size: random.pick(SIZES) },
    content: { text: `written ${n} `, size: random.pick(SIZES) },
    own: (name) => `${name}-${n}`,
    deep: (name) => `${shared}/${name}-${n}`,
  };
}

/** A transaction that changes one file of the image, in the shared directory. */
function changing(
  { deep, original }: Setting,
  name: string,
  calls: (path: string) => readonly Call[],
  after: State,
  between: readonly State[] = [],
): Transaction {
  const path = deep('changed');
  const before = file(original);
  return { name, image: { [path]: before }, calls: calls(path), changes: [{ path, before, after, between }] };
}

const KINDS: readonly ((setting: Setting) => Transaction)[] = [
  ({ own, content }) => ({
    name: 'a new file',
    calls: [write(own('new'), 'wx', content), fsync('.')],
    changes: [{ path: own('new'), before: 'absent', after: file(content), between: [part(content)] }],
  }),
  ({ deep, content }) => ({
    name: 'a new file, without fsync of its directory',
    calls: [write(deep('new'), 'wx', content)],
    changes: [{ path: deep('new'), before: 'absent', after: file(content), between: [part(content)] }],
  }),
  ({ own, content }) => ({
    name: 'a new file, renamed when it is complete',
    calls: [write(own('temporary'), 'wx', content), renaming(own('temporary'), own('renamed')), fsync('.')],
    changes: [
      { path: own('temporary'), before: 'absent', after: 'absent', between: [part(content)] },
      { path: own('renamed'), before: 'absent', after: file(content) },
    ],
  }),
  ({ deep, shared, original, content }) => ({
    name: 'a file of the image, replaced by rename',
    image: { [deep('replaced')]: file(original) },
    calls: [write(deep('temporary'), 'wx', content), renaming(deep('temporary'), deep('replaced')), fsync(shared)],
    changes: [
      { path: deep('temporary'), before: 'absent', after: 'absent', between: [part(content)] },
      { path: deep('replaced'), before: file(original), after: file(content) },
    ],
  }),
  (setting) => {
    const { original, content } = setting;
    const longer = { ...part(original, content), atLeast: original.size };
    return changing(
      setting,
      'a file of the image, appended to',
      (path) => [write(path, 'a', content)],
      file(original, content),
      [longer],
    );
  },
  (setting) => {
    const { original } = setting;
    const half = { ...original, size: Math.floor(original.size / 2) };
    // a file system may write the zeros of the last block before the size: ext4 does
    const end = Math.min(Math.ceil(half.size / BLOCK) * BLOCK, original.size);
    const zeros = { text: '\0', size: end - half.size };
    return changing(
      setting,
      'a file of the image, truncated',
      (path) => [{ op: 'truncate', path, size: half.size }, fsync(path)],
      file(half),
      [file(half, zeros, { ...original, from: end })],
    );
  },
  (setting) => {
    const { content } = setting;
    return changing(
      setting,
      'a file of the image, written anew',
      (path) => [write(path, 'w', content)],
      file(content),
      [part(content)],
    );
  },
  (setting) =>
    changing(
      setting,
      'a file of the image, removed',
      (path) => [{ op: 'unlink', path }, fsync(setting.shared)],
      'absent',
    ),
  (setting) =>
    changing(
      setting,
      'a file of the image, with another mode',
      (path) => [{ op: 'chmod', path, mode: 0o600 }, fsync(path)],
      { ...file(setting.original), mode: 0o600 },
    ),
  ({ own, n, content }) => {
    const original = { text: `image ${n} `, size: 5000 };
    const first = { ...content, size: 500 };
    const path = own('in place');
    const flags = constants.O_WRONLY | constants.O_DSYNC;
    return {
      name: 'a file of the image, overwritten with O_DSYNC',
      image: { [path]: file(original) },
      calls: [{ op: 'write', path, flags, filling: first }, fsync('.')],
      changes: [{ path, before: file(original), after: file(first, { ...original, from: first.size }) }],
    };
  },
  ({ own, content }) => ({
    name: 'a link to a new file',
    calls: [write(own('linked'), 'wx', content), linking(own('linked'), own('link')), fsync('.')],
    changes: [
      {
        path: own('linked'),
        before: 'absent',
        after: linked(file(content), 2),
        between: [part(content), linked(part(content), 2)],
      },
      { path: own('link'), before: 'absent', after: linked(file(content), 2) },
    ],
    same: [own('linked'), own('link')],
  }),
  ({ own, deep, original }) => ({
    name: 'a link to a file of the image',
    image: { [deep('linked')]: file(original) },
    calls: [linking(deep('linked'), own('link')), fsync('.')],
    changes: [
      { path: deep('linked'), before: file(original), after: linked(file(original), 2) },
      { path: own('link'), before: 'absent', after: linked(file(original), 2) },
    ],
    same: [deep('linked'), own('link')],
  }),
  ({ own, deep, original, content }) => {
    const names = [own('one'), deep('other')];
    const before = linked(file(original), 2);
    const after = linked(file(original, content), 2);
    const between = [{ ...after, atLeast: original.size }];
    return {
      name: 'a file with two names in the image, appended to',
      image: Object.fromEntries(names.map((name) => [name, before])),
      calls: [write(own('one'), 'a', content)],
      changes: names.map((path) => ({ path, before, after, between })),
      same: names,
    };
  },
  ({ own, deep, shared, original }) => ({
    name: 'a file of the image, renamed',
    image: { [deep('moved')]: file(original) },
    calls: [renaming(deep('moved'), own('moved')), fsync(shared), fsync('.')],
    changes: [
      { path: deep('moved'), before: file(original), after: 'absent' },
      { path: own('moved'), before: 'absent', after: file(original) },
    ],
    kept: [deep('moved'), own('moved')],
  }),
  ({ own, deep, shared, original }) => {
    const [from, to] = [own('tree'), deep('tree')];
    const inside: readonly (readonly [string, State])[] = [
      ['', 'directory'],
      ['/one', file(original)],
      ['/below', 'directory'],
      ['/below/two', file({ ...original, text: 'two ' })],
    ];
    return {
      name: MOVES_DIRECTORY,
      image: Object.fromEntries(inside.map(([name, state]) => [from + name, state])),
      calls: [renaming(from, to), fsync(shared), fsync('.')],
      changes: inside.flatMap(([name, state]): Change[] => [
        { path: from + name, before: state, after: 'absent' },
        { path: to + name, before: 'absent', after: state },
      ]),
      kept: [from, to],
    };
  },
  ({ own, original, content }) => {
    const [path, inside, fresh] = [own('again'), `${own('again')}/old`, `${own('again')}/new`];
    return {
      name: 'a directory of the image, removed and made again',
      image: { [path]: 'directory', [inside]: file(original) },
      calls: [
        { op: 'unlink', path: inside },
        { op: 'rmdir', path },
        { op: 'mkdir', path },
        write(fresh, 'wx', content),
        fsync(path),
        fsync('.'),
      ],
      changes: [
        { path, before: 'directory', after: 'directory', between: ['absent'] },
        { path: inside, before: file(original), after: 'absent' },
        { path: fresh, before: 'absent', after: file(content), between: [part(content)] },
      ],
    };
  },
  ({ own, content }) => {
    const [path, inside] = [own('directory'), `${own('directory')}/file`];
    return {
      name: 'a new directory with a file',
      calls: [{ op: 'mkdir', path }, write(inside, 'wx', content), fsync(path), fsync('.')],
      changes: [
        { path, before: 'absent', after: 'directory' },
        { path: inside, before: 'absent', after: file(content), between: [part(content)] },
      ],
    };
  },
  ({ own, n }) => {
    const target = `target ${n}`;
    return {
      name: 'a symbolic link',
      calls: [{ op: 'symlink', target, path: own('symlink') }, fsync('.')],
      changes: [{ path: own('symlink'), before: 'absent', after: { target } }],
    };
  },
];

/** So many transactions, each kind in turn, in an order that depends on `random`. No two change the same names. */
export function makeTransactions(count: number, random: Random): Transaction[] {
  const made: Transaction[] = [];
  while (made.length < count) {
    for (const kind of random.shuffled(KINDS)) made.push(kind(settingOf(made.length, random)));
  }
  return made;
}

/** All that the image has for these transactions, by path; directories come before what is in them. */
export function imageOf(transactions: readonly Transaction[]): Map<string, State> {
  const shared = Array.from({ length: SHARED_DIRECTORIES }, (_, i) => [`shared-${i}`, 'directory'] as const);
  return new Map([...shared, ...transactions.flatMap(({ image = {} }) => Object.entries(image))]);
}
