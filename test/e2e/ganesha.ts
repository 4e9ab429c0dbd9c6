/** The NFS server nfs-ganesha, which exports one directory to this machine. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { NfsClient } from '../support/nfs-client.ts';
import { hasProgram } from './cli.ts';
import { freePort } from './free-port.ts';
import { until } from './system.ts';

/** The directory into which `scripts/nfs-ganesha` unpacks it. */
const UNPACKED = resolve(import.meta.dirname, '../../node_modules/.cache/cfs-nfs/ganesha');
const NAME = 'ganesha.nfsd';
/** A directory that the server creates and does not remove; no option names another place. */
const RUN_DIRECTORY = '/run/ganesha';

export interface ExportSettings {
  /** The directory to export. */
  readonly path: string;
  /** Its name in the server's pseudo file system. */
  readonly pseudo: string;
  /** An existing directory for the files of the server. */
  readonly state: string;
  /** Export_Id, which is part of a handle. */
  readonly id: number;
  /** The part of the file system's id that is in a handle; by default the server chooses. */
  readonly fsidType?: string;
}

interface Program {
  readonly path: string;
  readonly env: NodeJS.ProcessEnv;
  /** The directory of FSALs, if it is not the program's default. */
  readonly plugins?: string;
}

function findProgram(): Program {
  if (!existsSync(UNPACKED)) {
    if (!hasProgram(NAME)) throw new Error(`there is no ${NAME}: 'scripts/setup test' fetches it`);
    return { path: NAME, env: process.env };
  }
  // a package has its libraries in a directory of the architecture: usr/lib/x86_64-linux-gnu
  const library = join(UNPACKED, 'usr/lib');
  const [triplet = ''] = readdirSync(library).filter((name) => existsSync(join(library, name, 'ganesha')));
  const libraries = [join(library, 'ganesha'), join(library, triplet), join(UNPACKED, 'lib', triplet)];
  return {
    path: join(UNPACKED, 'usr/bin', NAME),
    env: { ...process.env, LD_LIBRARY_PATH: libraries.join(':') },
    plugins: join(library, triplet, 'ganesha'),
  };
}

function configuration(settings: ExportSettings, port: number, plugins: string | undefined): string {
  const directory = plugins === undefined ? '' : `Plugins_Dir = "${plugins}";`;
  const fsidType = settings.fsidType === undefined ? '' : `fsid_type = ${settings.fsidType};`;
  // the server needs neither rpcbind nor D-Bus nor libnfsidmap's modules (UseGetpwnam), and does not wait for clients
  // of
  // an earlier server (Graceless)
  return `
    NFS_CORE_PARAM {
      Protocols = 4; NFS_Port = ${port}; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false;
      Allow_Set_Io_Flusher_Fail = true; ${directory}
    }
    NFSv4 { Graceless = true; UseGetpwnam = true; RecoveryRoot = "${settings.state}"; Minor_Versions = 0; }
    NFS_KRB5 { Active_krb5 = false; }
    EXPORT {
      Export_Id = ${settings.id}; Path = "${settings.path}"; Pseudo = "${settings.pseudo}";
      Access_Type = RO; Squash = None; SecType = sys;
      FSAL { Name = VFS; ${fsidType} }
    }
  `;
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** A server that runs until `end`, which must always be called. */
export class Ganesha {
  readonly client: NfsClient;
  readonly #child: ChildProcess;
  readonly #keepsRunDirectory = existsSync(RUN_DIRECTORY);
  /** The reason why it could not be started. */
  #failure: Error | undefined;
  readonly #remove = (): void => {
    this.#child.kill('SIGKILL');
    if (!this.#keepsRunDirectory && existsSync(RUN_DIRECTORY)) rmdirSync(RUN_DIRECTORY);
  };

  private constructor(program: Program, port: number, state: string) {
    const files = ['-f', join(state, 'conf'), '-L', join(state, 'log'), '-p', join(state, 'pid')];
    this.#child = spawn(program.path, ['-F', ...files, '-N', 'NIV_EVENT'], { stdio: 'ignore', env: program.env });
    this.#child.on('error', (error) => {
      this.#failure = error;
    });
    this.client = new NfsClient(port);
    process.once('exit', this.#remove); // if the test process is interrupted
  }

  /** Starts a server and waits until it listens. */
  static async start(settings: ExportSettings): Promise<Ganesha> {
    const program = findProgram();
    const port = await freePort();
    const { state } = settings;
    writeFileSync(join(state, 'conf'), configuration(settings, port, program.plugins));
    const server = new Ganesha(program, port, state);
    try {
      await until(`${NAME} listens`, async () => {
        if (server.#hasEnded) throw server.#failure ?? new Error(`${NAME} ended`);
        return await listens(port);
      });
      return server;
    } catch (error) {
      await server.end();
      const log = join(state, 'log');
      throw new Error(`${error}\n${existsSync(log) ? readFileSync(log, 'utf8') : ''}`, { cause: error });
    }
  }

  /** Ends the server; kills it if it does not end by itself. */
  async end(): Promise<void> {
    this.#child.kill('SIGTERM');
    try {
      await until(`${NAME} ends`, () => this.#hasEnded);
    } finally {
      process.off('exit', this.#remove);
      this.#remove();
    }
  }

  get #hasEnded(): boolean {
    const { pid, exitCode, signalCode } = this.#child;
    return pid === undefined || exitCode !== null || signalCode !== null;
  }
}
