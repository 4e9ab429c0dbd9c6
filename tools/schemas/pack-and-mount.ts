/** The outputs of cfs-mkimage and cfs-mount. */
import {
  bytes,
  hash,
  imageId,
  path,
  SEALED,
  sealedImage,
  seconds,
  signature,
  verifiedSignature,
  verifyMode,
} from './common.ts';
import { bool, count, either, list, nothing, object, oneOf, text, type Value, word } from './value.ts';

const server = object({ pid: count, release: word });

export const PACK_AND_MOUNT: Readonly<Record<string, Value>> = {
  'cfs-mkimage': object({
    image: path,
    id: imageId,
    imageBytes: bytes,
    hash,
    entries: count.about('names in the tree, with the root'),
    inodes: count,
    files: count.about('regular files'),
    bytes,
    objects: count,
    objectBytes: bytes,
    newObjects: count.about('objects that the repository did not have'),
    newBytes: bytes,
    sharedBytes: bytes.about('content that needed no space'),
    inlineFiles: count.about('files whose content is in the image itself'),
    unchangedFiles: count.about('files that were not read'),
    registered: bool,
    seconds,
    signature: signature.optional(),
    seal: object({ ...SEALED, image: sealedImage }).optional(),
  }),
  'cfs-mount': object({
    id: imageId,
    image: path,
    mountpoint: path,
    driver: oneOf('kernel', 'fuse-native'),
    verify: verifyMode,
    readByBlocks: list(path).about('repositories whose objects are verified block by block'),
    passthrough: bool.about('the kernel reads objects by itself'),
    inodes: count,
    objects: count,
    sample: object({ lookedFor: count, missing: count }).about('objects that were looked for').optional(),
    otherImages: list(object({ repository: path, id: imageId }))
      .about('images registered at its path')
      .optional(),
    signature: verifiedSignature.optional(),
    pid: count,
    log: either(text, nothing).about('a file, "syslog", or null if problems are logged nowhere').optional(),
  }),
  'cfs-mount --upgrade': object({ mountpoint: path, from: server, to: server }),
  'cfs-mount --rebase': object({
    mountpoint: path,
    from: imageId,
    to: imageId,
    kept: count.about('files that stay in the upper layer'),
  }),
};

/** The output of compare-trees, which is not installed. */
export const COMPARE_TREES: Value = object({
  entries: count,
  files: count,
  bytes,
  skipped: count,
  differenceCount: count,
  differences: list(object({ path: text, field: word, left: text, right: text })),
});
