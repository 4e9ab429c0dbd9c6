/** Processes that are started without a debugger. */

/** An address of no machine (RFC 5737): listening there fails. */
const NOWHERE = '192.0.2.1:9229';

/** Flags for a node that is started: its debugger cannot listen in the moment before it reads its program either. */
export function withoutDebugger(flags: ReadonlySet<string> = process.allowedNodeEnvironmentFlags): readonly string[] {
  return flags.has('--disable-sigusr1') ? ['--disable-sigusr1'] : [`--inspect-port=${NOWHERE}`];
}
