// Runs readers of reader-load.mjs as threads of one process. Prints their results as a JSON list.
// Usage: node reader-crowd.mjs READERS SEED MOUNT SOURCE STOP
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

const KINDS = ['open', 'hold', 'list', 'map', 'handle'];
const [readers, seed, mount, source, stop] = process.argv.slice(2);

const results = await Promise.all(
  Array.from({ length: Number(readers) }, async (_, i) => {
    const worker = new Worker(new URL('./reader-load.mjs', import.meta.url), {
      argv: [KINDS[i % KINDS.length], mount, source, stop, String(Number(seed) + i)],
      stdout: true,
      trackUnmanagedFds: false,
    });
    worker.stdout.setEncoding('utf8');
    let text = '';
    worker.stdout.on('data', (piece) => {
      text += piece;
    });
    await once(worker, 'exit');
    return JSON.parse(text);
  }),
);
process.stdout.write(JSON.stringify(results));
