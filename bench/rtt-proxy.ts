/**
 * A TCP proxy on loopback with a round-trip time, as a process of its own:
 *
 *     node rtt-proxy.js TARGET_PORT MILLISECONDS
 *
 * Prints the number of its port when it listens. A connection to a target that does not listen is closed.
 */
import { connect, createServer } from 'node:net';
import { joinDelayed } from './delayed-pair.ts';

const [, , target = '', milliseconds = ''] = process.argv;
const server = createServer({ allowHalfOpen: true }, (client) => {
  const upstream = connect({ host: '127.0.0.1', port: Number(target), allowHalfOpen: true });
  joinDelayed(client, upstream, Number(milliseconds));
});
server.listen(0, '127.0.0.1', 1024, () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
  process.stdout.write(`${address.port}\n`);
});
