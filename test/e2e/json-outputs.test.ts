/** Compares docs/json.md and the schemas with the output of the tools. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { openCache } from '../../src/store/open-repository.ts';
import { EXIT } from '../../tools/cli.ts';
import type { CommandDefinition } from '../../tools/definition.ts';
import { OUTPUTS, schemaName, schemaOf } from '../../tools/schemas/schemas.ts';
import { problemsOfOutput, schemas } from '../support/json-outputs.ts';
import { useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';
import { HERE, succeed } from './run.ts';
import { unmountBy } from './system.ts';

const scratch = useScratch();
const PAGE = readFileSync(join(import.meta.dirname, '../../docs/json.md'), 'utf8');

interface Row {
  readonly command: string;
  readonly value: string;
  /** The keys that are always present. */
  readonly keys: readonly string[];
}

/** The rows of the table, with the keys that the last column lists. */
const ROWS: readonly Row[] = [...PAGE.matchAll(/^\| `(.+?)` \| (\w+) \| (.+) \|$/gm)].map(
  ([, command = '', value = '', keys = '']) => {
    const list = keys.replace(/\([^)]*\)/g, '').split(/ with |; /, 1)[0] as string;
    return { command, value, keys: [...list.matchAll(/`(\w+)`/g)].map(([, key]) => key as string) };
  },
);

let source: string;
let image: string;
let newer: string;
const key = scratch.at('key.pem');
const pub = scratch.at('pub.pem');

beforeAll(async () => {
  source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'content '.repeat(1000));
  image = (await scratch.pack(source)).image;
  writeFileSync(join(source, 'more'), 'more '.repeat(1000));
  newer = (await scratch.pack(source)).image;
  await succeed(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', key]);
  await succeed(['openssl', 'pkey', '-in', key, '-pubout', '-out', pub]);
});

async function output(tool: string, args: readonly string[]): Promise<unknown> {
  const { status, stdout, stderr } = await scratch.tool(tool, ['--json', ...args]);
  expect([EXIT.ok, EXIT.found], `${tool} ${args.join(' ')}: ${stderr}`).toContain(status);
  return JSON.parse(stdout);
}

/** For commands: the subcommand goes before --json. */
const command = async (tool: string, name: string, ...args: readonly string[]): Promise<unknown> => {
  const { status, stdout, stderr } = await scratch.tool(tool, [name, '--json', ...args]);
  // sealing is not possible everywhere; the error has the same form
  const known = name === 'seal' ? [EXIT.ok, EXIT.system] : [EXIT.ok, EXIT.found];
  expect(known, `${tool} ${name}: ${stderr}`).toContain(status);
  return JSON.parse(stdout);
};

const info = (name: string, ...args: readonly string[]) => command('cfs-info', name, ...args);
const repo = (name: string, ...args: readonly string[]) => command('cfs-repo', name, ...args);

/** Runs `work` with a mount of the image. */
async function mounted(work: (path: string) => Promise<unknown>): Promise<unknown> {
  return work((await scratch.mount(image)).path);
}

/** The same with a writable mount in which something was changed. */
async function changed(work: (path: string) => Promise<unknown>): Promise<unknown> {
  const words = [`upperdir=${scratch.directory('upper')}`, `workdir=${scratch.directory('work')}`];
  const { path } = await scratch.mount(image, { words });
  writeFileSync(join(path, 'file'), 'changed');
  return work(path);
}

/** A dump of a process that has a file of the mount open. */
async function prepared(path: string, dump: string): Promise<unknown> {
  mkdirSync(dump);
  const fd = openSync(join(path, 'file'), 'r');
  const child = spawn('sleep', ['infinity'], { stdio: [fd, 'ignore', 'ignore'] });
  closeSync(fd);
  try {
    return await command('cfs-checkpoint', 'prepare', '-D', dump, path, `${child.pid}`);
  } finally {
    child.kill('SIGKILL');
  }
}

/** Commands whose standard output is data, as the page says: they have no --json. */
const DATA: readonly string[] = [
  ...(/^\*\*Data\.\*\* (.*?)\n\n/ms.exec(PAGE)?.[1] ?? '').matchAll(/`(cfs-\S+ \S+)`/g),
].map(([, name = '']) => name);

const RUNS: Readonly<Record<string, () => Promise<unknown>>> = {
  'cfs-mkimage': () => output('cfs-mkimage', [source, scratch.at('packed.cfs')]),
  'cfs-mount': () => mounted(async () => (await scratch.mount(newer)).report),
  'cfs-mount --upgrade': () =>
    mounted(async (path) => {
      const result = await output('cfs-mount', ['--upgrade', path]);
      await unmountBy(['umount', path]);
      return result;
    }),
  'cfs-mount --rebase': async () => {
    const words = [`upperdir=${scratch.directory('upper')}`, `workdir=${scratch.directory('work')}`];
    const writable = await scratch.mount(image, { words });
    const result = await output('cfs-mount', ['--rebase', image, writable.path]);
    await writable.unmount();
    return result;
  },
  'cfs-info id': () => info('id', image),
  'cfs-info ls': () => info('ls', image),
  'cfs-info stat': () => info('stat', image, '/file', '/'),
  'cfs-info extract': () => info('extract', '-C', scratch.at('extracted'), image),
  'cfs-info du': () => info('du', image),
  'cfs-info dump': () => info('dump', image),
  'cfs-info objects': () => info('objects', image),
  'cfs-info missing': async () => {
    const empty = scratch.directory('empty');
    await repo('init', empty);
    return info('missing', '--repo', empty, image);
  },
  'cfs-info diff': () => info('diff', image, newer),
  'cfs-info diff --stat': () => info('diff', '--stat', image, newer),
  'cfs-info diff --tree': () => info('diff', '--tree', image, newer),
  'cfs-info sign': () => info('sign', '--key', key, image),
  'cfs-info verify': async () => {
    await info('sign', '--key', key, image);
    return info('verify', '--key', pub, image);
  },
  'cfs-info mounts': () => mounted(() => info('mounts')),
  'cfs-info sources': () => mounted((path) => info('sources', path)),
  'cfs-info changes': () => changed((path) => info('changes', path)),
  'cfs-info snapshot': () => changed((path) => info('snapshot', path, scratch.at('snapshot'))),
  'cfs-info stats': () => mounted((path) => info('stats', path)),
  'cfs-info top': () => mounted((path) => info('top', '--count', '1', '--interval', '0.1', path)),
  'cfs-info log': async () => {
    const empty = scratch.directory('empty');
    await repo('init', empty);
    const { path } = await scratch.mount(newer, { repos: [empty] });
    expect(() => readFileSync(join(path, 'file'))).toThrow('EIO');
    return info('log', path);
  },
  'cfs-info where': () => mounted((path) => info('where', join(path, 'file'))),
  'cfs-info handle': () => mounted((path) => info('handle', join(path, 'file'))),
  'cfs-info open-handle': () =>
    mounted(async (path) => {
      const [file] = (await info('handle', join(path, 'file'))) as { handle: string }[];
      return info('open-handle', path, file?.handle ?? '');
    }),
  'cfs-info version': () => info('version'),
  'cfs-info config': () => info('config'),
  'cfs-repo init': () => repo('init', scratch.directory('made')),
  'cfs-repo stat': () => repo('stat', scratch.store),
  'cfs-repo push': () => repo('push', scratch.store, image, scratch.directory('pushed')),
  'cfs-repo pull': async () => {
    const web = scratch.directory('web');
    await repo('push', '--ref', 'app', scratch.store, image, web);
    const nginx = await Nginx.start(scratch, web);
    try {
      return await repo('pull', '-o', scratch.at('pulled.cfs'), `${nginx.url}#app`, scratch.at('pulled'));
    } finally {
      await nginx.stop();
    }
  },
  'cfs-repo sync': async () => {
    const pushed = scratch.directory('to mirror');
    await repo('push', scratch.store, image, pushed);
    return repo('sync', pushed, scratch.at('mirror'));
  },
  'cfs-repo df': () => repo('df', scratch.store),
  'cfs-repo copy': () => repo('copy', '--from', scratch.store, scratch.at('copied'), image),
  'cfs-repo fsck': () => repo('fsck', scratch.store),
  'cfs-repo prune': async () => {
    const web = scratch.directory('pruned');
    await repo('push', scratch.store, image, web);
    writeFileSync(join(web, 'packs', '0'.repeat(64)), 'no map names it');
    return repo('prune', '--dry-run', '-v', '--min-age', '0', web);
  },
  'cfs-repo cache': () => {
    openCache(scratch.at('cached/blake3'), 'blake3');
    return repo('cache', '--trim', '1G', scratch.at('cached'));
  },
  'cfs-repo gc': () => repo('gc', '--dry-run', scratch.store),
  'cfs-repo images': () => repo('images', scratch.store),
  'cfs-repo report': () => repo('report', scratch.store),
  'cfs-repo register': () => repo('register', scratch.store, image),
  'cfs-repo unregister': async () => {
    const result = await repo('unregister', scratch.store, image);
    await repo('register', scratch.store, image);
    return result;
  },
  'cfs-repo import': async () => {
    const words = ['export', scratch.store, image];
    const stream = scratch.at('stream');
    await succeed(['sh', '-c', 'out=$1; shift; exec "$@" > "$out"', 'sh', stream, ...HERE.tool('cfs-repo', words)]);
    const args = ['import', '--json', '-C', scratch.directory('images'), scratch.at('imported')];
    return JSON.parse(
      await succeed(['sh', '-c', 'in=$1; shift; exec "$@" < "$in"', 'sh', stream, ...HERE.tool('cfs-repo', args)]),
    );
  },
  'cfs-repo seal': () => repo('seal', scratch.store),
  'cfs-checkpoint prepare': () => mounted((path) => prepared(path, scratch.at('dump-1'))),
  'cfs-checkpoint restore-files': () =>
    mounted(async (path) => {
      const [dump, socket] = [scratch.at('dump-3'), scratch.at('restored')];
      await prepared(path, dump);
      const server = createServer().listen(socket);
      await once(server, 'listening');
      const result = await command('cfs-checkpoint', 'restore-files', '-D', dump, '--socket', socket, path);
      server.close();
      return result;
    }),
  'cfs-checkpoint cleanup': () =>
    mounted(async (path) => {
      await prepared(path, scratch.at('dump-4'));
      return command('cfs-checkpoint', 'cleanup', '-D', scratch.at('dump-4'), path);
    }),
  'cfs-checkpoint release': () => command('cfs-checkpoint', 'release', '-D', scratch.directory('no-dump')),
  'cfs-checkpoint check': () =>
    mounted(async (path) => {
      await prepared(path, scratch.at('dump-2'));
      return command('cfs-checkpoint', 'check', '-D', scratch.at('dump-2'), path);
    }),
  'compare-trees': () => output('compare-trees', [source, source]),
};

test('the table has exactly the commands that are run here', () => {
  expect(ROWS.map((row) => row.command)).toEqual(Object.keys(RUNS));
});

test.each(['cfs-info', 'cfs-repo', 'cfs-checkpoint'])('the table has each command of %s', async (tool) => {
  const { stdout } = await scratch.tool(tool, ['--help']);
  const list = /^Commands:\n((?: .*\n)+)/m.exec(stdout)?.[1] ?? '';
  const commands = [...list.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => `${tool} ${name}`);
  expect(commands.length).toBeGreaterThan(1);
  const known = [...ROWS.map((row) => row.command), ...DATA];
  expect(commands.filter((name) => !name.endsWith(' help') && !known.includes(name))).toEqual([]);
});

test.each(ROWS)('$command prints one $value with the keys of the table', async ({ command: name, value, keys }) => {
  const printed = await RUNS[name]?.();
  expect(Array.isArray(printed) ? 'array' : typeof printed).toBe(value);
  const objects = (Array.isArray(printed) ? printed : [printed]) as object[];
  expect(objects.length).toBeGreaterThan(0);
  for (const object of objects) expect(Object.keys(object)).toEqual(expect.arrayContaining([...keys]));
  expect(problemsOfOutput(name, printed)).toEqual([]);
});

test.each(['cfs-mkimage', 'cfs-mount', 'cfs-info', 'cfs-repo', 'cfs-checkpoint', 'compare-trees'])(
  'each command of %s with --json has a schema',
  async (tool) => {
    const definition = JSON.parse((await scratch.tool(tool, ['--definition'])).stdout) as CommandDefinition;
    const hasJson = ({ options }: CommandDefinition): boolean => options.some(({ long }) => long === '--json');
    const named = definition.commands.filter(hasJson).map(({ name }) => `${tool} ${name}`);
    const all = [...(hasJson(definition) ? [tool] : []), ...named];
    expect(all.length).toBeGreaterThan(0);
    expect(all.filter((name) => !Object.hasOwn(schemas, name))).toEqual([]);
  },
);

test('cfs-info schema prints each schema, and the same files are built', async () => {
  const { stdout } = await scratch.tool('cfs-info', ['schema']);
  const all = JSON.parse(stdout) as Record<string, unknown>;
  const commands = ROWS.map((row) => row.command).filter((name) => name !== 'compare-trees');
  expect(Object.keys(all).sort()).toEqual([...commands, 'error'].sort());
  for (const name of Object.keys(OUTPUTS)) {
    expect(all[name]).toEqual(schemaOf(name));
    const file = join(import.meta.dirname, '../../dist/share/cfs/schemas', `${schemaName(name)}.json`);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(schemaOf(name));
  }
  const one = await scratch.tool('cfs-info', ['schema', 'cfs-info', 'diff', '--stat']);
  expect(JSON.parse(one.stdout)).toEqual(schemaOf('cfs-info diff --stat'));
  const none = await scratch.tool('cfs-info', ['schema', 'cfs-info', 'stats', 'x']);
  expect(none).toMatchObject({ status: EXIT.usage, stdout: '' });
  expect(none.stderr).toBe('cfs-info: there is no schema of "cfs-info stats x" (did you mean cfs-info stats?)\n');
});

test('an error has a hint if there is a remedy', async () => {
  const { status, stdout, stderr } = await scratch.tool('cfs-repo', ['stat', '--json', scratch.at('nothing')]);
  const { error } = JSON.parse(stdout) as { error: Record<string, unknown> };
  expect(error).toMatchObject({ kind: 'store', status, message: expect.stringContaining('no such directory') });
  expect(error['hint']).toContain("'cfs-repo init DIR' makes a new, empty one.");
  expect(stderr).toBe(`cfs-repo: ${error['message']}. ${error['hint']}\n`);
});

test('an error is an object with kind, message and status', async () => {
  const { status, stdout } = await scratch.tool('cfs-info', ['id', '--json', scratch.at('nothing.cfs')]);
  expect(status).toBe(EXIT.image);
  const { error } = JSON.parse(stdout) as { error: object };
  expect(error).toMatchObject({ kind: 'image', status, message: expect.stringContaining('nothing.cfs') });
});
