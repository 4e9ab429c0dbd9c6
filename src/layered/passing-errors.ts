/** Errors that say nothing of the file that was asked for. */
import { EAGAIN, EDQUOT, EINTR, EMFILE, ENFILE, ENOMEM, ENOSPC, type Errno } from '../base/errno.ts';

const PASSING: ReadonlySet<Errno> = new Set([EMFILE, ENFILE, ENOMEM, EINTR, EAGAIN, ENOSPC, EDQUOT]);

/**
 * Whether an error is one of this moment: the machine or this process lacks something, or the table of identities or
 * the disk has no room. A search that met one has not seen all.
 */
export const isPassing = (errno: Errno): boolean => PASSING.has(errno);
