/** The web server nginx, which scripts/nginx fetches: static files, parts of them, and PUT. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { until } from '../support/until.ts';
import { freePort } from './free-port.ts';
import type { Scratch } from './harness.ts';

const FETCHED = resolve(import.meta.dirname, '../../node_modules/.cache/cfs-nginx/nginx/usr/sbin/nginx');
const PROGRAM = existsSync('/usr/sbin/nginx') ? '/usr/sbin/nginx' : FETCHED;

const configuration = (state: string, root: string, port: number): string => `
daemon off;
master_process off;
user root;
pid ${state}/pid;
error_log ${state}/errors warn;
events { worker_connections 256; }
http {
  access_log ${state}/requests;
  client_body_temp_path ${state}/body;
  proxy_temp_path ${state}/proxy;
  fastcgi_temp_path ${state}/fastcgi;
  uwsgi_temp_path ${state}/uwsgi;
  scgi_temp_path ${state}/scgi;
  client_max_body_size 0;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${port};
    root ${root};
    dav_methods PUT;
    create_full_put_path on;
  }
}
`;

export class Nginx {
  /** Ends without a slash. */
  readonly url: string;
  readonly #state: string;
  readonly #process: ChildProcess;

  private constructor(url: string, state: string, process: ChildProcess) {
    this.url = url;
    this.#state = state;
    this.#process = process;
  }

  /** Serves a directory on loopback. Call `stop` at the end. */
  static async start(scratch: Scratch, root: string): Promise<Nginx> {
    if (!existsSync(PROGRAM)) throw new Error("there is no nginx: 'scripts/setup test' fetches it");
    const state = scratch.directory('nginx');
    const port = await freePort();
    writeFileSync(join(state, 'nginx.conf'), configuration(state, root, port));
    const child = spawn(PROGRAM, ['-c', join(state, 'nginx.conf'), '-e', join(state, 'errors')], { stdio: 'ignore' });
    const nginx = new Nginx(`http://127.0.0.1:${port}`, state, child);
    await until('nginx answers', async () => {
      if (child.exitCode !== null) throw new Error(`nginx: ${readFileSync(join(state, 'errors'), 'utf8')}`);
      return await fetch(nginx.url).then(
        () => true,
        () => false,
      );
    });
    nginx.requests();
    return nginx;
  }

  /** "GET /x 200" for each request since the last call. */
  requests(): string[] {
    const file = join(this.#state, 'requests');
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
    writeFileSync(file, '');
    return lines.map((line) => (/"(\w+ \S+) HTTP[^"]*" (\d+)/.exec(line) ?? []).slice(1).join(' '));
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGKILL');
    await once(this.#process, 'close');
  }
}
