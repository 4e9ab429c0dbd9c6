/** The uuid of an upper layer, an xattr of the upper directory: as ovl_init_uuid_xattr() of the kernel has it. */
import { randomFillSync } from 'node:crypto';
import { EINVAL, ENODATA, type Errno, isErrno } from '../base/errno.ts';
import { getXattrAt, setXattrAt } from '../system/xattr-calls.ts';
import { decodeUuid } from './overlay-format.ts';
import { OverlayXattrNames } from './overlay-names.ts';

const ITSELF: Uint8Array = Uint8Array.of();
/** Version 4, variant 1 (RFC 9562), as uuid_gen() of the kernel makes them. */
const VERSION = 0x40;
const VARIANT = 0x80;

function randomUuid(): Uint8Array {
  const uuid = randomFillSync(new Uint8Array(16));
  uuid[6] = ((uuid[6] as number) & 0x0f) | VERSION;
  uuid[8] = ((uuid[8] as number) & 0x3f) | VARIANT;
  return uuid;
}

/**
 * Gives an upper directory a uuid, unless it has one.
 * @param upper an open directory
 * @returns EINVAL if the xattr has a value that Linux does not take; nothing is changed then
 */
export function keepUuid(upper: number, userxattr: boolean): 0 | Errno {
  const { uuid } = new OverlayXattrNames(userxattr).names;
  const value = getXattrAt(upper, ITSELF, uuid);
  if (!isErrno(value)) return decodeUuid(value) === undefined ? EINVAL : 0;
  return value === ENODATA ? setXattrAt(upper, ITSELF, uuid, randomUuid(), 0) : value;
}
