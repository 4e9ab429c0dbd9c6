// Puts the programs that people wait for together, from what tsc wrote: node takes longer to find and read sixty small
// modules than to run them. Packages with native modules stay outside.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { rolldown } from 'rolldown';

const dist = new URL('../dist/', import.meta.url).pathname;
const shared = { platform: 'node', external: /^(?!\.|\/|cbor-x|commander)/ };

// processes and threads: one file each
for (const program of [
  'src/mount/daemon-main',
  'src/build/content-worker',
  'src/store/check-worker',
  'tools/info/ask-mounts',
  'tools/checkpoint/holder-main',
  'tools/info/tables-worker',
]) {
  const bundle = await rolldown({ ...shared, input: `${dist}${program}.js` });
  await bundle.write({ file: `${dist}${program}.js`, format: 'esm', sourcemap: true, codeSplitting: false });
}

// threads of a mount, which is given them as text: scripts, for a text has no address that modules could be found by
for (const program of ['src/mount/mount-worker', 'src/mount/ahead-worker']) {
  const bundle = await rolldown({ ...shared, input: `${dist}${program}.js` });
  await bundle.write({ file: `${dist}${program}.cjs`, format: 'cjs', codeSplitting: false });
}

// command-line tools: what they share, and what only some commands need, in files of its own
const tools = ['cfs-mkimage', 'cfs-mount', 'cfs-info', 'cfs-repo', 'cfs-checkpoint', 'mount.cfs', 'compare-trees'];
const input = Object.fromEntries(tools.map((tool) => [`tools/${tool}-main`, `${dist}tools/${tool}.js`]));
const bundle = await rolldown({ ...shared, input });
await bundle.write({ dir: dist, format: 'esm', sourcemap: true, chunkFileNames: 'chunks/[name]-[hash].js' });

// what people start is a file that any node can read: it says which node is needed, or goes on to the program
const [, major, minor] = /^>=(\d+)\.(\d+)$/.exec(
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).engines.node,
);
renameSync(`${dist}tools/cfs-bench.js`, `${dist}tools/cfs-bench-main.js`); // not bundled: it is in no hurry
for (const tool of [...tools, 'cfs-bench']) {
  // what tsc wrote there would keep its mode
  for (const name of [`${tool}.js`, `${tool}.js.map`]) rmSync(`${dist}tools/${name}`, { force: true });
  writeFileSync(`${dist}tools/${tool}.js`, entry(tool), { mode: 0o755 });
}

/** In words that old versions of node can read, too. Status 2: EXIT.system of tools/cli.ts. */
function entry(tool) {
  return `#!/usr/bin/env node
var version = process.versions.node.split('.');
if (+version[0] > ${major} || (+version[0] === ${major} && +version[1] >= ${minor})) {
  import('./${tool}-main.js');
} else {
  var message =
    'cfs needs Node ${major}.${minor} or later; this is ' + process.versions.node + ' (' + process.execPath + ')';
  process.stderr.write('${tool}: ' + message + '\\n');
  if (process.argv.indexOf('--json') > 0) {
    process.stdout.write(JSON.stringify({ error: { kind: 'system', message: message, status: 2 } }) + '\\n');
  }
  process.exitCode = 2;
}
`;
}
