/** The examples of the library and its page are type-checked and run, as in a user's program. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DECLARATIONS, exportsOf } from '../support/library-examples.ts';
import { useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';
import { run, succeed } from './run.ts';
import { mountedAt } from './system.ts';

const ROOT = join(import.meta.dirname, '../..');
const scratch = useScratch();
const program = scratch.at('program');
const srv = scratch.at('srv');
const mnt = scratch.at('mnt');

const page = readFileSync(join(ROOT, 'docs/library.md'), 'utf8');

const examples = [
  ...exportsOf('src/index.ts').map((name) => ({ name, text: DECLARATIONS.get(name)?.example ?? '' })),
  ...[...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, text = ''], i) => ({ name: `docs-${i}`, text })),
  // some names differ in case alone
].map((example, i) => ({ ...example, file: `${i}-${example.name}` }));

/** Shows a remote repository with the image `rootfs`. */
let nginx: Nginx;

const inScratch = (text: string): string =>
  text
    .replaceAll("'/srv/", `'${srv}/`)
    .replace(/'\/mnt(?=['/])/g, `'${mnt}`)
    .replaceAll('https://example.org/images', nginx.url);

beforeAll(async () => {
  mkdirSync(join(program, 'node_modules/@cfs-images'), { recursive: true });
  mkdirSync(mnt);
  symlinkSync(ROOT, join(program, 'node_modules/@cfs-images/cfs'));
  symlinkSync(join(ROOT, 'node_modules/@types'), join(program, 'node_modules/@types'));
  writeFileSync(join(program, 'package.json'), '{"name":"program","type":"module"}');
  const compilerOptions = {
    module: 'node20',
    target: 'es2022',
    strict: true,
    types: ['node'],
    rootDir: '.',
    outDir: 'out',
    noEmitOnError: true,
  };
  writeFileSync(join(program, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  mkdirSync(join(srv, 'rootfs/etc'), { recursive: true });
  mkdirSync(join(srv, 'rootfs/usr/bin'), { recursive: true });
  for (const name of ['etc/hostname', 'usr/bin/env']) {
    writeFileSync(join(srv, 'rootfs', name), 'content '.repeat(1000));
  }
  const pack = (image: string): Promise<unknown> =>
    scratch.tool('cfs-mkimage', ['--quiet', '--store', join(srv, 'store'), join(srv, 'rootfs'), join(srv, image)]);
  await pack('rootfs.cfs');
  writeFileSync(join(srv, 'rootfs/etc/new'), 'new '.repeat(1000));
  await pack('newer.cfs');
  copyFileSync(join(srv, 'rootfs.cfs'), join(srv, 'old.cfs'));
  copyFileSync(join(srv, 'newer.cfs'), join(srv, 'new.cfs'));
  await scratch.tool('cfs-repo', ['init', join(srv, 'copy')]);
  const web = scratch.directory('web');
  await scratch.tool('cfs-repo', ['push', join(srv, 'store'), join(srv, 'rootfs.cfs'), web]);
  nginx = await Nginx.start(scratch, web);
  for (const { file, text } of examples) writeFileSync(join(program, `${file}.ts`), inScratch(text));
  await succeed([process.execPath, join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', program]);
});

afterAll(async () => {
  await nginx?.stop();
});

test('every example exists, and is compiled', () => {
  expect(examples.filter(({ text }) => text === '')).toEqual([]);
  expect(examples.filter(({ name }) => name.startsWith('docs-')).length).toBeGreaterThan(5);
  expect(readdirSync(join(program, 'out')).sort()).toEqual(examples.map(({ file }) => `${file}.js`).sort());
});

test.each(examples)('$name', async ({ file }) => {
  const { status, stderr } = await run([process.execPath, join(program, 'out', `${file}.js`)]);
  expect(status, stderr).toBe(0);
  expect(mountedAt(mnt)).toBeUndefined();
});
