/** `cfs-mkimage --exclude` and the like. */
import { existsSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { useScratch } from './harness.ts';
import { succeed } from './run.ts';

const scratch = useScratch();
let source: string;

beforeAll(() => {
  source = scratch.directory('source');
  const files = ['.git/config', 'build/out', 'src/build/out', 'src/a.log', 'src/a.c', 'b.log', 'cache/data', 'kept'];
  for (const file of files) {
    mkdirSync(join(source, file, '..'), { recursive: true });
    writeFileSync(join(source, file), file);
  }
  writeFileSync(join(source, 'cache/CACHEDIR.TAG'), 'Signature: 8a477f597d28d172789f06886806bc55\n');
  linkSync(join(source, 'kept'), join(source, 'other.log'));
});

/** The paths in an image that is packed with these options. */
async function paths(...args: readonly string[]): Promise<string[]> {
  const { image } = await scratch.pack(source, { args });
  const { stdout } = await scratch.tool('cfs-info', ['ls', '-R', image]);
  return stdout.trimEnd().split('\n');
}

test('leaves out names at any depth, paths, and what is below directories', async () => {
  expect(await paths('--exclude', '.git', '--exclude', '*.log', '--exclude=/build/')).toEqual([
    '/cache',
    '/cache/CACHEDIR.TAG',
    '/cache/data',
    '/kept',
    '/src',
    '/src/a.c',
    '/src/build',
    '/src/build/out',
  ]);
});

test('counts only the names that are packed as links of a file', async () => {
  const { image } = await scratch.pack(source, { args: ['--exclude', '*.log'] });
  expect((await scratch.tool('cfs-info', ['stat', image, '/kept'])).stdout).toMatch(/^nlink: +1$/m);
});

test('takes patterns from a file, and leaves out caches', async () => {
  const file = scratch.at('patterns');
  writeFileSync(file, '# comment\n.git\n\n/src/\n');
  const left = ['/b.log', '/build', '/build/out', '/cache', '/cache/CACHEDIR.TAG', '/kept', '/other.log'];
  expect(await paths('--exclude-from', file, '--exclude-caches')).toEqual(left);
});

test('without options the image is as before', async () => {
  const [one, other] = [await scratch.pack(source), await scratch.pack(source, { args: ['--exclude', 'nothing'] })];
  expect(other.id).toBe(one.id);
});

test('--print-id-only prints the id that the image would have, and writes nothing', async () => {
  writeFileSync(join(source, 'large'), Buffer.alloc(3_000_000, 'large'));
  for (const args of [[], ['--exclude', '*.log'], ['--hash', 'fsverity-sha256', '--inline-max', '0', '--use-epoch']]) {
    const store = scratch.at(`id-store-${args.length}`);
    const only = await scratch.tool('cfs-mkimage', ['--print-id-only', '--store', store, ...args, source]);
    expect(only).toMatchObject({ status: EXIT.ok, stderr: '' });
    expect(existsSync(store)).toBe(false);
    const { id } = await scratch.pack(source, { store, args });
    expect(only.stdout).toBe(`${id}\n`);
    // the repository has another algorithm than the default
    const again = await scratch.tool('cfs-mkimage', ['--print-id-only', '--store', store, ...args, source]);
    expect(again.stdout).toBe(`${id}\n`);
  }
  const refused = async (...args: readonly string[]): Promise<string> => {
    const { status, stderr } = await scratch.tool('cfs-mkimage', ['--print-id-only', ...args]);
    expect(status).toBe(EXIT.usage);
    return stderr;
  };
  expect(await refused(source, scratch.at('x.cfs'))).toContain('leave IMAGE out');
  expect(await refused('--seal', source)).toContain('--print-id-only and --seal exclude each other');
});

test('reports a file that is not there, and a pattern without a name; nothing is made', async () => {
  const run = (...args: readonly string[]) =>
    scratch.tool('cfs-mkimage', [...args, '--store', scratch.at('none'), source, scratch.at('none.cfs')]);
  expect(await run('--exclude-from', scratch.at('no-file'))).toMatchObject({
    status: EXIT.usage,
    stderr: `cfs-mkimage: Cannot read --exclude-from ${scratch.at('no-file')}: no such file or directory\n`,
  });
  expect(await run('--exclude', '/')).toMatchObject({
    status: EXIT.usage,
    stderr: 'cfs-mkimage: Cannot exclude "/": the pattern has no name\n',
  });
  await succeed(['test', '!', '-e', scratch.at('none.cfs')]);
});
