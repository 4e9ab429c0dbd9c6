/** Describes a file that is not an image: for messages. Pure. */
import { equalBytes } from '../base/bytes.ts';

/** Bytes at a fixed offset that identify a format. */
interface Mark {
  readonly at: number;
  readonly bytes: Uint8Array;
  /** A sentence's end: "it is …". */
  readonly what: string;
  /** The remedy. */
  readonly hint: string | undefined;
}

const text = (at: number, bytes: string, what: string, hint?: string): Mark => ({
  at,
  bytes: Buffer.from(bytes, 'latin1'),
  what,
  hint,
});

const UNPACK = 'Unpack it, and pack the directory with `pack`.';

/** The first match counts: a composefs image is an EROFS image, too. */
const MARKS: readonly Mark[] = [
  text(0, '\x9a\x62\x78\xd0', 'a composefs image (mount.composefs mounts those)'),
  text(1024, '\xe2\xe1\xf5\xe0', 'an EROFS image (mount.composefs mounts those of composefs, mount(8) the others)'),
  text(0, 'hsqs', 'a SquashFS image (mount(8) or squashfuse mounts those)'),
  text(1024 + 56, '\x53\xef', 'an ext2, ext3 or ext4 file system'),
  text(0, 'XFSB', 'an XFS file system'),
  text(0x10040, '_BHRfS_M', 'a btrfs file system'),
  text(32769, 'CD001', 'an ISO 9660 image'),
  text(512, 'EFI PART', "a disk's image, with partitions"),
  text(0, 'QFI\xfb', "a virtual machine's disk (qcow2)"),
  text(0, 'LUKS\xba\xbe', 'an encrypted disk (LUKS)'),
  text(257, 'ustar', 'a tar archive', UNPACK),
  text(0, '070701', 'a cpio archive', UNPACK),
  text(0, 'PK\x03\x04', 'a zip archive', UNPACK),
  text(0, '7z\xbc\xaf\x27\x1c', 'a 7z archive', UNPACK),
  text(0, '!<arch>\n', 'an ar archive or a Debian package'),
  text(0, '\x1f\x8b', 'a gzip file; is an image in it? gunzip unpacks it'),
  text(0, '\x28\xb5\x2f\xfd', 'a zstd file; is an image in it? unzstd unpacks it'),
  text(0, '\xfd7zXZ\x00', 'an xz file; is an image in it? unxz unpacks it'),
  text(0, 'BZh', 'a bzip2 file; is an image in it? bunzip2 unpacks it'),
  text(0, '\x04\x22\x4d\x18', 'an lz4 file; is an image in it? unlz4 unpacks it'),
  text(0, '\x7fELF', 'a program (ELF)'),
  text(0, '-----BEGIN ', 'a PEM file, such as a key'),
  text(0, '\xd2\x84', 'a signature (IMAGE.sig); the image is beside it'),
  text(0, 'version https://git-lfs', "a pointer of Git LFS; 'git lfs pull' fetches the file"),
];

/** The type of the file, if it is one that people mistake for an image. */
export function foreignFormat(file: Uint8Array): Pick<Mark, 'what' | 'hint'> | undefined {
  const mark = MARKS.find(({ at, bytes }) => equalBytes(file.subarray(at, at + bytes.length), bytes));
  if (mark !== undefined) return mark;
  const head = file.subarray(0, 512);
  if (!head.every((byte) => byte === 0)) return undefined;
  return { what: 'a file that begins with zeros: was it written completely?', hint: undefined };
}

/** First bytes of every manifest. */
const BEGINNING = Uint8Array.of(0xd9, 0xd9, 0xf7);

/**
 * A message for a manifest that `decodeManifest` refused: the kind of the file, or a guess.
 * @param problem the error of the decoder
 * @param hasChecksum whether the file has a checksum, and a right one: then it is unchanged since it was written
 */
export function whyMalformed(
  problem: string,
  manifest: Uint8Array,
  hasChecksum: boolean,
): { readonly reason: string; readonly hint?: string | undefined } {
  const foreign = equalBytes(manifest.subarray(0, BEGINNING.length), BEGINNING) ? undefined : foreignFormat(manifest);
  if (foreign !== undefined) return { reason: `it is not a cfs image, but ${foreign.what}`, hint: foreign.hint };
  if (/: its version is /.test(problem)) return { reason: problem };
  const cause = hasChecksum
    ? 'it was made so, and not by cfs: its checksum is right'
    : 'the file is damaged, or was not made by cfs';
  return { reason: `${problem}; ${cause}` };
}
