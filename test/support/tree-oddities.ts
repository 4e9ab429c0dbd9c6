/** One of every kind of file that a careless program handles wrong. */
import { makeDevice } from './libc.ts';
import { join, type TreeWriter } from './tree-writer.ts';

/** Names that are text only for the kernel. None is longer than NAME_MAX, none contains a slash or NUL. */
export const ODD_NAMES: readonly Uint8Array[] = [
  ...[' ', '  two  spaces  ', '-rf', '--help', '...', '..a', '.hidden', '~', '*', '?', '$HOME', '`id`', '"', "'"],
  ...['back\\slash', 'new\nline', 'tab\tname', 'carriage\rreturn', '\x1b[31mred', '%s%n', '\\x41', 'a:b', '#', '\x7f'],
  ...[
    'ünïcödé',
    'é',
    'e\u0301',
    '日本語',
    '😀',
    '\u202eevil',
    '\ufeffbom',
    '\u2028',
    '\u{10ffff}',
    'ﬀ',
    'con',
    'Case',
    'case',
  ],
  // UTF-16 sorts the second of these before the first, UTF-8 after it
  ...['\uff5e', '\u{1f601}'],
  ...['a', 'a.', 'a!', 'a-b', 'a b', 'ab', 'a0', 'A', 'aa'],
  ...['n'.repeat(255), '\u{1f600}'.repeat(63)],
].map((text) => Buffer.from(text));

/** Names that are not UTF-8. */
export const NON_UTF8_NAMES: readonly Uint8Array[] = [
  Buffer.from('latin1-\xe9', 'latin1'),
  Buffer.from([0xff]),
  Buffer.from([0xfe, 0x0a, 0x80]),
  Buffer.from('overlong-\xc0\xaf', 'latin1'),
  Buffer.from('surrogate-\xed\xa0\x80', 'latin1'),
  Buffer.from('cut-\xf0\x9f\x98', 'latin1'),
  Buffer.alloc(255, 0xe9),
];

/** Sizes on both sides of every boundary: inline contents, pages, blocks of block hashes, read chunks. */
export const BOUNDARY_SIZES: readonly number[] = [0, 64, 4096, 65536, 131072, 1 << 20].flatMap((size) =>
  size === 0 ? [0, 1] : [size - 1, size, size + 1],
);

export function writeOddities(tree: TreeWriter): void {
  tree.directory('odd');
  writeTypes(tree);
  writeNames(tree);
  writeModes(tree);
  writeOwners(tree);
  writeTimes(tree);
  writeXattrs(tree);
  writeSizes(tree);
  writeSparse(tree);
  writeLinks(tree);
}

function writeTypes(tree: TreeWriter): void {
  tree.directory('odd/types');
  tree.file('odd/types/regular', Buffer.from('regular\n'));
  tree.directory('odd/types/directory');
  tree.symlink('odd/types/symlink', 'regular');
  tree.fifo('odd/types/fifo');
  tree.socket('odd/types/socket');
  tree.device('odd/types/null', 'character', makeDevice(1, 3));
  tree.device('odd/types/whiteout', 'character', makeDevice(0, 0));
  tree.device('odd/types/large-minor', 'character', makeDevice(4095, 0xfffff));
  tree.device('odd/types/disk', 'block', makeDevice(8, 17));
}

function writeNames(tree: TreeWriter): void {
  tree.directory('odd/names');
  for (const name of [...ODD_NAMES, ...NON_UTF8_NAMES]) {
    tree.file(join('odd/names', name), Buffer.concat([Buffer.from('named '), name]));
  }
  tree.directory('odd/names-of-directories');
  for (const name of [...ODD_NAMES.slice(0, 20), ...NON_UTF8_NAMES]) {
    tree.directory(join('odd/names-of-directories', name));
    tree.file(join('odd/names-of-directories', name, 'inside'), name);
  }
}

function writeModes(tree: TreeWriter): void {
  tree.directory('odd/modes');
  for (const mode of [0, 0o1, 0o111, 0o222, 0o400, 0o444, 0o600, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777]) {
    const name = mode.toString(8).padStart(4, '0');
    tree.file(`odd/modes/file-${name}`, Buffer.from(`mode ${name}\n`), { mode });
    tree.directory(`odd/modes/directory-${name}`, { mode });
  }
  tree.fifo('odd/modes/fifo-0000', { mode: 0 });
  tree.socket('odd/modes/socket-7777', { mode: 0o7777 });
}

function writeOwners(tree: TreeWriter): void {
  tree.directory('odd/owners');
  for (const [uid, gid] of [
    [1000, 1000],
    [65534, 65534],
    [0, 5],
    [70_000, 2 ** 31],
    [2 ** 32 - 2, 2 ** 32 - 2],
  ] as const) {
    tree.file(`odd/owners/file-${uid}-${gid}`, Buffer.from('owned\n'));
    tree.owner(`odd/owners/file-${uid}-${gid}`, uid, gid);
    tree.directory(`odd/owners/directory-${uid}-${gid}`);
    tree.owner(`odd/owners/directory-${uid}-${gid}`, uid, gid);
  }
  tree.symlink('odd/owners/symlink', 'nowhere');
  tree.owner('odd/owners/symlink', 1000, 1001);
}

/** From 1901 to 2446, the range of ext4. */
function writeTimes(tree: TreeWriter): void {
  tree.directory('odd/times');
  const times = [0, 1, -1, -1_000_000, -(2 ** 31), 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 33 + 12_345, 15_032_385_535];
  for (const seconds of times) {
    for (const nanoseconds of [0, 1, 999_999_999]) {
      const time = { seconds, nanoseconds };
      tree.file(`odd/times/${seconds}.${nanoseconds}`, Buffer.from(`${seconds}\n`), { time });
    }
    tree.directory(`odd/times/directory${seconds}`, { time: { seconds, nanoseconds: 987_654_321 } });
  }
}

const ACL_VERSION = 2;
const ACL_TAGS = { owner: 1, user: 2, group: 4, namedGroup: 8, mask: 16, other: 32 } as const;

/** A POSIX ACL as the kernel stores it: include/uapi/linux/posix_acl_xattr.h. */
function acl(entries: readonly (readonly [tag: keyof typeof ACL_TAGS, permissions: number, id?: number])[]): Buffer {
  const out = Buffer.alloc(4 + entries.length * 8);
  out.writeUInt32LE(ACL_VERSION, 0);
  entries.forEach(([tag, permissions, id], i) => {
    out.writeUInt16LE(ACL_TAGS[tag], 4 + i * 8);
    out.writeUInt16LE(permissions, 6 + i * 8);
    out.writeUInt32LE(id ?? 0xffffffff, 8 + i * 8);
  });
  return out;
}

function writeXattrs(tree: TreeWriter): void {
  tree.directory('odd/xattrs');
  const value = tree.random.bytes(1500);
  for (const name of ['few', 'same-as-few']) {
    tree.file(`odd/xattrs/${name}`, Buffer.from(name));
    tree.xattr(`odd/xattrs/${name}`, 'user.comment', Buffer.from('hello'));
    tree.xattr(`odd/xattrs/${name}`, 'user.empty', Buffer.alloc(0));
  }
  tree.file('odd/xattrs/many', Buffer.from('many'));
  for (let i = 0; i < 30; i++) tree.xattr('odd/xattrs/many', `user.${'x'.repeat(i)}${i}`, Buffer.from([0, i, 255]));
  tree.file('odd/xattrs/large', Buffer.from('large'));
  tree.xattr('odd/xattrs/large', 'user.large', value);
  tree.xattr('odd/xattrs/large', 'user.ünïcödé \n', Buffer.from('odd name'));
  tree.directory('odd/xattrs/directory');
  tree.xattr('odd/xattrs/directory', 'user.on.directory', Buffer.from('yes'));
  tree.file('odd/xattrs/trusted', Buffer.from('trusted'));
  tree.xattr('odd/xattrs/trusted', 'trusted.cfs', Buffer.from([1, 2, 3]));
  tree.symlink('odd/xattrs/trusted-symlink', 'few');
  tree.xattr('odd/xattrs/trusted-symlink', 'trusted.on.link', Buffer.from('link'));
  tree.fifo('odd/xattrs/trusted-fifo');
  tree.xattr('odd/xattrs/trusted-fifo', 'trusted.on.fifo', Buffer.from('fifo'));
  // struct vfs_cap_data, revision 2, effective: cap_net_raw, as ping has it
  tree.file('odd/xattrs/capability', Buffer.from('ping'), { mode: 0o755 });
  tree.xattr(
    'odd/xattrs/capability',
    'security.capability',
    Buffer.from('0100000200200000000000000000000000000000', 'hex'),
  );
  writeAcls(tree);
}

function writeAcls(tree: TreeWriter): void {
  const access = acl([
    ['owner', 6],
    ['user', 4, 1000],
    ['group', 4],
    ['namedGroup', 6, 70_000],
    ['mask', 6],
    ['other', 0],
  ]);
  const inherited = acl([
    ['owner', 7],
    ['user', 5, 1000],
    ['group', 5],
    ['mask', 5],
    ['other', 0],
  ]);
  // the group bits of the mode are the ACL's mask
  tree.file('odd/xattrs/acl', Buffer.from('acl'), { mode: 0o660 });
  tree.xattr('odd/xattrs/acl', 'system.posix_acl_access', access);
  tree.directory('odd/xattrs/acl-directory', { mode: 0o750 });
  tree.xattr('odd/xattrs/acl-directory', 'system.posix_acl_default', inherited);
}

function writeSizes(tree: TreeWriter): void {
  tree.directory('odd/sizes');
  for (const size of BOUNDARY_SIZES) {
    const content = tree.random.bytes(size);
    tree.file(`odd/sizes/${size}`, content);
    tree.file(`odd/sizes/${size}-again`, content);
  }
}

function writeSparse(tree: TreeWriter): void {
  tree.directory('odd/sparse');
  const data = tree.random.bytes(5000);
  tree.sparseFile('odd/sparse/only-hole', 1_000_000, []);
  tree.sparseFile('odd/sparse/hole-first', 300_000, [[262_144, data]]);
  tree.sparseFile('odd/sparse/hole-last', 300_000, [[0, data]]);
  tree.sparseFile('odd/sparse/holes', 900_001, [
    [65_536 - 100, data],
    [131_072, data],
    [900_000, data.subarray(0, 1)],
  ]);
  tree.file('odd/sparse/zeros', Buffer.alloc(1_000_000));
}

function writeLinks(tree: TreeWriter): void {
  tree.directory('odd/links');
  tree.directory('odd/links/a');
  tree.directory('odd/links/b');
  tree.file('odd/links/b/first', Buffer.from('three names\n'));
  tree.link('odd/links/a/second', 'odd/links/b/first');
  tree.link('odd/links/third', 'odd/links/b/first');
  tree.fifo('odd/links/fifo');
  tree.link('odd/links/a/fifo', 'odd/links/fifo');
  tree.symlink('odd/links/symlink', 'third');
  tree.link('odd/links/a/symlink', 'odd/links/symlink');
  tree.symlink('odd/links/dangling', 'no/such/file');
  tree.symlink('odd/links/self', 'self');
  tree.symlink('odd/links/absolute', '/etc/passwd');
  tree.symlink('odd/links/up', '../../../../../..');
  tree.symlink('odd/links/directory', 'a');
  tree.symlink('odd/links/not-utf8', Buffer.from('\xff\xfe \n', 'latin1'));
  // PATH_MAX without its NUL
  tree.symlink('odd/links/longest', 'target/'.repeat(585));
}
