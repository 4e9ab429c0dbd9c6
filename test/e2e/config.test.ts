/** Configuration files: their order, whose files are read, and what is wrong with others. */
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { useScratch } from './harness.ts';
import { HERE, NOBODY, run, succeed } from './run.ts';

const scratch = useScratch();
const home = scratch.at('home');
const userFile = join(home, '.config/cfs.conf');
/** What is /etc/cfs.conf in the mount namespace of a command. */
const systemFile = scratch.at('system.conf');

beforeAll(() => {
  mkdirSync(join(home, '.config'), { recursive: true });
});

beforeEach(() => {
  for (const file of [userFile, systemFile]) rmSync(file, { recursive: true, force: true });
});

/** The text of a file, its mode, and its owner. */
function write(file: string, text: string | Buffer, mode = 0o644, owner = 0): void {
  writeFileSync(file, text);
  chmodSync(file, mode);
  chownSync(file, owner, owner);
}

/** Runs cfs-info config in a namespace with an /etc of its own, as root or an ordinary user. */
async function tool(
  user: 'root' | 'nobody',
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
  name = 'cfs-info',
) {
  const [upper, work] = [scratch.directory('upper'), scratch.directory('work')];
  const copy = `[ ! -e ${systemFile} ] || cp -p ${systemFile} ${upper}/cfs.conf`;
  const mount = `mount -t overlay overlay -o lowerdir=/etc,upperdir=${upper},workdir=${work} /etc`;
  const place = user === 'root' ? undefined : scratch.nobody();
  const environment = { HOME: home, CFS_STORE: '', ...variables };
  const command = (place ?? HERE).tool(name, args, environment);
  return run(['unshare', '--mount', 'sh', '-c', `${copy}; ${mount} && exec "$@"`, 'sh', ...command]);
}

interface Shown {
  readonly files: readonly { readonly path: string; readonly exists: boolean }[];
  readonly values: readonly { readonly key: string; readonly value: string; readonly from: string }[];
}

async function config(user: 'root' | 'nobody', variables: Readonly<Record<string, string>> = {}): Promise<Shown> {
  const { status, stdout, stderr } = await tool(user, ['config', '--json'], variables);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  return JSON.parse(stdout) as Shown;
}

const valueIn = ({ values }: Shown, key: string) => {
  const { value, from } = values.find((each) => each.key === key) ?? {};
  return { value, from };
};

test('without files the defaults apply', async () => {
  const shown = await config('nobody');
  expect(shown.files).toEqual([
    { path: userFile, exists: false },
    { path: '/etc/cfs.conf', exists: false },
  ]);
  expect(shown.values).toEqual([
    { key: 'store', value: join(home, '.local/share/cfs'), from: 'default' },
    { key: 'repo', value: join(home, '.local/share/cfs'), from: 'default' },
    { key: 'hash', value: 'blake3', from: 'default' },
    { key: 'color', value: 'auto', from: 'default' },
    { key: 'cache', value: join(home, '.cache/cfs'), from: 'default' },
  ]);
});

test('a variable precedes the file of the user, and that precedes the file of the machine', async () => {
  write(systemFile, '# machine\nstore = /srv/machine\nhash = fsverity-sha256\n');
  write(userFile, 'store = /srv/user\ncolor = always\n', 0o644, NOBODY);
  const shown = await config('nobody');
  expect(valueIn(shown, 'store')).toEqual({ value: '/srv/user', from: `${userFile}:1` });
  expect(valueIn(shown, 'hash')).toEqual({ value: 'fsverity-sha256', from: '/etc/cfs.conf:3' });
  expect(valueIn(shown, 'color')).toEqual({ value: 'always', from: `${userFile}:2` });
  const told = await config('nobody', { CFS_STORE: '/srv/variable', NO_COLOR: '1' });
  expect(valueIn(told, 'store')).toEqual({ value: '/srv/variable', from: 'CFS_STORE' });
  expect(valueIn(told, 'color')).toEqual({ value: 'never', from: 'NO_COLOR' });
  const { stdout } = await tool('nobody', ['config']);
  expect(stdout.split('\n').map((line) => line.split(/ +/))).toContainEqual(['store', '/srv/user', `${userFile}:1`]);
});

test('root reads only the file of the machine', async () => {
  write(systemFile, 'hash = fsverity-sha256\n');
  write(userFile, 'store = /srv/user\n', 0o644, NOBODY);
  const shown = await config('root');
  expect(shown.files.map(({ path }) => path)).toEqual(['/etc/cfs.conf']);
  expect(valueIn(shown, 'store').from).toBe('default');
});

test('the tools use the values', async () => {
  const store = scratch.at('configured');
  write(systemFile, `store = ${store}\nhash = fsverity-sha256\n`);
  const made = await tool('root', ['init', '--json', store], {}, 'cfs-repo');
  expect(JSON.parse(made.stdout)).toMatchObject({ path: store, hash: 'fsverity-sha256' });
  const other = scratch.at('other');
  const named = await tool('root', ['init', '--json', '--hash', 'blake3', other], {}, 'cfs-repo');
  expect(JSON.parse(named.stdout)).toMatchObject({ hash: 'blake3' });
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'content '.repeat(100));
  const packed = await tool('root', ['--quiet', source, scratch.at('image.cfs')], {}, 'cfs-mkimage');
  expect(packed).toMatchObject({ status: EXIT.ok, stderr: '' });
  expect(existsSync(join(store, 'roots'))).toBe(true);
  write(systemFile, 'color = always\n');
  const images = [scratch.at('image.cfs'), scratch.at('newer.cfs')] as const;
  writeFileSync(join(source, 'more'), 'more '.repeat(100));
  await tool('root', ['--quiet', '--store', store, source, images[1]], {}, 'cfs-mkimage');
  const colored = await tool('root', ['diff', ...images]);
  expect(colored.stdout).toContain('\x1b[');
  const plain = await tool('root', ['diff', ...images], { NO_COLOR: '1' });
  expect(plain.stdout).not.toContain('\x1b[');
  const option = await tool('root', ['diff', '--color', 'never', ...images]);
  expect(option.stdout).toBe(plain.stdout);
});

test('objects are looked for in several repositories, and keys are those to verify signatures', async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'signed '.repeat(1_000));
  const [empty, store, image] = [scratch.at('empty'), scratch.at('full'), scratch.at('signed.cfs')];
  await scratch.tool('cfs-repo', ['init', empty]);
  for (const name of ['signer', 'stranger']) {
    await succeed(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', scratch.at(name)]);
    await succeed(['openssl', 'pkey', '-in', scratch.at(name), '-pubout', '-out', scratch.at(`${name}.pub`)]);
  }
  await scratch.pack(source, { store, args: ['--sign', scratch.at('signer')], image });
  const keys = (...names: readonly string[]): string => names.map((name) => `key = ${scratch.at(name)}.pub\n`).join('');

  write(systemFile, `repo = ${empty}\nrepo = ${store}\n${keys('stranger', 'signer')}`);
  const shown = await config('root');
  expect(shown.values.filter(({ key }) => key === 'repo' || key === 'key').map(({ value }) => value)).toEqual([
    empty,
    store,
    scratch.at('stranger.pub'),
    scratch.at('signer.pub'),
  ]);
  expect((await tool('root', ['cat', image, '/file'])).stdout).toBe('signed '.repeat(1_000));
  expect((await tool('root', ['cat', image, '/file'], { CFS_STORE: empty })).status).toBe(EXIT.store);
  expect((await tool('root', ['cat', '--repo', empty, image, '/file'])).status).toBe(EXIT.store);
  expect((await tool('root', ['verify', image])).stdout).toContain('signer.pub');
  expect((await tool('root', ['verify', '--key', scratch.at('stranger.pub'), image])).status).toBe(EXIT.image);

  const mount = (...args: readonly string[]) =>
    tool('root', [...args, image, scratch.directory('mnt')], {}, 'cfs-mount');
  write(systemFile, `repo = ${store}\n${keys('stranger')}`);
  const refused = await mount('-o', 'require-signature');
  expect(refused).toMatchObject({ status: EXIT.mount, stderr: expect.stringMatching(/trusted: /) });
  write(systemFile, keys('signer'));
  expect(await mount('-o', `key=${scratch.at('stranger.pub')}`)).toMatchObject({ status: EXIT.mount });
  write(systemFile, `repo = ${store}\n`);
  expect((await mount('-o', 'require-signature')).stderr).toContain('require-signature needs a key');
});

test('a file that cannot be reached is as none, and one that cannot be read is an error', async () => {
  write(userFile, 'color = always\n', 0o600, 12_345);
  const { status, stderr } = await tool('nobody', ['config']);
  expect({ status, stderr }).toEqual({
    status: EXIT.usage,
    stderr: `cfs-info: Cannot use ${userFile}: permission denied\n`,
  });
  chmodSync(home, 0o700);
  try {
    const shown = await config('nobody');
    expect(shown.files[0]).toEqual({ path: userFile, exists: false });
    expect(valueIn(shown, 'color')).toEqual({ value: 'auto', from: 'default' });
  } finally {
    chmodSync(home, 0o755);
  }
});

test('files of others, and wrong ones, are errors that say where', async () => {
  const failure = async (user: 'root' | 'nobody'): Promise<string> => {
    const { status, stdout, stderr } = await tool(user, ['config']);
    expect({ status, stdout, lines: stderr.split('\n').length }).toEqual({ status: EXIT.usage, stdout: '', lines: 2 });
    return stderr.slice('cfs-info: '.length, -1);
  };
  write(systemFile, 'store = /a\nstoer = /b\n');
  expect(await failure('root')).toBe('/etc/cfs.conf:2: there is no key "stoer" (did you mean store?)');
  write(systemFile, 'color = auto\n', 0o666);
  expect(await failure('root')).toBe('Cannot use /etc/cfs.conf: other users may write to it');
  write(systemFile, 'color = auto\n', 0o644, NOBODY);
  expect(await failure('root')).toBe('Cannot use /etc/cfs.conf: it does not belong to root');
  // a user reads it, too: its keys decide about signatures
  write(systemFile, 'color = auto\n', 0o666);
  expect(await failure('nobody')).toBe('Cannot use /etc/cfs.conf: other users may write to it');
  rmSync(systemFile);
  write(userFile, 'color = auto\n', 0o644, 12_345);
  expect(await failure('nobody')).toBe(`Cannot use ${userFile}: it belongs to another user`);
  write(userFile, Buffer.alloc(70_000, '#'), 0o644, NOBODY);
  expect(await failure('nobody')).toContain('it has 70000 bytes, and at most 65536 are read');
  write(userFile, 'store = /a\x1b[2J\n=\n', 0o644, NOBODY);
  expect(await failure('nobody')).toContain(`${userFile}:2: there is no key ""`);
  rmSync(userFile);
  await run(['mkfifo', userFile]);
  expect(await failure('nobody')).toBe(`Cannot use ${userFile}: it is not a file`);
  rmSync(userFile);
  mkdirSync(userFile);
  expect(await failure('nobody')).toBe(`Cannot use ${userFile}: it is not a file`);
});
