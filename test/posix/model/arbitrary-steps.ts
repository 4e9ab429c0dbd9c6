/**
 * Random steps. Names are few, so that steps meet the same files again and again. "#17" is an existing name: its number
 * is taken modulo the number of names.
 */
import fc from 'fast-check';
import { makeDevice } from '../../support/libc.ts';
import * as calls from '../calls.ts';
import { ALICE, BOB, CAROL } from '../users.ts';
import { aclFor, DIRECTORIES, FILES, LINKS, NODES, SYMLINKS } from './lower-tree.ts';
import type { Step, Who } from './steps.ts';

const existing: readonly string[] = [
  ...DIRECTORIES,
  ...FILES,
  ...[LINKS, SYMLINKS, NODES].flatMap((list) => list.map(([name]) => name)),
];
const directories = [...DIRECTORIES, 'to-dir', 'new', 'dir/new', 'moved', 'mine/new', 'new/new'];
const names = ['file', 'a', 'b', 'sub', 'deep', 'new', 'moved', 'link', 'one', 'dir'];

const inDirectory = fc
  .tuple(fc.constantFrom('.', ...directories), fc.constantFrom(...names))
  .map(([directory, name]) => (directory === '.' ? name : `${directory}/${name}`));
const present = fc.nat(199).map((index) => `#${index}`);
const path = fc.oneof(
  { weight: 8, arbitrary: present },
  { weight: 2, arbitrary: fc.constantFrom(...existing) },
  { weight: 5, arbitrary: inDirectory },
  { weight: 1, arbitrary: fc.constantFrom('file/below', 'loop/x', 'n'.repeat(256), 'dir/', 'new/', 'to-dir/file') },
);
const directory = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...directories) }, { weight: 1, arbitrary: path });

/** Mostly a name that does not exist yet. */
const newPath = fc.oneof({ weight: 4, arbitrary: inDirectory }, { weight: 1, arbitrary: path });

const slot = fc.nat(11);
const permissions = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(0o644, 0o755, 0o600, 0o700, 0o777, 0o444, 0o000) },
  { weight: 1, arbitrary: fc.constantFrom(0o1777, 0o2755, 0o4755, 0o6777, 0o2644) },
);
const owner = fc.constantFrom(-1, 0, ALICE.uid, BOB.uid);
const group = fc.constantFrom(-1, 0, ALICE.gid, CAROL.gid);
/** Numbers around the boundaries of pages and of the files of the tree. */
const position = fc.oneof(fc.nat(9000), fc.constantFrom(0, 4095, 4096, 8192, 65_536, 131_071, 199_999, 262_144));
const length = fc.oneof(fc.integer({ min: 0, max: 6000 }), fc.constantFrom(1, 4096, 16_384, 70_000));
const seconds = fc.constantFrom(0, 1, 1_000_000_001, 1_234_567_890, -5);
const xattr = fc.constantFrom(
  'user.color',
  'user.other',
  'trusted.note',
  'trusted.overlay.opaque',
  'security.other',
  'user.',
  'system.none',
  'nothing.known',
);
const openFlags = fc
  .tuple(
    fc.constantFrom(calls.O_RDONLY, calls.O_RDWR, calls.O_RDWR, calls.O_WRONLY),
    fc.subarray([calls.O_CREAT, calls.O_TRUNC, calls.O_APPEND]),
    fc.subarray([calls.O_EXCL, calls.O_NOFOLLOW, calls.O_DIRECTORY], { maxLength: 1 }),
    fc.nat(3),
  )
  // O_EXCL without O_CREAT means nothing; O_DIRECTORY with it is refused
  .map(([access, some, rare, one]) => [...some, ...(one === 0 ? rare : [])].reduce((all, flag) => all | flag, access))
  .filter((flags) => (flags & calls.O_CREAT) === 0 || (flags & calls.O_DIRECTORY) !== calls.O_DIRECTORY);

const KEEP = calls.FALLOC_FL_KEEP_SIZE;
const fallocateMode = fc.constantFrom(
  0,
  KEEP,
  calls.FALLOC_FL_PUNCH_HOLE | KEEP,
  calls.FALLOC_FL_ZERO_RANGE,
  calls.FALLOC_FL_ZERO_RANGE | KEEP,
  calls.FALLOC_FL_PUNCH_HOLE,
);
const device = makeDevice(1, 3);
const nodeMode = fc.constantFrom(calls.S_IFIFO, calls.S_IFSOCK, calls.S_IFREG, calls.S_IFCHR, calls.S_IFBLK);
const acl = fc.constantFrom(aclFor(ALICE.uid, 6), aclFor(BOB.uid, 0), new Uint8Array(3));

const just = <T>(value: T): fc.Arbitrary<T> => fc.constant(value);
const many = (...ops: readonly Step['op'][]) => fc.constantFrom(...ops);

/** A kind of step, and its frequency. */
const KINDS: readonly (readonly [weight: number, fields: { readonly [field: string]: fc.Arbitrary<unknown> }])[] = [
  [12, { op: just('open'), path, flags: openFlags, mode: permissions }],
  [2, { op: just('tmpfile'), path: directory, mode: permissions }],
  [4, { op: just('linkDescriptor'), slot, path: newPath }],
  [2, { op: many('close'), slot }],
  [6, { op: many('fsync', 'fstat', 'list'), slot }],
  [8, { op: just('write'), slot, at: position, length, fill: fc.nat(9) }],
  [5, { op: just('read'), slot, at: position, length }],
  [3, { op: just('ftruncate'), slot, size: position }],
  [4, { op: just('fallocate'), slot, mode: fallocateMode, at: position, length }],
  [4, { op: just('copyRange'), slot, at: position, to: slot, toAt: position, length }],
  [2, { op: just('fchmod'), slot, mode: permissions }],
  [2, { op: just('fchown'), slot, uid: owner, gid: group }],
  [1, { op: just('futimens'), slot, seconds }],
  [2, { op: just('fsetxattr'), slot, name: xattr, length: fc.nat(300) }],
  [8, { op: just('mkdir'), path: newPath, mode: permissions }],
  [5, { op: just('chmod'), path, mode: permissions }],
  [
    2,
    {
      op: just('mknod'),
      path: newPath,
      mode: fc.tuple(nodeMode, permissions).map(([a, b]) => a | b),
      device: just(device),
    },
  ],
  [3, { op: just('symlink'), path: newPath, to: fc.oneof(path, just('../file')) }],
  [6, { op: many('link', 'link', 'linkFollowing'), path, to: newPath }],
  [
    14,
    {
      op: just('rename'),
      path,
      to: fc.oneof(path, newPath),
      flags: fc.constantFrom(0, 0, 0, calls.RENAME_NOREPLACE, calls.RENAME_EXCHANGE),
    },
  ],
  [8, { op: just('rename'), path: directory, to: directory, flags: fc.constantFrom(0, 0, calls.RENAME_EXCHANGE) }],
  [7, { op: just('unlink'), path }],
  [4, { op: just('rmdir'), path: directory }],
  [3, { op: many('readlink', 'stat'), path }],
  [5, { op: many('chown', 'lchown'), path, uid: owner, gid: group }],
  [3, { op: many('utimens', 'lutimens'), path, seconds }],
  [3, { op: just('truncate'), path, size: position }],
  [1, { op: just('access'), path, mode: fc.nat(7) }],
  [4, { op: just('setxattr'), path, name: xattr, length: fc.nat(300), flags: fc.constantFrom(0, 0, 1, 2) }],
  [
    2,
    {
      op: just('setAcl'),
      path,
      name: fc.constantFrom('system.posix_acl_access', 'system.posix_acl_default'),
      value: acl,
    },
  ],
  [2, { op: just('removexattr'), path, name: fc.oneof(xattr, just('system.posix_acl_access')) }],
];

const step = fc.oneof(
  ...KINDS.map(([weight, fields]) => ({ weight, arbitrary: fc.record(fields) as unknown as fc.Arbitrary<Step> })),
);

const who: fc.Arbitrary<Who> = fc.oneof(
  { weight: 6, arbitrary: just<Who>('root') },
  { weight: 2, arbitrary: just<Who>('alice') },
  { weight: 1, arbitrary: just<Who>('bob') },
);

/** A step and the user that does it. Only root links open files to names, because that uses /proc. */
export const arbitraryStep: fc.Arbitrary<{ readonly step: Step; readonly who: Who }> = fc
  .record({ step, who })
  .map(({ step, who }) => ({ step, who: step.op === 'linkDescriptor' ? 'root' : who }));
