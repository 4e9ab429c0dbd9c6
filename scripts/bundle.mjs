// Puts the programs that people wait for together, from what tsc wrote: node takes longer to find and read sixty small
// modules than to run them. Packages with native modules stay outside.
import { rolldown } from 'rolldown';

const dist = new URL('../dist/', import.meta.url).pathname;
const shared = { platform: 'node', external: /^(?!\.|\/|cbor-x|commander)/ };

// processes and threads: one file each
for (const program of [
  'src/mount/daemon-main',
  'src/mount/mount-worker',
  'src/mount/ahead-worker',
  'src/build/content-worker',
  'src/store/check-worker',
  'tools/info/ask-mounts',
  'tools/info/tables-worker',
]) {
  const bundle = await rolldown({ ...shared, input: `${dist}${program}.js` });
  await bundle.write({ file: `${dist}${program}.js`, format: 'esm', sourcemap: true, codeSplitting: false });
}

// command-line tools: what they share, and what only some commands need, in files of its own
const tools = ['cfs-mkimage', 'cfs-mount', 'cfs-info', 'cfs-repo', 'cfs-checkpoint', 'mount.cfs', 'compare-trees'];
const input = Object.fromEntries(tools.map((tool) => [`tools/${tool}`, `${dist}tools/${tool}.js`]));
const bundle = await rolldown({ ...shared, input });
await bundle.write({ dir: dist, format: 'esm', sourcemap: true, chunkFileNames: 'chunks/[name]-[hash].js' });
