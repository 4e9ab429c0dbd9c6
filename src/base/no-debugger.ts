/**
 * Imported for its effect, before all else: SIGUSR1 starts no debugger in this process. Node by itself listens on
 * 127.0.0.1:9229 then, where every user of the machine can have this process run his code, as root where it is root's.
 * A listener of our own takes the place of Node's; see debugger-flags.ts for the time before this module is there.
 */
process.on('SIGUSR1', () => undefined);
