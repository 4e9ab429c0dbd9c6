/** Communication between the supervisor's script and the servers that it starts. */

/** Descriptors of the script and of the servers that it starts: the ends of the socket with the parked files. */
export const PARKED_ENDS: readonly [number, number] = [4, 5];
/** Environment variable of a server that takes over: how many died in a row before it. */
export const DEATHS = 'CFS_DEATHS';
/** The exit status of the last one, as in a shell: 128 plus the signal's number. Empty if unknown. */
export const LAST_STATUS = 'CFS_STATUS';
/** The process id of the script. */
export const SUPERVISOR = 'CFS_SUPERVISOR';
/**
 * Makes the server's program only try whether it could serve an image, with this id: see `--upgrade`. Its open file is
 * descriptor REHEARSAL_FD.
 */
export const REHEARSAL = 'CFS_REHEARSAL';
export const REHEARSAL_FD = 4;
/**
 * The signal by which a server notifies the script that the mount answers; a script of an older version does not know
 * it.
 */
export const ANSWERED = 'CFS_ANSWERED';
/** For the script: the file of the mount's log. */
export const LOG_FILE = 'CFS_LOG';
