/** Servers on loopback that an experiment starts, and a proxy with a round-trip time before each. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CfsError } from '../src/base/error.ts';
import type { Bench } from './contract.ts';
import { findProgram } from './process.ts';

const PROXY = fileURLToPath(new URL('rtt-proxy.js', import.meta.url));
/** Where scripts/setup puts programs that it fetches, and does not install. */
const FETCHED = fileURLToPath(new URL('../../node_modules/.cache', import.meta.url));

/** How often and how long a server that starts is tried: 20 s in all. */
const START_TRIES = 400;
const START_WAIT_MS = 50;
const STDERR_LIMIT = 4096;

/** The path of a server that is installed, or that was fetched to node_modules/.cache; undefined if there is none. */
export function findServer(name: string, fetched: string): string | undefined {
  const path = `${FETCHED}/${fetched}`;
  return (
    findProgram(name) ??
    (existsSync(`/usr/sbin/${name}`) ? `/usr/sbin/${name}` : undefined) ??
    (existsSync(path) ? path : undefined)
  );
}

/** A process that runs until `end`. */
export class Server {
  readonly name: string;
  readonly port: number;
  readonly #process: ChildProcess;

  private constructor(name: string, port: number, process: ChildProcess) {
    this.name = name;
    this.port = port;
    this.#process = process;
  }

  /**
   * Starts a program that listens on the port that `command` gets. It is ended at the end of the run, if not before.
   * @throws CfsError (system) if it ends, or does not listen in time
   */
  static async start(
    name: string,
    command: (port: number) => readonly [string, ...string[]],
    bench: Bench,
  ): Promise<Server> {
    const port = await freePort();
    const { child, errors } = begin(command(port), bench);
    const server = new Server(name, port, child);
    for (let attempt = 0; attempt < START_TRIES; attempt++) {
      bench.signal.throwIfAborted();
      if (!server.#runs) throw new CfsError('system', `${name} does not start: ${errors().trim()}`);
      if (await listens(port)) return server;
      await sleep(START_WAIT_MS);
    }
    server.kill();
    throw new CfsError('system', `${name} does not listen on port ${port}`);
  }

  /** A proxy before the server, with a round-trip time of `ms` milliseconds. */
  async far(ms: number, bench: Bench): Promise<Server> {
    const { child, errors } = begin([process.execPath, PROXY, String(this.port), String(ms)], bench);
    const port = await new Promise<number>((resolve, reject) => {
      child.stdout?.once('data', (text: Buffer) => resolve(Number(text.toString())));
      child.once('exit', () => reject(new CfsError('system', `the proxy does not start: ${errors().trim()}`)));
    });
    return new Server(`proxy of ${this.name}`, port, child);
  }

  get #runs(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Stops answering, and keeps its connections. */
  freeze(): void {
    this.#process.kill('SIGSTOP');
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  /** Ends it, and waits for that. May be called twice. */
  async end(): Promise<void> {
    if (!this.#runs) return;
    const exit = once(this.#process, 'exit');
    this.kill();
    await exit;
  }
}

/** In a session of its own, as `run` does; ended at the end of the run. */
function begin(
  [program, ...args]: readonly [string, ...string[]],
  bench: Bench,
): { readonly child: ChildProcess; readonly errors: () => string } {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let errors = '';
  child.stderr?.on('data', (piece: Buffer) => {
    if (errors.length < STDERR_LIMIT) errors += piece.toString();
  });
  child.once('error', (error) => {
    errors += error.message;
  });
  bench.scratch.defer(async () => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  });
  return { child, errors: () => errors };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** A port on which no process listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
  return address.port;
}
