/** nginx that shows a directory, and counts requests. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench } from './contract.ts';
import { findServer, Server } from './servers.ts';

const NAME = 'nginx';
const find = (): string | undefined => findServer(NAME, 'cfs-nginx/nginx/usr/sbin/nginx');

/** The log has a request when its answer was sent, which is after the client has all of it. */
const LOG_WAIT_MS = 50;

/** The reason why there is no web server; undefined if there is. */
export const webServerUnavailable = (): string | undefined =>
  find() === undefined ? "nginx is neither installed nor fetched ('scripts/setup bench' fetches it)" : undefined;

const configuration = (state: string, root: string, port: number): string => `
daemon off;
master_process off;
${process.geteuid?.() === 0 ? 'user root;' : ''}
worker_rlimit_nofile 4096;
pid ${state}/pid;
error_log ${state}/errors warn;
events { worker_connections 1024; }
http {
  log_format counted '$status $bytes_sent $request_uri';
  access_log ${state}/requests counted;
  client_body_temp_path ${state}/body;
  proxy_temp_path ${state}/proxy;
  fastcgi_temp_path ${state}/fastcgi;
  uwsgi_temp_path ${state}/uwsgi;
  scgi_temp_path ${state}/scgi;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 100000000;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${port} backlog=1024;
    root ${root};
  }
}
`;

export interface Traffic {
  readonly requests: number;
  /** With the headers of the answers. */
  readonly bytes: number;
}

/** The answers in a log of nginx, as configured above. */
export function trafficIn(log: string): Traffic {
  const lines = log.split('\n').slice(0, -1);
  return { requests: lines.length, bytes: lines.reduce((sum, line) => sum + Number(line.split(' ', 2)[1]), 0) };
}

export class WebServer {
  readonly server: Server;
  /** The way to it with the round-trip time. */
  readonly proxy: Server;
  readonly #log: string;

  private constructor(server: Server, proxy: Server, log: string) {
    this.server = server;
    this.proxy = proxy;
    this.#log = log;
  }

  /** @param name of its directory in the scratch directory @param ms the round-trip time */
  static async start(name: string, root: string, ms: number, bench: Bench): Promise<WebServer> {
    const state = bench.scratch.directory(name);
    const command = (port: number): [string, ...string[]] => {
      writeFileSync(`${state}/nginx.conf`, configuration(state, root, port));
      return [find() ?? NAME, '-c', `${state}/nginx.conf`, '-e', `${state}/errors`];
    };
    const server = await Server.start(NAME, command, bench);
    return new WebServer(server, await server.far(ms, bench), `${state}/requests`);
  }

  /** Of a directory in the root. */
  url(directory: string): string {
    return `http://127.0.0.1:${this.proxy.port}/${directory}`;
  }

  /** What was answered since the last call. */
  async traffic(): Promise<Traffic> {
    await sleep(LOG_WAIT_MS);
    const traffic = trafficIn(readFileSync(this.#log, 'latin1'));
    truncateSync(this.#log, 0); // nginx appends
    return traffic;
  }

  async end(): Promise<void> {
    await this.proxy.end();
    await this.server.end();
  }
}
