import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { joinDelayed } from '../../../bench/delayed-pair.ts';
import { Random } from '../../support/random.ts';

const RTT = 40;
/** Timers of node may be half a millisecond early in each direction. */
const EARLY = 2;

const servers: Server[] = [];
const sockets: Socket[] = [];

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

async function listen(serve: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    serve(socket);
  });
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const connectTo = (port: number): Socket => {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  sockets.push(socket);
  return socket;
};

/** A proxy before `serve`. */
async function far(serve: (socket: Socket) => void): Promise<number> {
  const target = await listen(serve);
  return listen((client) => joinDelayed(client, connectTo(target), RTT));
}

/** Everything that comes until the other side ends; the socket can still send then. */
function everything(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  return new Promise((resolve, reject) => {
    socket.once('end', () => resolve(Buffer.concat(pieces)));
    socket.once('error', reject);
  });
}

describe('joinDelayed()', () => {
  test('delays the first answer by two round-trip times, and the next ones by one', async () => {
    const socket = connectTo(await far((server) => server.pipe(server)));
    await once(socket, 'connect');
    for (const times of [2, 1, 1]) {
      const begin = performance.now();
      socket.write('x');
      await once(socket, 'data');
      expect(performance.now() - begin).toBeGreaterThan(times * RTT - EARLY);
    }
  });

  test('passes on all bytes of both directions in their order, more than fit into its window', async () => {
    const sent = new Random(5).bytes(9_000_000);
    const socket = connectTo(await far((server) => server.pipe(server)));
    socket.end(sent);
    expect((await everything(socket)).equals(sent)).toBe(true);
  });

  test('passes on the end of one direction alone', async () => {
    const accepted: Promise<Buffer>[] = [];
    const port = await far((server) => {
      server.end('all that the server says');
      accepted.push(everything(server));
    });
    const socket = connectTo(port);
    expect(String(await everything(socket))).toBe('all that the server says');
    socket.end('and what it hears');
    expect(String(await accepted[0])).toBe('and what it hears');
  });

  test('resets the connection of a client if the server resets its own', async () => {
    const port = await far((server) => server.resetAndDestroy());
    const socket = connectTo(port);
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
  });
});
