/** What the supervisor's script and the servers that it starts tell each other. */

/** Descriptors of the script and of the servers that it starts: the ends of the socket with the parked files. */
export const PARKED_ENDS: readonly [number, number] = [4, 5];
/** In the environment of a server that takes over: how many died in a row before it. */
export const DEATHS = 'CFS_DEATHS';
/** The exit status of the last one, as a shell has it: 128 and the signal's number. Empty where it is not known. */
export const LAST_STATUS = 'CFS_STATUS';
/** The process id of the script. */
export const SUPERVISOR = 'CFS_SUPERVISOR';
