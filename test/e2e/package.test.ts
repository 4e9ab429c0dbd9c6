/**
 * The package of `npm pack`: its files, and that it works when npm has installed it. Packages that cfs needs are those
 * of this checkout: no registry is used. fs-ext is left out, as npm does where it cannot be compiled.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { type Outcome, run, succeed } from './run.ts';
import { mountedAt } from './system.ts';

const ROOT = join(import.meta.dirname, '../..');
const scratch = useScratch();
const prefix = scratch.at('prefix');
const unpacked = scratch.at('unpacked/package');
const srv = scratch.at('srv');

interface PackedFile {
  readonly path: string;
  readonly mode: number;
}

let files: readonly PackedFile[];

interface Manifest {
  readonly version: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly man: readonly string[];
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

/** The packages that npm must install for it to work. */
const dependencies = (): readonly string[] => Object.keys(manifest.dependencies);

const installed = (tool: string, ...args: readonly string[]): Promise<Outcome> =>
  run([join(prefix, 'bin', tool), ...args]);

beforeAll(async () => {
  const npm = ['npm', '--offline', '--no-audit', '--no-fund', `--cache=${scratch.at('npm-cache')}`];
  const packed = await succeed([...npm, 'pack', ROOT, '--json', '--pack-destination', scratch.at('.')]);
  const [{ filename, files: list }] = JSON.parse(packed) as [{ filename: string; files: PackedFile[] }];
  files = list;
  mkdirSync(scratch.at('unpacked'));
  await succeed(['tar', '-xzf', scratch.at(filename), '-C', scratch.at('unpacked')]);
  for (const name of dependencies()) {
    mkdirSync(dirname(join(unpacked, 'node_modules', name)), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(unpacked, 'node_modules', name));
  }
  // a compiler that npm calls would be missing on other machines: the scripts of packages are not run
  await succeed([...npm, 'install', '--global', '--ignore-scripts', '--prefix', prefix, unpacked]);
  mkdirSync(join(srv, 'tree'), { recursive: true });
  writeFileSync(join(srv, 'tree/file'), 'content '.repeat(1000));
});

test('the package has programs, library, documents, manual pages and units, and no files for building or tests', () => {
  const paths = files.map(({ path }) => path);
  for (const path of [
    'LICENSE',
    'README.md',
    'dist/libexec/cfs-serve.js',
    'dist/share/bash-completion/completions/cfs-info',
    'dist/src/index.d.ts',
    'dist/src/index.js',
    'docs/library.md',
    'include/cfs.h',
    'systemd/cfs@.service',
    ...Object.values(manifest.bin),
  ])
    expect(paths).toContain(path);
  const isForBuilding = (path: string): boolean =>
    /^(?:test|bench|src|tools|scripts|node_modules)\/|^dist\/(?:bench|.*manual)|cfs-bench|compare|\.map$|\.log$|results/.test(
      path,
    );
  expect(paths.filter(isForBuilding)).toEqual([]);
  expect(paths.filter((path) => path.startsWith('dist/share/man/')).sort()).toEqual([...manifest.man].sort());
  expect(files.find(({ path }) => path === 'dist/libexec/cfs-supervisor')?.mode).toBe(0o755);
});

test('npm links its programs and manual pages, and compiles nothing', () => {
  expect(readdirSync(join(prefix, 'bin')).sort()).toEqual(Object.keys(manifest.bin).sort());
  for (const page of manifest.man) {
    const name = page.slice(page.lastIndexOf('/') + 1);
    expect(existsSync(join(prefix, 'share/man', `man${name.slice(-1)}`, name)), page).toBe(true);
  }
  expect(Object.keys(manifest.optionalDependencies)).toEqual(['fs-ext']);
  expect(existsSync(join(unpacked, 'node_modules/fs-ext'))).toBe(false);
});

test('contains all targets of links in README and docs, except tests and results of the benchmark', () => {
  for (const { path } of files.filter(({ path: name }) => name.endsWith('.md'))) {
    const text = readFileSync(join(unpacked, path), 'utf8');
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link = '']) =>
      join(unpacked, path, '..', link),
    );
    const missing = links.filter((link) => !existsSync(link)).map((link) => link.slice(unpacked.length));
    expect(missing.filter((link) => !/^\/(?:bench\/results|test)\//.test(link))).toEqual([]);
  }
});

test('its programs pack, mount, read and unmount', async () => {
  const [image, store, mnt] = [join(srv, 'tree.cfs'), join(srv, 'store'), scratch.directory('mnt')];
  expect(await installed('cfs-mkimage', '--quiet', '--store', store, join(srv, 'tree'), image)).toMatchObject({
    status: 0,
  });
  expect(await installed('cfs-mount', '--log', scratch.at('log'), '--repo', store, image, mnt)).toMatchObject({
    status: 0,
  });
  try {
    expect(readFileSync(join(mnt, 'file'), 'utf8')).toBe('content '.repeat(1000));
  } finally {
    await succeed(['umount', mnt]);
  }
  expect(mountedAt(mnt)).toBeUndefined();
  // a lock, which fs-ext or koffi takes
  expect(await installed('cfs-repo', 'gc', store)).toMatchObject({ status: 0, stderr: '' });
  expect((await installed('cfs-info', '--version')).stdout).toContain(manifest.version);
});

const PROGRAM = `import { mount, openImage, pack } from '@cfs-images/cfs';
import { readFile } from 'node:fs/promises';

const [source = '', image = '', store = '', mnt = ''] = process.argv.slice(2);
const { id } = await pack(source, image, { repository: store });
const read = openImage(image, { repositories: [store], digest: id }).readFile('/file');
const mounted = await mount(image, mnt, { repositories: [store] });
console.log(read.equals(await readFile(\`\${mnt}/file\`)));
await mounted.unmount();
`;

test('a program of ten lines that imports it passes the type check and runs', async () => {
  const program = scratch.directory('program');
  mkdirSync(join(program, 'node_modules/@cfs-images'), { recursive: true });
  symlinkSync(join(prefix, 'lib/node_modules/@cfs-images/cfs'), join(program, 'node_modules/@cfs-images/cfs'));
  symlinkSync(join(ROOT, 'node_modules/@types'), join(program, 'node_modules/@types'));
  writeFileSync(join(program, 'package.json'), '{"type":"module"}');
  writeFileSync(join(program, 'program.ts'), PROGRAM);
  const flags = ['--module', 'node20', '--target', 'es2022', '--strict', '--types', 'node', '--outDir', program];
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  await succeed([process.execPath, tsc, ...flags, '--rootDir', program, join(program, 'program.ts')], { cwd: program });
  const words = [join(srv, 'tree'), join(srv, 'own.cfs'), join(srv, 'own-store'), scratch.directory('own-mnt')];
  const outcome = await run([process.execPath, join(program, 'program.js'), ...words]);
  expect(outcome).toMatchObject({ status: 0, stdout: 'true\n', stderr: '' });
});
