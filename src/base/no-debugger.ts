/**
 * Imported for its effect, before all else: SIGUSR1 starts no debugger in this process. Node by itself listens on
 * 127.0.0.1:9229 then, where every user of the machine can have this process run his code, as root where it is root's.
 * A listener of our own takes the place of Node's; see `withoutDebugger` for the time before this module is there.
 */
process.on('SIGUSR1', () => undefined);

/** An address of no machine (RFC 5737): what is to listen there fails. */
const NOWHERE = '192.0.2.1:9229';

/** Flags for a node that is started: its debugger cannot listen in the moment before it reads its program either. */
export function withoutDebugger(flags: ReadonlySet<string> = process.allowedNodeEnvironmentFlags): readonly string[] {
  return flags.has('--disable-sigusr1') ? ['--disable-sigusr1'] : [`--inspect-port=${NOWHERE}`];
}
