/** The outputs of cfs-info. */
import { PREFETCH_STATES } from '../../src/remote/prefetch.ts';
import {
  answers,
  bytes,
  device,
  digest,
  directoryEntry,
  handle,
  hash,
  imageId,
  inode,
  inodeStatus,
  path,
  problem,
  refusal,
  seconds,
  severity,
  signature,
  source,
  stat,
  time,
  uuid,
  verifiedSignature,
  verifyMode,
} from './common.ts';
import {
  amount,
  bool,
  count,
  either,
  flag,
  integer,
  list,
  map,
  matching,
  nothing,
  object,
  oneOf,
  text,
  type Value,
  word,
} from './value.ts';

const aspect = oneOf('type', 'content', 'mode', 'owner', 'mtime', 'xattrs', 'links');
const change = oneOf('added', 'removed', 'changed', 'renamed');

const sizes = object({ entries: count, files: count.about('of these, regular files'), bytes });

/** The parts of a handle. */
const HANDLE = {
  handle,
  type: integer,
  bytes: matching(/^[0-9a-f]*$/).about('f_handle, hexadecimal'),
  id: count.about('the stable id in it').optional(),
  generation: count.optional(),
};

const sourceName = object({
  number: count.about('0 for the image, 1 for the first repository'),
  id: word.optional(),
  path: path.optional(),
});

export const INFO: Readonly<Record<string, Value>> = {
  'cfs-info id': answers(object({ image: path, id: imageId, fsverity: word.optional() })),
  'cfs-info ls': list(inode),
  'cfs-info stat': answers(inode),
  'cfs-info extract': object({
    entries: count,
    bytes,
    leftOut: object({ owners: count, xattrs: count, devices: count }).about('what only root can set or make'),
    problems: list(object({ path: path.optional(), kind: word, message: text })),
  }),
  'cfs-info du': answers(
    object({
      image: path,
      path,
      depth: count.about('below the first one'),
      entries: count,
      files: count,
      size: bytes.about('of all files'),
      total: bytes.about('of distinct contents'),
      unique: bytes.about('of contents that are nowhere else'),
      shared: bytes,
    }),
  ),
  'cfs-info dump': answers(inode),
  'cfs-info objects': list(object({ digest, size: bytes, inodes: count })),
  'cfs-info missing': list(object({ digest, size: bytes })),
  'cfs-info diff': answers(
    object({
      change,
      what: list(aspect).optional(),
      below: count.about('entries that were renamed with their directory').optional(),
      old: inode.optional(),
      new: inode.optional(),
    }),
  ),
  'cfs-info diff --stat': object({
    added: sizes,
    removed: sizes,
    changed: object({
      entries: count,
      files: count,
      type: count,
      content: count,
      mode: count,
      owner: count,
      mtime: count,
      xattrs: count,
      links: count,
    }),
    renamed: object({ entries: count, files: count, below: count }),
    objects: count.about('of the new image'),
    objectBytes: bytes,
    newObjects: count.about('of these, not in the old one'),
    newBytes: bytes,
  }),
  'cfs-info diff --tree': answers(
    object({
      path,
      gained: bytes,
      lost: bytes,
      added: count,
      removed: count,
      changed: count,
      renamed: count,
    }),
  ),
  'cfs-info sign': object({ image: path, id: imageId, signature }),
  'cfs-info verify': object({ image: path, id: imageId, signature: verifiedSignature }),
  'cfs-info mounts': list(
    object({
      mountpoint: path,
      mountId: count,
      dev: device,
      state: oneOf('mounted', 'hidden', 'unknown'),
      reason: text.about('why the state is unknown').optional(),
      pid: count.optional(),
      release: word.about('the version that serves it').optional(),
      imageId: imageId.optional(),
      options: text.optional(),
      sources: list(source).optional(),
    }),
  ),
  'cfs-info sources': object({
    format: oneOf('cfs-sources'),
    version: count,
    mountpoint: path,
    options: text,
    sources: list(source).about('the image, the repositories in search order, upperdir, workdir'),
  }),
  'cfs-info changes': object({
    token: word,
    all: bool.about('false: only changes since the given token'),
    changes: list(
      object({
        change,
        what: list(word),
        changing: flag.about('it is open for writing, or may be mapped'),
        old: object({ path }).optional(),
        new: inodeStatus.optional(),
      }),
    ),
  }),
  'cfs-info snapshot': object({ upper: path, work: path, tries: count }),
  'cfs-info stats': object({
    mountpoint: path,
    restarts: count.about('earlier servers of the mount'),
    requests: map(count).about('by the name of the request'),
    errors: map(count).about('failed requests, by the name of the error'),
    bytesRead: bytes.about('read through the server'),
    slow: count.about('requests that took longer than a second'),
    problems: count.about('problems that were logged'),
    repositories: list(
      object({ path, uuid, verify: verifyMode, served: count, missing: count, damaged: count, failed: count }),
    ),
    fetched: object({
      objects: count.about('objects that came from remote repositories'),
      bytes,
      failed: count.about('requests that failed because an object did not come'),
      hits: count.about('times that the cache served an object, and nobody had to wait for a server'),
      prefetch: object({
        mode: oneOf('hot', 'all'),
        state: oneOf(...PREFETCH_STATES),
        objects: count.about('those that are there, of those that are fetched before someone opens them'),
        bytes,
        allObjects: count,
        allBytes: bytes,
      })
        .about('without prefetch=off')
        .optional(),
      servers: list(
        object({
          url: word,
          requests: count.about('requests that the server answered as expected'),
          bytes: bytes.about('of these answers'),
          failures: count.about('other requests, but for files that it does not have'),
          failovers: count.about('requests that it answered after another server had failed'),
          retries: count.about('requests that were made again, because they had failed at all servers'),
          objects: count.about('objects that came from it'),
          objectBytes: bytes,
        }),
      ),
    })
      .about('with remote repositories')
      .optional(),
  }),
  'cfs-info top': object({
    time,
    mountpoint: path,
    seconds,
    restarts: count.about('earlier servers of the mount'),
    requests: map(amount).about('each second, by the name of the request'),
    errors: map(amount).about('failed requests each second, by the name of the error'),
    bytesRead: amount.about('each second, through the server'),
    opens: amount.about('each second'),
    hits: either(amount, nothing).about('the part of the opens that no repository was needed for, up to 1'),
    verifiedObjects: amount.about('each second'),
    verifiedBytes: amount.about('each second'),
    verified: count.about('objects of the image that are verified'),
    objects: count.about('objects of the image'),
    latency: list(count).about('requests by the time until their answer: below 1, 2, 4 µs and so on, then all others'),
    median: either(amount, nothing).about('half of the requests were answered within these µs'),
    slowest: either(amount, nothing).about('99 of 100 requests were answered within these µs'),
    repositories: list(object({ path, served: amount, missing: amount, damaged: amount, failed: amount })).about(
      'each second',
    ),
    fetched: object({
      objects: amount.about('objects that came from remote repositories'),
      bytes: amount,
      failed: amount.about('requests that failed because an object did not come'),
      hits: amount.about('times that the cache served an object, and nobody had to wait for a server'),
      servers: list(
        object({
          url: word,
          requests: amount,
          bytes: amount,
          failures: amount,
          failovers: amount,
          retries: amount,
          objects: amount,
          objectBytes: amount,
        }),
      ),
    })
      .about('each second, with remote repositories')
      .optional(),
    opened: list(object({ ino: count, opens: count, path: text.optional() })).about(
      'the files that were opened most since watching began',
    ),
    problems: count.about('since the server started'),
    lastProblems: list(object({ time, severity, message: text })),
  }),
  'cfs-info log': list(problem),
  'cfs-info where': answers(
    object({
      path,
      imageId,
      imagePath: path.about('its first name, from the root of the image').optional(),
      ino: count,
      generation: count,
      size: bytes,
      content: oneOf('object', 'image', 'empty', 'upper').optional(),
      hash: hash.optional(),
      object: digest.optional(),
      verified: oneOf('yes', 'reading', 'no', 'off', 'fsverity').optional(),
      source: sourceName.about('the source that serves it').optional(),
      holders: list(sourceName).about('all that have it').optional(),
      refused: list(object({ source: count, outcome: refusal, time, reason: text })).optional(),
      remote: object({
        cache: count.about('the number of the source that is the cache'),
        from: word.about('the server that gave the object to this server of the mount').optional(),
        repositories: list(
          object({
            url: word.about('of mirrors with | between them'),
            map: oneOf('unknown', 'known', 'none').about('whether the mount has the map of its image there'),
            place: oneOf('pack', 'file', 'absent').about('absent: it was asked for. Omitted if not known').optional(),
          }),
        ),
      })
        .about('what the mount knows of the object in its remote repositories')
        .optional(),
    }),
  ),
  'cfs-info handle': answers(object({ path, ...HANDLE, parent: directoryEntry.optional(), mountId: count.optional() })),
  'cfs-info open-handle': object({
    path: path.about('leads to the file now').optional(),
    pathProblem: text.about('why there is no path').optional(),
    imagePath: path.about('its first name, from the root of the image').optional(),
    ...HANDLE,
    parent: directoryEntry.optional(),
    mountId: count.optional(),
    mountpoint: path.optional(),
    stat,
  }),
  'cfs-info config': object({
    files: list(object({ path, exists: bool })).about('in the order in which they are asked'),
    values: list(object({ key: word, value: text, from: text.about('FILE:LINE, a variable, or "default"') })),
  }),
  'cfs-info version': object({
    version: word,
    node: word,
    nodePath: path,
    kernel: word,
    machine: word,
    drivers: list(oneOf('kernel', 'fuse-native')),
    blake3: word.about('the package that hashes'),
    flock: oneOf('fs-ext', 'koffi'),
    devFuse: bool.about('whether this user may open /dev/fuse'),
    fusermount3: either(word, nothing).about('its path'),
    passthrough: bool,
    resend: bool,
    fsverity: list(word).about('types of file systems'),
    userNamespaces: bool,
  }),
};
