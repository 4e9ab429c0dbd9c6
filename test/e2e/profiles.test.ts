/** What programs open first is recorded by a mount, pushed with the image, and fetched at once by the next mounts. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { blake3 } from '../../src/base/digest.ts';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { messageOf, objectsIn } from './cli.ts';
import { type Mounted, useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';
import { HERE, succeed } from './run.ts';
import { isAlive, until } from './system.ts';

const scratch = useScratch();
const random = new Random(5);
let nginx: Nginx;
let web: string;
let image: string;
let source: string;

beforeAll(async () => {
  source = scratch.directory('source');
  for (let i = 0; i < 40; i++) writeFileSync(join(source, `f${i}`), random.bytes(20_000));
  writeFileSync(join(source, 'new\nline'), random.bytes(3000));
  writeFileSync(join(source, 'large'), random.bytes(1_500_000));
  ({ image } = await scratch.pack(source, { image: scratch.at('app.cfs') }));
  web = scratch.directory('web');
  nginx = await Nginx.start(scratch, web);
  await push();
});

afterAll(async () => {
  await nginx?.stop();
});

async function push(...options: readonly string[]): Promise<Record<string, unknown>> {
  const { status, stdout } = await scratch.tool('cfs-repo', ['push', '--json', ...options, scratch.store, image, web]);
  expect(status).toBe(EXIT.ok);
  return JSON.parse(stdout) as Record<string, unknown>;
}

const mountWith = (...words: readonly string[]): Promise<Mounted> =>
  scratch.mount(image, { repos: [nginx.url], words });

const open = (mounted: Mounted, name: string) => succeed(HERE.command('sha256sum', mounted.at(name)));

test('a recorded profile makes the next mount fetch these objects at once', async () => {
  const profile = scratch.at('profile');
  const recording = await mountWith(`cache=${scratch.at('cache-1')}`, `record=${profile}`);
  for (const name of ['f30', 'new\nline', 'f30', 'large']) await open(recording, name);
  const recorded = 'cfs-profile 1\n/f30\n/new\\x0aline\n/large\n';
  await until('it is written', () => readFileSync(profile, 'utf8') === recorded);
  process.kill(recording.pid, 'SIGKILL');
  await until('the server is dead', () => !isAlive(recording.pid));
  await open(recording, 'f2');
  await recording.unmount();
  expect(readFileSync(profile, 'utf8')).toBe(`${recorded}/f2\n`);

  // a pack, and the map, the image and its name
  expect(await push('--profile', profile)).toMatchObject({ hot: 4, files: 4, reused: 39 });
  expect(await push('--profile', profile)).toMatchObject({ hot: 4, files: 2 });
  expect(await push()).toMatchObject({ hot: 4, files: 2 });
  const cache = scratch.at('cache-2');
  const mounted = await mountWith(`cache=${cache}`);
  const stats = async () => {
    const { stdout } = await scratch.tool('cfs-info', ['stats', '--json', mounted.path]);
    return JSON.parse(stdout) as { fetched: { prefetch: { state: string }; servers: { requests: number }[] } };
  };
  await until('it is done', async () => (await stats()).fetched.prefetch.state === 'done');
  // the map, the pack of small objects, and the large one
  expect((await stats()).fetched).toMatchObject({
    prefetch: { mode: 'hot', objects: 4, allObjects: 4 },
    servers: [{ requests: 3 }],
  });
  expect(objectsIn(join(cache, 'blake3'))).toHaveLength(4);
  const hex = toHex(blake3(readFileSync(join(source, 'new\nline'))));
  expect(existsSync(join(cache, 'blake3/objects', hex.slice(0, 2), hex.slice(2)))).toBe(true);
});

test('a file that is not a profile is refused', async () => {
  const refused = async (tool: 'cfs-repo' | 'cfs-mount', ...args: readonly string[]): Promise<string> =>
    messageOf(await scratch.tool(tool, args), EXIT.usage, tool);
  expect(await refused('cfs-repo', 'push', '--profile', image, scratch.store, image, web)).toContain('not a profile');
  const gone = scratch.at('gone');
  expect(await refused('cfs-repo', 'push', '--profile', gone, scratch.store, image, web)).toContain(`${gone}: no such`);
  const words = `record=${image}`;
  const before = readFileSync(image);
  expect(await refused('cfs-mount', '-o', words, image, scratch.directory('mnt'))).toContain(
    `${image} is not a profile`,
  );
  expect(readFileSync(image).equals(before)).toBe(true);
});
