/** The INIT negotiation: the kernel's offer, our request, and the result. Pure. */
import { CfsError } from '../base/error.ts';
import * as abi from './abi.ts';

/** Flags of fuse_init_in and fuse_init_out as a set of bit numbers: 0 to 31 in `flags`, 32 to 63 in `flags2`. */
export type InitFlags = ReadonlySet<number>;

export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: InitFlags;
}

/** The requirements of the file system. */
export interface Wishes {
  readonly passthrough: boolean;
  readonly acls: boolean;
  /** OPEN will be answered with ENOSYS. */
  readonly openless: boolean;
  /** The mount can be written: requests are larger, and the kernel must be able to report further changes. */
  readonly writable?: boolean;
}

export interface Negotiated {
  readonly minor: number;
  readonly flags: InitFlags;
  /** Bytes of the largest WRITE; the buffer for requests has as much, and room for the headers. */
  readonly maxWrite: number;
}

/** READDIRPLUS_AUTO is left out on purpose: it costs the first lookup of each name its RCU walk. */
const ALWAYS_WANTED: readonly number[] = [
  abi.ASYNC_READ,
  abi.EXPORT_SUPPORT,
  abi.DO_READDIRPLUS,
  abi.PARALLEL_DIROPS,
  abi.CACHE_SYMLINKS,
  abi.MAX_PAGES,
  abi.NO_OPENDIR_SUPPORT,
  abi.INIT_EXT,
  abi.HAS_RESEND,
];

/**
 * The features that a writable mount requires; the newest is of Linux 5.13. Set-id bits: the file system removes them,
 * so that the kernel need not ask before each write whether a file has capabilities. ACLs: inherited from the
 * directory, so the kernel leaves the umask to the file system, and reports when an ACL removes the set-group-ID bit.
 * Open with O_TRUNC: one request, not two.
 */
const NEEDED_FOR_WRITING: readonly number[] = [
  abi.ATOMIC_O_TRUNC,
  abi.BIG_WRITES,
  abi.HANDLE_KILLPRIV_V2,
  abi.POSIX_ACL,
  abi.DONT_MASK,
  abi.SETXATTR_EXT,
];

/**
 * Stacking depth of this file system with passthrough: the objects' file system may not be stacked itself, and an
 * overlayfs may still be mounted on top (FILESYSTEM_MAX_STACK_DEPTH is 2).
 */
const MAX_STACK_DEPTH = 1;
/** Requests in the background, mostly readahead, before the kernel throttles. */
const MAX_BACKGROUND = 64;

const flagSet = (low: number, high: number): InitFlags => {
  const flags = new Set<number>();
  for (let bit = 0; bit < 32; bit++) {
    if ((low >>> bit) & 1) flags.add(bit);
    if ((high >>> bit) & 1) flags.add(bit + 32);
  }
  return flags;
};

const flagWord = (flags: InitFlags, from: number): number => {
  let word = 0;
  for (const bit of flags) if (bit >= from && bit < from + 32) word |= 1 << (bit - from);
  return word >>> 0;
};

/** @throws CfsError (mount) if the bytes are not an INIT request, or the kernel is too old */
export function decodeInit(bytes: Uint8Array): InitRequest {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < abi.IN_HEADER_SIZE + 16 || view.getUint32(4, true) !== abi.FUSE_INIT) {
    throw new CfsError('mount', 'the kernel did not begin with an INIT request');
  }
  const word = (index: number): number =>
    abi.IN_HEADER_SIZE + index * 4 + 4 <= bytes.length ? view.getUint32(abi.IN_HEADER_SIZE + index * 4, true) : 0;
  const request = { major: word(0), minor: word(1), maxReadahead: word(2), flags: flagSet(word(3), word(4)) };
  if (request.major !== abi.FUSE_KERNEL_VERSION || request.minor < abi.FUSE_MINIMUM_MINOR_VERSION) {
    throw new CfsError(
      'mount',
      `the kernel speaks FUSE ${request.major}.${request.minor}; version ${abi.FUSE_KERNEL_VERSION}.${abi.FUSE_MINIMUM_MINOR_VERSION} (Linux 5.4) or later is needed`,
    );
  }
  return request;
}

/** @throws CfsError (mount) if the mount is to be writable, and the kernel is too old for that */
export function negotiate(request: InitRequest, wishes: Wishes): Negotiated {
  const wanted = new Set(ALWAYS_WANTED);
  if (wishes.passthrough) wanted.add(abi.PASSTHROUGH);
  if (wishes.acls) wanted.add(abi.POSIX_ACL);
  if (wishes.openless) wanted.add(abi.NO_OPEN_SUPPORT);
  if (wishes.writable) wantForWriting(request, wishes, wanted);
  return {
    minor: Math.min(request.minor, abi.FUSE_KERNEL_MINOR_VERSION),
    flags: new Set([...wanted].filter((bit) => request.flags.has(bit))),
    maxWrite: wishes.writable ? abi.LARGE_MAX_WRITE : abi.MAX_WRITE,
  };
}

function wantForWriting(request: InitRequest, wishes: Wishes, wanted: Set<number>): void {
  const missing = NEEDED_FOR_WRITING.filter((bit) => !request.flags.has(bit));
  if (missing.length > 0) {
    throw new CfsError(
      'mount',
      `the kernel lacks features of FUSE that a writable mount needs (bits ${missing.join(', ')} of INIT)`,
      { hint: 'Linux 5.13 or later has them. Without an upper directory the image can be mounted read-only.' },
    );
  }
  for (const bit of NEEDED_FOR_WRITING) wanted.add(bit);
  // small writes are collected in the kernel. With passthrough they do not come here, and the kernel refuses both:
  // times would then be its own, at the cost of a SETATTR for each change of a name
  if (!wishes.passthrough || !request.flags.has(abi.PASSTHROUGH)) wanted.add(abi.WRITEBACK_CACHE);
}

/** The whole reply to the INIT request in `bytes`. */
export function encodeInitReply(bytes: Uint8Array, request: InitRequest, negotiated: Negotiated): Uint8Array {
  const length = abi.OUT_HEADER_SIZE + abi.INIT_OUT_SIZE;
  const reply = new Uint8Array(length);
  const view = new DataView(reply.buffer);
  view.setUint32(0, length, true);
  reply.set(bytes.subarray(8, 16), 8); // unique
  const out = abi.OUT_HEADER_SIZE;
  view.setUint32(out, abi.FUSE_KERNEL_VERSION, true);
  view.setUint32(out + 4, negotiated.minor, true);
  view.setUint32(out + 8, request.maxReadahead, true);
  view.setUint32(out + 12, flagWord(negotiated.flags, 0), true);
  view.setUint16(out + 16, MAX_BACKGROUND, true);
  view.setUint16(out + 18, (MAX_BACKGROUND * 3) / 4, true); // congestion_threshold
  view.setUint32(out + 20, negotiated.maxWrite, true);
  view.setUint32(out + 24, 1, true); // time_gran: nanoseconds
  view.setUint16(out + 28, abi.MAX_PAGES_PER_REQUEST, true);
  view.setUint32(out + 32, flagWord(negotiated.flags, 32), true);
  view.setUint32(out + 36, negotiated.flags.has(abi.PASSTHROUGH) ? MAX_STACK_DEPTH : 0, true);
  return reply;
}
