/**
 * Imported for its effect, before everything else: SIGUSR1 starts no debugger in this process. Node would listen on
 * 127.0.0.1:9229, and every user of the machine could run code in this process, as root if root runs it. A listener of
 * our own replaces Node's; see debugger-flags.ts for the time before this module is loaded.
 */
process.on('SIGUSR1', () => undefined);
