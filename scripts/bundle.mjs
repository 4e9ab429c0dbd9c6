// Makes one file each of the programs that people wait for: a daemon and its threads would read forty small ones,
// and so would those of packing and of fsck.
// Packages with native modules stay outside. Run after tsc, on what it wrote.
import { rolldown } from 'rolldown';

const dist = new URL('../dist/', import.meta.url).pathname;

const programs = [
  'src/mount/daemon-main.js',
  'src/mount/mount-worker.js',
  'src/mount/ahead-worker.js',
  'src/build/content-worker.js',
  'src/store/check-worker.js',
];
for (const program of programs) {
  const bundle = await rolldown({ input: `${dist}${program}`, platform: 'node', external: /^(?!\.|\/|cbor-x)/ });
  await bundle.write({ file: `${dist}${program}`, format: 'esm', sourcemap: true, codeSplitting: false });
}
