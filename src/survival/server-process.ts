/** Starts the processes that serve a mount, without any effect of the user's environment on node. */
import { withoutDebugger } from '../base/debugger-flags.ts';
import { ANSWERED, DEATHS, LAST_STATUS, LOG_FILE, REHEARSAL, SUPERVISOR } from './handover.ts';

/**
 * V8 without the memory that a server of cached answers never needs; gc() to release the memory for reading the image;
 * one thread for compiling: the four of node's default take the processors from the program that lists a mount just
 * after mounting, which is when V8 compiles.
 */
const V8_FLAGS: readonly string[] = ['--max-semi-space-size=1', '--expose-gc', '--v8-pool-size=1'];

/** Node's arguments for a server, before its program. */
export const serverFlags = (): readonly string[] => [...V8_FLAGS, ...withoutDebugger()];

/** The supervisor's variables for its servers must not come from a user. */
const OWN: ReadonlySet<string> = new Set([ANSWERED, DEATHS, LAST_STATUS, LOG_FILE, REHEARSAL, SUPERVISOR]);

/**
 * The variables that node, OpenSSL and libuv read: NODE_OPTIONS may load modules and open a debugger, OPENSSL_CONF
 * loads libraries, NODE_V8_COVERAGE and NODE_REDIRECT_WARNINGS write files, for the life of the mount.
 */
const FOREIGN = /^(?:NODE_|OPENSSL_|SSL_CERT_|SSLKEYLOGFILE$|UV_)/;

/** The environment of a server that is started from this process, and of those that follow it. */
export function serverEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !OWN.has(name) && !FOREIGN.test(name)));
}
