/** The outputs of cfs-repo. */
import {
  answers,
  bytes,
  digest,
  hash,
  imageId,
  path,
  problem,
  REPOSITORY,
  SEALED,
  sealedImage,
  seconds,
  time,
  uuid,
} from './common.ts';
import { bool, count, either, flag, integer, list, map, nothing, object, oneOf, text, Value, word } from './value.ts';

const pathState = oneOf('there', 'moved', 'gone', 'replaced', 'damaged', 'unknown');
const objects = object({ objects: count, bytes, diskBytes: bytes.about('bytes that they take on the disk') });
const copied = object({ id: imageId, path, missing: count.about('objects of it; it is registered if there are none') });
const registeredPath = object({
  path,
  state: pathState,
  now: path.about('the path that it was moved to').optional(),
  other: imageId.about('the image that is there now').optional(),
  reason: text.optional(),
});
const copiedObjects = object({
  ...REPOSITORY,
  images: list(copied),
  objects: count.about('that were copied'),
  bytes,
  existing: count.about('objects that were there'),
  problems: list(object({ object: digest, problem: text })),
  seconds,
});
const files = object({ files: count, bytes });
const changed = object({ entries: count, bytes: integer });
const mountHealth = object({
  mountpoint: path,
  image: word.about('its id'),
  problems: list(problem),
  note: text.about('why the problems are unknown').optional(),
});
const cachedFiles = {
  count,
  bytes: bytes.about('on the disk, in blocks of 4 KiB'),
  oldest: time.about('when the one was used that was not used for the longest time').optional(),
  newest: time.about('when one was used last').optional(),
};
const imageAt = object({ image: imageId, path });

export const REPO: Readonly<Record<string, Value>> = {
  'cfs-repo init': object(REPOSITORY),
  'cfs-repo stat': object({
    ...REPOSITORY,
    objects: count,
    bytes,
    allocatedBytes: bytes.about('bytes that they take on the disk'),
    temporaries: count.about('files in tmp/'),
  }),
  'cfs-repo push': object({
    target: text.about('a URL, or a directory'),
    ref: text.about('the name of the image there'),
    id: imageId,
    objects: count.about('of the image'),
    reused: count.about('of these, in packs that were there'),
    hot: count.about('of the image, that are fetched first at each mount'),
    files: count.about('that were written'),
    bytes: bytes.about('that were written'),
    existingPacks: count,
    seconds,
  }),
  'cfs-repo pull': copiedObjects,
  'cfs-repo sync': object({
    target: text.about('a URL, or a directory'),
    images: list(object({ source: text.about('a URL, or a directory'), name: text, id: imageId })),
    files: count.about('that were written'),
    bytes: bytes.about('that were written'),
    existing: count.about('packs and files of objects that were there'),
    seconds,
  }),
  'cfs-repo df': object({
    ...REPOSITORY,
    images: list(
      object({
        id: imageId,
        total: objects,
        unique: objects.about('those that no other registered image needs'),
        shared: objects,
        freed: objects.about('what gc would delete if the image was not registered'),
        missing: count,
        mounted: bool,
        fileBytes: bytes.about('of the image file').optional(),
        paths: list(registeredPath),
      }),
    ),
    sum: objects.about('of all images'),
    together: objects.about('of all images, each object counted once'),
    leased: objects.about('those that only mounts, or images that were packed recently, need'),
    unused: objects,
    problems: list(object({ image: imageId, problem: text })),
  }),
  'cfs-repo copy': copiedObjects,
  'cfs-repo fsck': object({
    ...REPOSITORY,
    objects: count,
    bytes,
    damaged: list(
      object({
        object: digest,
        kind: oneOf('corrupt', 'shape', 'unreadable', 'missing', 'quarantined'),
        problem: text,
        quarantined: text.about('the new path of the bad file').optional(),
        from: path.about('the repository that a good copy came from').optional(),
        hindrance: text.about('why there is no good copy').optional(),
        repaired: bool,
        in: list(object({ image: path, file: text })).about('some files with this content'),
        inCount: count.about('all files with this content'),
      }),
    ),
    roots: count.about('registered images'),
    badRoots: list(object({ image: imageId, problem: text, paths: list(path) })),
    oddities: list(object({ kind: oneOf('strange', 'mode', 'missing'), path, problem: text, mended: flag })),
    temporaries: count.about('files in tmp/'),
    quarantined: count.about('damaged files that were moved away'),
    damagedImages: list(imageAt),
    replacedImages: list(object({ image: imageId, path, other: imageId })),
    seconds,
  }),
  'cfs-repo prune': object({
    path,
    dryRun: bool,
    names: count.about('names in refs'),
    images: count.about('images that names lead to'),
    kept: files,
    young: files.about('of these, kept only because they are new'),
    freed: files,
    freedFiles: list(object({ name: word, bytes: count }))
      .optional()
      .about('with -v'),
  }),
  'cfs-repo cache': object({
    path,
    dryRun: bool.about('with --trim or --clear').optional(),
    deleted: object({ objects: count, images: count, leftovers: count, bytes })
      .about('with --trim or --clear: what was deleted, or would be')
      .optional(),
    pinned: imageId.about('with --pin').optional(),
    unpinned: imageId.about('with --unpin').optional(),
    objects: list(object({ hash, ...cachedFiles })),
    images: object({ ...cachedFiles, inUse: count.about('images that mounts use') }),
    leftovers: count.about('unfinished files of programs that were killed'),
    pins: list(
      object({
        id: imageId,
        hash,
        objects: count.about('of the image').optional(),
        cached: count.about('of these, in the cache'),
        cachedBytes: bytes.about('of these on the disk'),
        hasImage: bool.about('the image file is in the cache'),
        problem: text.about('why its objects are not known').optional(),
      }),
    ),
    bytes: bytes.about('of all of it'),
    disk: object({ free: bytes, size: bytes }).optional(),
    mounts: list(
      object({
        mountpoint: path,
        cacheSize: bytes.about('the limit of the mount').optional(),
        cacheMinFree: word.about('what is to be free on the disk: bytes, or a number with %').optional(),
      }),
    ),
  }),
  'cfs-repo gc': object({
    path,
    uuid,
    dryRun: bool,
    freed: objects,
    kept: objects,
    young: objects.about('of these, kept only because they are new'),
    registered: count.about('images'),
    mounted: count.about('images'),
    packed: count.about('images that were packed recently and not registered'),
    dead: count.about('leases of dead mounts'),
    leftovers: count.about('files of dead writers'),
    quarantined: count.about('damaged files that were deleted'),
    images: list(
      object({
        id: imageId,
        why: list(oneOf('registered', 'mounted', 'packed')),
        objects: count,
        bytes,
        paths: list(path),
        gone: bool.about('it is at none of its paths any more'),
      }),
    ),
    freedObjects: list(object({ object: digest, bytes }))
      .about('with -v')
      .optional(),
  }),
  'cfs-repo images': list(
    either(
      object({
        id: imageId,
        objects: count,
        bytes,
        registered: time,
        path,
        complete: bool.about('all its objects were there when it was registered'),
        state: pathState,
        paths: list(registeredPath),
      }),
      object({ id: imageId, problem: text }),
    ),
  ),
  'cfs-repo report': object({
    ...REPOSITORY,
    time,
    usage: object({
      images: list(
        object({ id: imageId, total: objects, unique: objects, freed: objects, missing: count, mounted: bool }),
      ),
      together: objects,
      leased: objects,
      unused: objects,
      problems: list(object({ image: imageId, problem: text })),
    }),
    images: list(
      object({
        id: imageId,
        path: text,
        inodes: count,
        space: object({
          name: text,
          entries: count,
          bytes,
          unique: bytes,
          children: list(new Value({ type: 'object' }).about('with the same keys')).optional(),
        }),
        common: list(bytes).about('in common with each of the images'),
      }),
    ),
    unread: map(text).about('why images could not be read, by their ids'),
    comparisons: list(
      object({
        from: count.about('index of the older image'),
        to: count.about('index of the newer one'),
        added: changed,
        removed: changed,
        changed,
        renamed: changed,
        lines: list(
          object({
            kind: oneOf('added', 'removed', 'changed', 'renamed'),
            path: text,
            from: text.optional(),
            what: list(word),
            bytes: integer,
          }),
        ),
      }),
    ),
    health: object({
      quarantined: count,
      unfinished: count,
      mounts: list(mountHealth),
      lastFsck: either(
        object({ time, seconds, objects: count, bytes, damaged: count, repaired: count, badRoots: count }),
        nothing,
      ).about('the last cfs-repo fsck without --dry-run; null if none is recorded'),
      lastGc: either(
        object({
          time,
          seconds,
          freedObjects: count,
          freedBytes: bytes,
          freedDiskBytes: bytes,
          keptObjects: count,
          keptBytes: bytes,
          keptDiskBytes: bytes,
        }),
        nothing,
      ).about('the last cfs-repo gc without --dry-run; null if none is recorded'),
      check: object({
        objects: count,
        bytes,
        damaged: list(object({ object: digest, problem: text, users: list(text) })),
      })
        .about('with --fsck')
        .optional(),
    }),
  }),
  'cfs-repo register': answers(object({ id: imageId, path, new: bool, newPath: bool, missing: count })),
  'cfs-repo unregister': answers(
    object({
      id: imageId,
      unregistered: bool,
      forgotten: list(path),
      moved: list(object({ from: path, to: path })),
      stays: text.about('why it stays registered').optional(),
    }),
  ),
  'cfs-repo import': object({
    ...REPOSITORY,
    objects: count,
    newObjects: count,
    newBytes: bytes,
    images: list(copied),
  }),
  'cfs-repo seal': object({
    path: path.optional(),
    uuid: uuid.optional(),
    hash: hash.optional(),
    ...Object.fromEntries(Object.entries(SEALED).map(([key, value]) => [key, value.optional()])),
    images: answers(sealedImage),
    seconds,
  }),
};
