/** `--version`, `cfs-info version`, and suggestions for misspelled words. */
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import type { VersionReport } from '../../tools/version.ts';
import { useScratch } from './harness.ts';
import { run, succeed } from './run.ts';

const scratch = useScratch();
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
  version: string;
};

test.each(['cfs-mkimage', 'cfs-mount', 'cfs-info', 'cfs-repo', 'cfs-checkpoint', 'mount.cfs'])(
  '%s --version names version, node, kernel, drivers and abilities',
  async (tool) => {
    const { status, stdout, stderr } = await scratch.tool(tool, ['--version']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout.split('\n')).toEqual([
      `${tool} ${version}`,
      expect.stringMatching(
        `^node ${process.versions.node}, Linux ${release()} \\S+, @napi-rs/blake-hash, flock by (fs-ext|koffi)$`,
      ),
      expect.stringMatching(/^drivers: kernel, fuse-native; (no )?\/dev\/fuse, (no )?fusermount3$/),
      expect.stringMatching(/^kernel: (no )?passthrough, (no )?resend, .*fs-verity.*, (no )?user namespaces$/),
      '',
    ]);
  },
);

const report = async (): Promise<VersionReport> =>
  JSON.parse((await scratch.tool('cfs-info', ['version', '--json'])).stdout) as VersionReport;

test('the report agrees with mounts on passthrough, and with unshare(1) on user namespaces', async () => {
  const source = scratch.directory('source');
  const { image } = await scratch.pack(source);
  const mounted = await scratch.mount(image);
  const user = await run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'unshare', '-Ur', 'true']);
  const reported = await report();
  // every mount by root asks for it
  expect(reported.passthrough).toBe(mounted.report.passthrough);
  expect(reported.userNamespaces).toBe(user.status === 0);
  expect(reported.devFuse).toBe(true);
  accessSync(reported.fusermount3 as string, constants.X_OK);
  expect(reported.fsverity.every((type) => existsSync(`/sys/fs/${type}/features/verity`))).toBe(true);
});

test('the report says what is missing', async () => {
  const environment = { PATH: scratch.directory('empty'), CFS_BLAKE3: 'portable' };
  const { stdout } = await scratch.tool('cfs-info', ['version', '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ blake3: '@napi-rs/blake-hash' });
  const program = join(import.meta.dirname, '../../dist/tools/cfs-info.js');
  const bare = await run([process.execPath, program, 'version', '--json'], { env: environment });
  expect(JSON.parse(bare.stdout)).toMatchObject({ blake3: 'blake3', fusermount3: null });
});

test('in a namespace without /dev/fuse the report says so', async () => {
  const hidden = scratch.directory('dev');
  mkdirSync(join(hidden, 'shm'));
  const program = join(import.meta.dirname, '../../dist/tools/cfs-info.js');
  const script = 'mount --bind "$1" /dev && exec "$2" "$3" version --json';
  const stdout = await succeed(['unshare', '-m', 'sh', '-c', script, 'sh', hidden, process.execPath, program]);
  expect(JSON.parse(stdout)).toMatchObject({ devFuse: false });
  rmSync(join(hidden, 'shm'), { recursive: true });
});

describe('did you mean', () => {
  test.each([
    ['cfs-repo fsk x', 'fsck'],
    ['cfs-repo gc --dry-rn x', '--dry-run'],
    ['cfs-repo help gcc', 'gc'],
    ['cfs-repo --verson', '--version'],
    ['cfs-checkpoint chek', 'check'],
    ['cfs-checkpoint check --jsn x', '--json'],
    ['cfs-checkpoint --hlep', '--help'],
    ['cfs-info lss x', 'ls'],
    ['cfs-info ls --jsno x', '--json'],
    ['cfs-info --verson', '--version'],
    ['cfs-info help stst', 'stat'],
    ['cfs-mkimage --stoer a b c', '--store'],
    ['cfs-mount --rpo a b c', '--repo'],
    ['cfs-mount -o verfy=read a b', 'verify'],
  ])('%s', async (line, meant) => {
    const [tool = '', ...args] = line.split(' ');
    const { status, stderr } = await scratch.tool(tool, args);
    expect(status).toBe(EXIT.usage);
    expect(stderr).toMatch(new RegExp(`did you mean ${meant}(?![\\w-]).*\\?`, 'i'));
  });
});
