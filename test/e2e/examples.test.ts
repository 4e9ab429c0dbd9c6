/**
 * Runs the commands in help texts, the README and the manual's tour. The files that they name are made first, in the
 * scratch directory.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, cpSync, mkdirSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';
import { OWN_TOOLS, run, succeed } from './run.ts';
import { mountedAt, processesNaming, unmountBy, until } from './system.ts';

const scratch = useScratch();
const TOOLS = ['cfs-mkimage', 'cfs-mount', 'cfs-info', 'cfs-repo', 'cfs-checkpoint'] as const;
const README = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
const MANUAL = readFileSync(join(import.meta.dirname, '../../docs/manual.md'), 'utf8');

const [work, bin, mnt] = [scratch.at('work'), scratch.at('bin'), scratch.at('mnt')];
let handle = '';
/** Shows what is in /srv/www. */
let nginx: Nginx;

/** The paths of the test for the paths of the examples, longer ones first. */
const PLACES: readonly (readonly [RegExp, string])[] = [
  [/(?<![\w.])\/mnt\/nfs\b/g, scratch.at('nfs')],
  [/(?<![\w.])\/mnt\b/g, mnt],
  [/(?<![\w.])\/srv\b/g, scratch.at('srv')],
  [/\/usr\/share\/doc\b/g, scratch.at('doc')],
];

/** Commands that are missing on a test machine (criu), need a terminal, or would disturb other tests. */
const LEFT_OUT = / && criu [^&]*$|; ncdu -f \S+$|; echo 3 > \/proc\/sys\/vm\/drop_caches/g;

/** Examples that need fs-verity in the file system; test/vm/fsverity tests that. */
const NEEDS_VERITY = /--seal |many\.cfs|cfs-repo seal/;

async function shell(command: string, directory = work): Promise<{ status: number | null; stderr: string }> {
  let text = command.replace(LEFT_OUT, '').replace(/0x81:[0-9a-f]{24}/, handle);
  if (text.includes('digest=$ID')) text = `ID=$(cfs-info id rootfs.cfs); ${text}`;
  for (const [pattern, place] of PLACES) text = text.replace(pattern, place);
  text = text.replace('https://example.org', nginx.url);
  const environment = { ...scratch.environment, PATH: `${bin}:${process.env['PATH']}` };
  const holder = text.includes('4711') ? hold() : undefined;
  try {
    const words = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    return await run(['env', ...words, 'bash', '-c', text.replace('4711', `${holder?.pid}`)], { cwd: directory });
  } finally {
    // `criu dump` would end the process
    holder?.kill('SIGKILL');
    if (holder !== undefined) await until('the reader ends', () => processesNaming('cfs-example-reader').length === 0);
  }
}

/** Starts a process that has a file of the mount open. */
function hold(): ChildProcess {
  const fd = openSync(mnt, 'r');
  const child = spawn('bash', ['-c', 'exec -a cfs-example-reader sleep 600'], { stdio: [fd, 'ignore', 'ignore'] });
  closeSync(fd);
  return child;
}

async function unmountAll(...paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    if (mountedAt(path) !== undefined) await unmountBy(['umount', path]);
    await until(`the servers of ${path} end`, () => processesNaming(path).length === 0);
  }
}

/** Commands in the examples of a help text, without the words that explain them. */
async function examplesOf(tool: string, ...command: readonly string[]): Promise<string[]> {
  const { stdout } = await scratch.tool(tool, [...command, '--help']);
  const lines = /^Examples:\n((?: .*\n?)+)/m.exec(stdout)?.[1] ?? '';
  return lines.split('\n').flatMap((line) => line.trim().split(/ {2,}/)[0] || []);
}

afterAll(() => nginx?.stop());

beforeAll(async () => {
  nginx = await Nginx.start(scratch, scratch.at('srv/www'));
  for (const directory of [bin, work, mnt, scratch.at('srv'), scratch.at('nfs')]) mkdirSync(directory);
  for (const directory of ['changes', 'work']) mkdirSync(scratch.at('srv', directory));
  for (const tool of TOOLS) symlinkSync(`${OWN_TOOLS.dist}/tools/${tool}.js`, join(bin, tool));
  for (const root of [join(work, 'rootfs'), scratch.at('srv/rootfs'), join(work, 'build'), scratch.at('doc')]) {
    for (const directory of ['etc', 'usr/bin', 'usr/share/man/man1', 'bash']) {
      mkdirSync(join(root, directory), { recursive: true });
    }
    for (const file of ['etc/passwd', 'usr/bin/env', 'usr/share/man/man1/env.1', 'bash/copyright']) {
      writeFileSync(join(root, file), `${file}\n`.repeat(100));
    }
  }
  await succeed(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', join(work, 'key.pem')]);
  await succeed(['openssl', 'pkey', '-in', join(work, 'key.pem'), '-pubout', '-out', join(work, 'pub.pem')]);
  symlinkSync(mnt, join(work, 'mnt'));
  mkdirSync(join(work, 'dump'));
  const prepare = [
    'cfs-mkimage --quiet rootfs rootfs.cfs; cp rootfs.cfs debian.cfs; cp rootfs.cfs new.cfs',
    'cfs-mkimage --quiet --sign key.pem rootfs debian.cfs',
    'cfs-mkimage --quiet --store /srv/store rootfs rootfs-there.cfs',
    'cfs-repo push --quiet /srv/store rootfs.cfs /srv/www/images',
    'cfs-mkimage --quiet --store /srv/cfs rootfs rootfs-here.cfs; cp -a /srv/cfs /mnt/nfs/store',
    'echo more > rootfs/etc/more; cfs-mkimage --quiet --store /srv/store rootfs old.cfs; rm rootfs/etc/more',
  ];
  for (const line of prepare) expect(await shell(line)).toMatchObject({ status: 0, stderr: '' });
  const file = ['handle', '--image', join(work, 'rootfs.cfs'), '/etc/passwd'];
  handle = (await succeed(['node', join(bin, 'cfs-info'), ...file])).trim();
});

test.each(TOOLS)('the examples of %s --help work', async (tool) => {
  const examples = (await examplesOf(tool)).filter((line) => !NEEDS_VERITY.test(line));
  expect(examples.length).toBeGreaterThan(1);
  for (const example of examples) {
    // an example that mounts begins without a mount, and one that looks at a mount begins with one
    const mounts = /^(cfs-mount (?!--upgrade)|unshare|umount)/.test(example);
    if ((mounts && !example.startsWith('umount')) || / (changes|snapshot|--rebase) /.test(example))
      await unmountAll(mnt);
    if (!mounts && /(^|[ /])mnt\b(?!\/nfs)/.test(example) && mountedAt(mnt) === undefined) {
      const words = / (changes|snapshot|--rebase) /.test(example) ? '-o upperdir=/srv/changes,workdir=/srv/work ' : '';
      expect(await shell(`cfs-mount ${words}rootfs.cfs /mnt`)).toMatchObject({ status: 0 });
    }
    if (example.includes(' init ')) rmSync(scratch.at('srv'), { recursive: true, force: true });
    const { status, stderr } = await shell(example);
    const fine = / (diff|changes) /.test(example) ? [EXIT.ok, EXIT.found] : [EXIT.ok];
    expect(fine, `${example}: ${stderr}`).toContain(status);
    if (example.includes(' init ')) await shell('cp -a /mnt/nfs/store /srv/store');
    if (example.includes(' init ')) await shell('cfs-mkimage --quiet --store /srv/store build old.cfs');
  }
  await unmountAll(mnt);
});

test.each(TOOLS)('the help of each command of %s has an example of the command', async (tool) => {
  const { stdout } = await scratch.tool(tool, ['--help']);
  const list = /^Commands:\n((?: .*\n)+)/m.exec(stdout)?.[1] ?? '';
  const commands = [...list.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => name as string);
  for (const name of commands.filter((one) => one !== 'help')) {
    expect((await examplesOf(tool, name)).join('\n'), name).toContain(`${tool} ${name}`);
  }
});

test('the commands of the tour in the manual work, one after the other', async () => {
  const tour = scratch.at('tour');
  mkdirSync(tour);
  const text = MANUAL.slice(MANUAL.indexOf('\n## Tour'), MANUAL.indexOf('\n## Verification'));
  const commands = [...text.matchAll(/^# (.+)$/gm)].map(([, line]) => line as string);
  expect(commands.length).toBeGreaterThan(20);
  const doc = scratch.at('doc');
  const before = [
    `echo more > ${doc}/etc/more; cfs-mkimage --quiet --store store ${doc} old.cfs; rm ${doc}/etc/more`,
    'mkdir -p tree/dist-packages/pygments; echo x > tree/dist-packages/pygments/file',
    'cfs-mkimage --quiet --store versions tree 1.1.cfs',
    `touch ${doc}/etc/passwd; cfs-mkimage --quiet --store store ${doc} new.cfs`,
  ];
  for (const line of before) expect(await shell(line, tour)).toMatchObject({ status: 0, stderr: '' });
  const file = ['handle', '--image', join(tour, 'new.cfs'), '/bash/copyright'];
  handle = (await succeed(['node', join(bin, 'cfs-info'), ...file])).trim();
  for (const command of commands.filter((line) => !NEEDS_VERITY.test(line))) {
    if (command.startsWith('cfs-checkpoint prepare')) {
      expect(await shell('cfs-mount --repo store doc.cfs /mnt', tour)).toMatchObject({ status: 0 });
    }
    const { status, stderr } = await shell(command, tour);
    const fine = / diff /.test(command) ? [EXIT.ok, EXIT.found] : [EXIT.ok];
    expect(fine, `${command}: ${stderr}`).toContain(status);
  }
  await unmountAll(mnt, join(tour, 'mnt'));
});

test('the ten commands of the README work, one after the other', async () => {
  const directory = scratch.at('ten');
  mkdirSync(directory);
  rmSync(scratch.at('srv'), { recursive: true, force: true });
  for (const name of ['rootfs', 'build']) cpSync(scratch.at('doc'), scratch.at('srv', name), { recursive: true });
  const [, text = ''] = /^## Ten commands\n+```sh\n([\s\S]*?)^```$/m.exec(README) ?? [];
  const commands = text.trimEnd().split('\n');
  expect(commands).toHaveLength(10);
  // the repository that the comments name
  const store = scratch.at('ten/store');
  for (const command of commands) {
    const { status, stderr } = await shell(
      `export CFS_STORE=${store}; ${command.replaceAll('/var/lib/cfs', store)}`,
      directory,
    );
    const fine = / diff /.test(command) ? [EXIT.found] : [EXIT.ok];
    expect(fine, `${command}: ${stderr}`).toContain(status);
  }
  await unmountAll(mnt);
});
