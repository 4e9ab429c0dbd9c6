/** The examples of the library, as a program of somebody else would have them: type-checked and run. */
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { DECLARATIONS, exportsOf } from '../support/library-examples.ts';
import { useScratch } from './harness.ts';
import { run, succeed } from './run.ts';
import { mountedAt } from './system.ts';

const ROOT = join(import.meta.dirname, '../..');
const scratch = useScratch();
const program = scratch.at('program');
const srv = scratch.at('srv');
const mnt = scratch.at('mnt');

const examples = exportsOf('src/index.ts').map((name, i) => ({
  name,
  // some names differ in case alone
  file: `${i}-${name}`,
  text: DECLARATIONS.get(name)?.example ?? '',
}));

const inScratch = (text: string): string => text.replaceAll("'/srv/", `'${srv}/`).replace(/'\/mnt(?=['/])/g, `'${mnt}`);

beforeAll(async () => {
  mkdirSync(join(program, 'node_modules'), { recursive: true });
  mkdirSync(mnt);
  symlinkSync(ROOT, join(program, 'node_modules/cfs'));
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
  for (const { file, text } of examples) writeFileSync(join(program, `${file}.ts`), inScratch(text));
  mkdirSync(join(srv, 'rootfs/etc'), { recursive: true });
  writeFileSync(join(srv, 'rootfs/etc/hostname'), 'content '.repeat(1000));
  const pack = (image: string): Promise<unknown> =>
    scratch.tool('cfs-mkimage', ['--quiet', '--store', join(srv, 'store'), join(srv, 'rootfs'), join(srv, image)]);
  await pack('rootfs.cfs');
  writeFileSync(join(srv, 'rootfs/etc/new'), 'new '.repeat(1000));
  await pack('newer.cfs');
  await succeed([process.execPath, join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', program]);
});

test('are all there', () => {
  expect(examples.filter(({ text }) => text === '')).toEqual([]);
  expect(readdirSync(join(program, 'out')).sort()).toEqual(examples.map(({ file }) => `${file}.js`).sort());
});

test.each(examples)('$name', async ({ file }) => {
  const { status, stderr } = await run([process.execPath, join(program, 'out', `${file}.js`)]);
  expect(status, stderr).toBe(0);
  expect(mountedAt(mnt)).toBeUndefined();
});
