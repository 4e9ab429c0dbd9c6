/** Values that several outputs have. */
import { HASH_ALGORITHMS } from '../../src/base/digest.ts';
import { amount, count, either, integer, list, matching, object, oneOf, text, type Value, word } from './value.ts';

export const digest: Value = matching(/^[0-9a-f]{64}$/).about('a digest, hexadecimal');
export const imageId: Value = matching(/^[0-9a-f]{64}$/).about('the id of an image: the BLAKE3 digest of its manifest');
export const hash: Value = oneOf(...HASH_ALGORITHMS).about('the algorithm that names objects');
export const bytes: Value = count.about('bytes');
export const seconds: Value = amount.about('seconds');
export const path: Value = text.about('a path');
export const device: Value = matching(/^\d+:\d+$/).about('a device number, MAJOR:MINOR');
export const uuid: Value = matching(/^[0-9a-f-]{36}$/);
export const time: Value = matching(/^[+-]?\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/).about('UTC, ISO 8601');
/** A number, or its digits beyond 2^53. */
export const large: Value = either(count, matching(/^\d+$/)).about('a number; a string of its digits beyond 2^53');
export const handle: Value = matching(/^0x[0-9a-f]+:[0-9a-f]+$/).about('type and f_handle of a file handle');
export const verifyMode: Value = oneOf('auto', 'open', 'read', 'fsverity', 'off').about('when contents are verified');

const FILE_TYPES = [
  'regular file',
  'directory',
  'symbolic link',
  'character device',
  'block device',
  'fifo',
  'socket',
] as const;
const fileType = oneOf(...FILE_TYPES, 'unknown');

const nanoseconds = count.about('nanoseconds of that second');

/** The keys of an inode's status. */
const STATUS = {
  type: fileType,
  mode: count.about('st_mode, with the bits of the type'),
  uid: count,
  gid: count,
  nlink: count,
  size: bytes,
  mtime: integer.about('seconds since 1970'),
  mtimeNsec: nanoseconds,
  ctime: integer.about('seconds since 1970'),
  ctimeNsec: nanoseconds,
};

const INODE_STATUS = {
  path,
  ...STATUS,
  id: count.about('the stable id: st_ino in a mount'),
  generation: count,
  rdev: object({ major: count, minor: count }).optional(),
};

/** An inode with its name, as mounts report it. */
export const inodeStatus: Value = object(INODE_STATUS);

/** An inode of an image with its name. */
export const inode: Value = object({
  ...INODE_STATUS,
  target: text.about('of a symbolic link').optional(),
  object: digest.about('the object that is its content').optional(),
  blockHashes: count.about('blocks of the object that have a hash in the image').optional(),
  inline: text.about('content that is in the image itself').optional(),
  xattrs: list(object({ name: text, value: text })).optional(),
});

/** The result of stat(2). */
export const stat: Value = object({ ...STATUS, ino: large, dev: device, rdev: device.optional() });

/** A directory that has a file, and its name there. */
export const directoryEntry: Value = object({ handle, name: text.optional() });

export const signature: Value = object({
  where: text.about('the file of the signature, or "embedded"'),
  algorithm: word,
  keyId: matching(/^[0-9a-f]{16}$/),
});

/** The signature that was accepted, and the file of its key. */
export const verifiedSignature: Value = object({
  where: text.about('the file of the signature, or "embedded"'),
  algorithm: word,
  key: path,
  keyId: matching(/^[0-9a-f]{16}$/),
});

/** A source of a mount. */
export const source: Value = object({
  kind: oneOf('image', 'repository', 'upperdir', 'workdir'),
  id: word.about('the id of the image, or the uuid of the repository'),
  path: path.optional(),
  given: path.about('the path that was given to cfs-mount'),
  dev: device,
  ino: large,
  fsType: word,
  fsUuid: uuid.optional(),
  mountId: count,
  handle: handle.optional(),
  parent: object({ handle, name: text }).optional(),
});

export const sealedImage: Value = object({
  path,
  outcome: oneOf('sealed', 'already', 'unsupported', 'busy', 'failed'),
  digest: word.about('for -o digest=; if it is sealed').optional(),
  reason: text.about('if it is not sealed').optional(),
});

/** The keys of the result of sealing objects. */
export const SEALED: Readonly<Record<string, Value>> = {
  sealed: count.about('objects that were sealed now'),
  sealedBytes: bytes,
  treeBytes: bytes.about('size of their Merkle trees'),
  already: count.about('objects that were sealed before'),
  problems: list(
    object({
      outcome: oneOf('unsupported', 'busy', 'failed', 'damaged'),
      reason: text,
      objects: list(digest),
      count,
    }),
  ),
};

/** The outcomes at the repositories that had no good copy. */
export const refusal: Value = oneOf('missing', 'damaged', 'failed');

export const severity: Value = oneOf('error', 'warning', 'notice');

/** A problem of a mount. */
export const problem: Value = object({
  time,
  severity,
  message: text,
  index: count.about('of the object, among those of the image').optional(),
  digest: digest.optional(),
  copies: list(object({ repository: count.about('1 for the first'), outcome: refusal, reason: text })).optional(),
});

const failure = object({
  kind: oneOf('usage', 'source', 'image', 'store', 'mount', 'system', 'interrupted', 'bug'),
  message: text.about('for people'),
  hint: text.about('the remedy, for people').optional(),
  status: count.about('the exit status'),
});

/** What a tool prints instead of its value if it fails. */
export const error: Value = object({ error: failure });

/** An element of the list of a command with several operands, if this one failed. */
const failedOperand = object({ operand: text, error: failure });

/** The list of a command with several operands. */
export const answers = (of: Value): Value => list(either(of, failedOperand));

/** The identity of a repository. */
export const REPOSITORY: Readonly<Record<string, Value>> = { path, uuid, hash };
