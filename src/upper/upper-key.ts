/** Which directory a table of identities is for. */
import { createDigest } from '../base/digest.ts';
import { type Errno, isErrno } from '../base/errno.ts';
import { nameToHandle } from '../system/file-handle.ts';
import { emptyFileStatus, statusOf } from '../system/file-status.ts';

/**
 * 32 bytes for the open directory `upper`: other ones for a copy of it, or for a directory that has its name later.
 * They stay if the disk is copied as a whole, because then all inode numbers stay, too.
 */
export function upperKey(upper: number): Uint8Array | Errno {
  const status = emptyFileStatus();
  const result = statusOf(upper, status);
  if (isErrno(result)) return result;
  const { inoLow, inoHigh, btimeLow, btimeHigh, btimeNsec } = status;
  const digest = createDigest('blake3');
  digest.update(new Uint8Array(Uint32Array.of(inoLow, inoHigh, btimeLow, btimeHigh, btimeNsec).buffer));
  const named = nameToHandle(`/proc/self/fd/${upper}/.`);
  if (!isErrno(named)) {
    digest.update(new Uint8Array(Int32Array.of(named.handle.type).buffer));
    digest.update(named.handle.bytes);
  }
  return digest.digest();
}
