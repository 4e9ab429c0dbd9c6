/** How the processes that serve a mount are started: with none of what somebody's environment would have node do there. */
import { withoutDebugger } from '../base/debugger-flags.ts';
import { ANSWERED, DEATHS, LAST_STATUS, LOG_FILE, REHEARSAL, SUPERVISOR } from './handover.ts';

/** V8 without the memory that a server of cached answers never needs; gc() to give back what reading the image took. */
const MEMORY_FLAGS: readonly string[] = ['--max-semi-space-size=1', '--expose-gc'];

/** Node's arguments for a server, before its program. */
export const serverFlags = (): readonly string[] => [...MEMORY_FLAGS, ...withoutDebugger()];

/** The supervisor's words to the servers that it starts are not for whoever types them. */
const OWN: ReadonlySet<string> = new Set([ANSWERED, DEATHS, LAST_STATUS, LOG_FILE, REHEARSAL, SUPERVISOR]);

/**
 * What node, OpenSSL and libuv read: NODE_OPTIONS may load modules and open a debugger, OPENSSL_CONF loads libraries,
 * NODE_V8_COVERAGE and NODE_REDIRECT_WARNINGS write files, for as long as the mount is there.
 */
const FOREIGN = /^(?:NODE_|OPENSSL_|SSL_CERT_|SSLKEYLOGFILE$|UV_)/;

/** The environment of a server that is started from this process, and of those that follow it. */
export function serverEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !OWN.has(name) && !FOREIGN.test(name)));
}
