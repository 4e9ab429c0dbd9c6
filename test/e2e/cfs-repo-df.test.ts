/** `cfs-repo df`: the space of images. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { useScratch } from './harness.ts';
import { HERE, succeed } from './run.ts';

const scratch = useScratch();
let store: string;
let older: string;
let newer: string;

const df = (...args: readonly string[]) => scratch.tool('cfs-repo', ['df', ...args, store]);

interface Amount {
  readonly objects: number;
  readonly bytes: number;
  readonly diskBytes: number;
}

interface Report {
  readonly images: readonly {
    readonly id: string;
    readonly total: Amount;
    readonly unique: Amount;
    readonly shared: Amount;
    readonly freed: Amount;
    readonly mounted: boolean;
    readonly fileBytes?: number;
    readonly paths: readonly { readonly path: string; readonly state: string }[];
  }[];
  readonly sum: Amount;
  readonly together: Amount;
  readonly unused: Amount;
}

const report = async (): Promise<Report> => JSON.parse((await df('--json')).stdout) as Report;

/** What the tool writes on a terminal of this width. */
async function onTerminal(
  columns: number,
  environment: Readonly<Record<string, string>> = {},
  ...options: readonly string[]
): Promise<string> {
  const words = HERE.tool('cfs-repo', ['df', ...options, store]);
  const variables = Object.entries({ TERM: 'xterm', ...environment }).map(([name, value]) => `${name}=${value}`);
  const line = [...variables, ...words.map((word) => `'${word}'`)].join(' ');
  return succeed(['script', '-qec', `stty cols ${columns}; env ${line}`, '/dev/null']);
}

beforeAll(async () => {
  const random = new Random(11);
  const source = scratch.directory('source');
  mkdirSync(join(source, 'd'));
  for (let i = 0; i < 10; i++) writeFileSync(join(source, 'd', `f${i}`), random.bytes(10_000));
  writeFileSync(join(source, 'inline'), 'short');
  ({ image: older } = await scratch.pack(source));
  for (let i = 0; i < 4; i++) writeFileSync(join(source, `new${i}`), random.bytes(20_000));
  rmSync(join(source, 'd/f0'));
  ({ image: newer } = await scratch.pack(source));
  ({ store } = scratch);
});

test('lists images, the one with the most unique bytes first', async () => {
  const { stdout, stderr, status } = await df();
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  const [first, second] = (await report()).images.map(({ id }) => id);
  expect(stdout.replaceAll(/ \(\d+ [kM]B on disk\)/g, ' (N on disk)')).toBe(
    `${'image'.padEnd(64)}  objects  total   unique   shared   gc frees  path
${first}  13       170 kB  80.0 kB  90.0 kB  80.0 kB   ${newer}
${second}  10       100 kB  10.0 kB  90.0 kB  10.0 kB   ${older}

together    14 objects, 180 kB (N on disk) instead of 270 kB: 1.5 x
unused      0 objects, 0 B (0 B on disk)
`,
  );
});

test('counts the file of an image, which has the short contents, apart', async () => {
  const { images, sum, together } = await report();
  expect(images[0]).toMatchObject({
    shared: { objects: 9, bytes: 90_000 },
    mounted: false,
    fileBytes: expect.any(Number),
  });
  expect(sum).toMatchObject({ objects: 23, bytes: 270_000 });
  expect(together).toMatchObject({ objects: 14, bytes: 180_000 });
  // blocks are whole
  expect(together.diskBytes).toBeGreaterThan(together.bytes);
});

test('shows bars and short ids on a terminal that is wide enough, and colours unless NO_COLOR is set', async () => {
  const id = ((await report()).images[0]?.id ?? '').slice(0, 12);
  const wide = await onTerminal(200);
  expect(wide).toContain('# unique . shared');
  expect(wide).toContain(`${id}  13 `);
  expect(wide).toContain(`\x1b[36m${'#'.repeat(11)}\x1b[39m\x1b[2m${'.'.repeat(13)}\x1b[22m`);
  expect(await onTerminal(200, { NO_COLOR: '1' })).toContain(`  ${'#'.repeat(11)}${'.'.repeat(13)}  ${newer}`);
  const narrow = await onTerminal(60);
  expect(narrow).not.toContain('#');
  expect(narrow).toContain(`${id}  13 `);
  const [image] = (await report()).images;
  expect(await onTerminal(200, {}, '--no-trunc')).toContain(`${image?.id}  13 `);
});

test('gc frees nothing that a mount needs', async () => {
  const mounted = await scratch.mount(newer);
  expect((await report()).images[0]).toMatchObject({ mounted: true, freed: { objects: 0 }, unique: { objects: 4 } });
  expect((await df()).stdout).toMatch(/ 80\.0 kB {2}90\.0 kB {2}mounted {3}/);
  await mounted.unmount();
  expect((await report()).images[0]).toMatchObject({ mounted: false, freed: { objects: 4 } });
});

test('knows an image whose file is gone, and what gc then frees', async () => {
  rmSync(newer);
  const [image] = (await report()).images;
  expect(image).toMatchObject({ total: { objects: 13 }, paths: [{ path: newer, state: 'gone' }] });
  expect(image).not.toHaveProperty('fileBytes');
  expect((await df()).stdout).toContain(`${newer} (gone)`);
  await scratch.tool('cfs-repo', ['unregister', '--gone', store]);
  expect(await report()).toMatchObject({ images: [{ unique: { objects: 10 } }], unused: image?.freed });
  expect((await df()).stdout).toMatch(/^unused {6}4 objects, .*: no image needs them; 'cfs-repo gc' deletes them$/m);
  const gc = await scratch.tool('cfs-repo', ['gc', '--json', '--min-age', '0', store]);
  expect(JSON.parse(gc.stdout)).toMatchObject({ freed: image?.freed });
});

test('reports a damaged list, and counts the others', async () => {
  const { id } = (await report()).images[0] as { id: string };
  const root = join(store, 'roots', id);
  rmSync(root);
  writeFileSync(root, 'damaged');
  const { stdout, stderr, status } = await df();
  expect(status).toBe(EXIT.found);
  expect(stderr).toContain(`cfs-repo: ${root} is malformed`);
  expect(stdout).toMatch(/^together {4}0 objects.*\nunused {6}10 objects/);
});

test('an unknown --color, and a directory that is not a repository, are one line', async () => {
  expect(await df('--color=sometimes')).toMatchObject({
    status: EXIT.usage,
    stderr: 'cfs-repo: --color takes auto, always, never, not "sometimes"\n',
  });
  const { status, stderr } = await scratch.tool('cfs-repo', ['df', scratch.directory('none')]);
  expect(status).toBe(EXIT.store);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});
