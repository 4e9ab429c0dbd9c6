/** A web server that gives some files well, and others as a hostile or broken one would. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';

/** The content of every file that is given well. */
export const CONTENT: Buffer = Buffer.alloc(300_000, 'content ');

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const drip = (response: ServerResponse, write: () => void): void => {
  const timer = setInterval(write, 20);
  response.on('close', () => clearInterval(timer));
};

/** Gives a file, or the part of it that is asked for. */
export function giveFile({ headers }: IncomingMessage, response: ServerResponse, file: Buffer): void {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
  if (from === undefined) return void response.writeHead(200, { 'content-length': file.length }).end(file);
  const last = Math.min(Number(to), file.length - 1);
  if (Number(from) >= file.length) return void response.writeHead(416).end();
  response.writeHead(206, { 'content-range': `bytes ${from}-${last}/${file.length}` });
  response.end(file.subarray(Number(from), last + 1));
}

/** By the name of the file. */
export const ANSWERS: Readonly<Record<string, Answer>> = {
  good: (request, response) => giveFile(request, response, CONTENT),
  'no-ranges': (_, response) => void response.writeHead(200).end(CONTENT),
  endless: (_, response) => {
    response.writeHead(200);
    const more = (): void => {
      while (response.write(Buffer.alloc(65_536))) {}
    };
    response.on('drain', more);
    more();
  },
  'endless-part': (_, response) => {
    response.writeHead(206, { 'content-range': 'bytes 1000-1099/300000' });
    const more = (): void => {
      while (response.write(Buffer.alloc(65_536))) {}
    };
    response.on('drain', more);
    more();
  },
  'says-a-petabyte': (_, response) => void response.writeHead(200, { 'content-length': 1e15 }).write(CONTENT),
  'slow-body': (_, response) => {
    response.writeHead(206, { 'content-range': 'bytes 1000-1099/300000', 'content-length': 100 });
    drip(response, () => response.write('x'));
  },
  'slow-headers': ({ socket }, response) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    drip(response, () => socket.write('X-a: b\r\n'));
  },
  silent: () => {},
  'cut-off': ({ socket }, response) => {
    response.writeHead(206, { 'content-range': 'bytes 1000-1099/300000', 'content-length': 100 });
    response.write('only this', () => socket.destroy());
  },
  'another-part': (_, response) => {
    response.writeHead(206, { 'content-range': 'bytes 5-104/300000' }).end(CONTENT.subarray(0, 100));
  },
  'no-part': (_, response) => void response.writeHead(206).end(CONTENT.subarray(0, 100)),
  gzip: (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(CONTENT)),
  'redirect-elsewhere': (_, response) => void response.writeHead(302, { location: 'ftp://example.org/x' }).end(),
  'redirect-nowhere': (_, response) => void response.writeHead(302).end(),
  'redirect-loop': (_, response) => void response.writeHead(302, { location: '/redirect-loop' }).end(),
  'redirect-good': (_, response) => void response.writeHead(307, { location: '/good' }).end(),
  'long-headers': (_, response) => void response.writeHead(200, { x: 'a'.repeat(1_000_000) }).end(),
  'no-http': ({ socket }) => void socket.end('SSH-2.0-OpenSSH_9.2\r\n'),
  forbidden: (_, response) => void response.writeHead(403).end('no'),
  busy: (_, response) => void response.writeHead(503, { 'retry-after': '2' }).end(),
  broken: (_, response) => void response.writeHead(500).end('x'.repeat(100_000)),
};

export const HOSTILE: readonly string[] = Object.keys(ANSWERS).filter((name) => name !== 'good');

export class HostileServer {
  readonly #server: Server;
  /** Names of files, in the order in which they were asked for. */
  readonly asked: string[] = [];
  /** Answers a request in place of the others, if it returns true. */
  answer: (name: string, request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  /** Files of other contents. */
  readonly files = new Map<string, Buffer>();
  /** Where other names lead to. */
  readonly redirects = new Map<string, string>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on loopback. */
  static async start(): Promise<HostileServer> {
    const server = createServer();
    const hostile = new HostileServer(server);
    server.on('request', (request, response) => hostile.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return hostile;
  }

  url(name = ''): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/${name}`);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const name = (request.url as string).slice(1);
    this.asked.push(name);
    if (this.answer(name, request, response)) return;
    const location = this.redirects.get(name);
    if (location !== undefined) return void response.writeHead(302, { location }).end();
    const file = this.files.get(name);
    if (file !== undefined) giveFile(request, response, file);
    else (ANSWERS[name] ?? ((_, answer) => void answer.writeHead(404).end('no such file')))(request, response);
  }
}
