// Bundles the programs that people wait for, from the output of tsc: node takes longer to find and read sixty small
// modules than to run them. Packages with native modules stay outside. usage: node scripts/bundle.mjs DIR
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { rolldown } from 'rolldown';

const dist = `${resolve(process.argv[2])}/`;
const shared = {
  cwd: dist,
  platform: /** @type {const} */ ('node'),
  external: /^(?!\.|\/|cbor-x|commander|undici)/,
  // the variant for node would load a native module for strings, of which an image has five
  resolve: { alias: { 'cbor-x$': new URL('../node_modules/cbor-x/index.js', import.meta.url).pathname } },
};

// processes and threads: one file each, at a place that does not move with its module
const { PROGRAMS, FORMER_SERVER } = await import(`${dist}src/base/installation.js`);
for (const [name, module] of Object.entries(PROGRAMS)) {
  const bundle = await rolldown({ ...shared, input: `${dist}${module}.js` });
  const format = name.endsWith('.cjs') ? 'cjs' : 'esm';
  await bundle.write({ file: `${dist}libexec/${name}`, format, sourcemap: format === 'esm', codeSplitting: false });
  for (const end of ['js', 'js.map']) rmSync(`${dist}${module}.${end}`);
}
writeFileSync(`${dist}${FORMER_SERVER}`, "import '../../libexec/cfs-serve.js';\n");

// command-line tools: one file each, and separate files for code that only some of its commands need. They share none:
// finding and reading a file takes as long as compiling 50 KB of code that is read and not called
const tools = ['cfs-mkimage', 'cfs-mount', 'cfs-info', 'cfs-repo', 'cfs-checkpoint', 'mount.cfs', 'compare-trees'];
const moduleOf = (tool) => (tool === 'compare-trees' ? 'compare/compare-trees' : tool);
for (const tool of tools) {
  const bundle = await rolldown({ ...shared, input: { [`tools/${tool}-main`]: `${dist}tools/${moduleOf(tool)}.js` } });
  await bundle.write({ dir: dist, format: 'esm', sourcemap: true, chunkFileNames: 'chunks/[name]-[hash].js' });
}

// the file that people start can be read by any node: it reports the required version, or loads the program
const [, major, minor] = /^>=(\d+)\.(\d+)$/.exec(
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).engines.node,
);
const programs = { ...Object.fromEntries(tools.map((tool) => [tool, `./${tool}-main.js`])), 'cfs-bench': '../bench/cfs-bench.js' };
for (const [tool, program] of Object.entries(programs)) {
  // the file of tsc there would keep its mode
  for (const name of [`${tool}.js`, `${tool}.js.map`]) rmSync(`${dist}tools/${name}`, { force: true });
  writeFileSync(`${dist}tools/${tool}.js`, entry(tool, program), { mode: 0o755 });
}

/** In words that old versions of node can read, too. Status 2: EXIT.system of tools/cli.ts. */
function entry(tool, program) {
  return `#!/usr/bin/env node
var version = process.versions.node.split('.');
if (+version[0] > ${major} || (+version[0] === ${major} && +version[1] >= ${minor})) {
  import('${program}');
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
