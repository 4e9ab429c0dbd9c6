/** Objects of an image are fetched one by one, from packs or as files, and verified. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { blake3 } from '../../../src/base/digest.ts';
import { HTTP_TIMES, HttpClient } from '../../../src/remote/http-client.ts';
import { LazyObjects, type LazyOptions } from '../../../src/remote/lazy-objects.ts';
import { mapName, objectFile } from '../../../src/remote/tree-names.ts';
import { ANSWERS, type Answer, HostileServer } from '../../support/hostile-server.ts';
import { Random } from '../../support/random.ts';
import { addFiles, addPacks, CONTENTS, digestOf, FIRST, ID, IMAGE, LARGE, Memory } from './object-fixture.ts';

const random = new Random(9);

let servers: HostileServer[];
let client: HttpClient;
let target: Memory;
let clock: number;
const lazily = (options: LazyOptions = {}) =>
  new LazyObjects(
    client,
    servers.map((server) => server.url()),
    IMAGE,
    target,
    { now: () => clock, ...options },
  );

beforeEach(async () => {
  servers = [await HostileServer.start()];
  client = new HttpClient({ connections: 4, times: { ...HTTP_TIMES, headers: 2000, deadline: 2000 } });
  target = new Memory();
  clock = 0;
});

afterEach(async () => {
  await client.close();
  for (const server of servers) await server.stop();
});

describe.each([
  ['files', async (server: HostileServer) => addFiles(server)],
  ['packs', addPacks],
])('from %s', (kind, add) => {
  const rows = CONTENTS.map((_, row) => row);

  test('every object arrives', async () => {
    const [server] = servers as [HostileServer];
    await add(server);
    const objects = lazily();
    expect(await Promise.all(rows.map((row) => objects.fetch(row)))).toEqual(rows.map(() => undefined));
    expect(rows.every((row) => target.has(row))).toBe(true);
    expect(server.asked.filter((name) => name.startsWith('maps/'))).toEqual([mapName(ID)]);
  });

  test.each(['no-ranges', 'endless', 'silent', 'cut-off', 'another-part', 'gzip', 'busy', 'broken', 'wrong'])(
    'a server that answers as "%s" gives no wrong object, and another one is asked',
    async (name) => {
      const good = await HostileServer.start();
      servers.push(good);
      await add(good);
      const [bad] = servers as [HostileServer];
      await add(bad);
      const wrong: Answer = (request, response) =>
        void response
          .writeHead(206, { 'content-range': `${request.headers.range?.replace('=', ' ')}/9999999` })
          .end(Buffer.alloc(Number(request.headers.range?.split('-')[1] ?? 99) - partFrom(request.headers.range) + 1));
      const answer = name === 'wrong' ? wrong : (ANSWERS[name] as Answer);
      bad.answer = (asked, request, response) => {
        if (asked.startsWith('maps/')) return false;
        answer(request, response);
        return true;
      };
      const gave: number[] = [];
      const observer = {
        gave: (server: number) => void gave.push(server),
        failed: () => undefined,
        retried: () => undefined,
      };
      const objects = lazily({ observer });
      expect(await objects.fetch(FIRST)).toBeUndefined();
      expect(await objects.fetch(LARGE)).toBeUndefined();
      expect([target.has(FIRST), target.has(LARGE)]).toEqual([true, true]);
      for (const digest of target.stored.keys()) {
        expect(CONTENTS.map((content) => toHex(blake3(content)))).toContain(digest);
      }
      expect(gave.at(-1)).toBe(1);
    },
  );

  test('one that is nowhere is not a failure of the servers', async () => {
    const [server] = servers as [HostileServer];
    if (kind === 'packs') await add(server);
    for (const name of [...server.files.keys()]) if (!name.startsWith('maps/')) server.files.delete(name);
    const objects = lazily();
    expect((await objects.fetch(FIRST))?.kind).toBe('absent');
    await add(server);
    expect(await objects.fetch(FIRST)).toBeUndefined();
  });
});

const partFrom = (range: string | undefined): number => Number(/\d+/.exec(range ?? '0')?.[0]);

test('of readers of one frame, one asks', async () => {
  const [server] = servers as [HostileServer];
  await addPacks(server);
  const objects = lazily();
  expect(await Promise.all([0, 1, 2, 1, 0].map((row) => objects.fetch(row)))).toEqual(Array(5).fill(undefined));
  expect(server.asked.map((name) => name.split('/')[0])).toEqual(['maps', 'packs']);
});

test('small objects that came along are stored', async () => {
  await addPacks(servers[0] as HostileServer);
  await lazily().fetch(FIRST);
  expect([target.has(1), target.has(2), target.has(3)]).toEqual([true, true, false]);
});

test('a server that is away is asked again after 1 s, 2 s and so on, and at once when it has answered', async () => {
  const [server] = servers as [HostileServer];
  server.answer = (_, { socket }) => socket.destroy() !== undefined;
  const objects = lazily();
  const asked = async (): Promise<boolean> => {
    const before = server.asked.length;
    const failure = await objects.fetch(FIRST);
    expect(failure?.kind).toBe('away');
    return server.asked.length > before;
  };
  expect(await asked()).toBe(true);
  for (const seconds of [1, 2, 4]) {
    clock += seconds * 1000 - 1;
    expect(await asked()).toBe(false);
    clock += 1;
    expect(await asked()).toBe(true);
  }
  addFiles(server);
  server.answer = () => false;
  clock += 8000;
  expect(await objects.fetch(FIRST)).toBeUndefined();
  expect(await objects.fetch(1)).toBeUndefined();
});

test.each(['forbidden', 'broken', 'cut-off', 'another-part'])(
  'a server that answers as "%s" is asked for the next object at once',
  async (name) => {
    const [server] = servers as [HostileServer];
    addFiles(server);
    const isBad = (asked: string): boolean => asked === objectFile(digestOf(FIRST));
    server.answer = (asked, request, response) => isBad(asked) && ANSWERS[name]?.(request, response) === undefined;
    const objects = lazily();
    expect((await objects.fetch(FIRST))?.kind).toBe('failed');
    expect(await objects.fetch(LARGE)).toBeUndefined();
  },
);

test('of many readers of a server that is away, those that wait for their turn do not ask', async () => {
  const [server] = servers as [HostileServer];
  server.answer = (name, { socket }) => name.startsWith('objects/') && socket.destroy() !== undefined;
  const READERS = 100;
  const image = { ...IMAGE, digests: random.bytes(READERS * 32), sizes: new Float64Array(READERS).fill(10) };
  const objects = new LazyObjects(client, [server.url()], image, target, { now: () => clock });
  const failures = await Promise.all(Array.from({ length: READERS }, (_, row) => objects.fetch(row)));
  expect(failures.map((failure) => failure?.kind)).toEqual(Array(READERS).fill('away'));
  // the map, and as many objects as are asked for at the same time
  expect(new Set(server.asked).size).toBe(33);
});

test('an image that is pushed while it is mounted is found', async () => {
  const [server] = servers as [HostileServer];
  const objects = lazily();
  const maps = (): number => server.asked.filter((name) => name === mapName(ID)).length;
  const rows = [FIRST, 1, LARGE];
  const kinds = async () => (await Promise.all(rows.map((row) => objects.fetch(row)))).map((failure) => failure?.kind);
  expect(await kinds()).toEqual(['absent', 'absent', 'absent']);
  clock += 4999;
  expect(await kinds()).toEqual(['absent', 'absent', 'absent']);
  expect(maps()).toBe(1);
  clock += 1;
  // all readers together ask for the map once more
  expect(await kinds()).toEqual(['absent', 'absent', 'absent']);
  expect(maps()).toBe(2);
  await addPacks(server);
  clock += 5000;
  expect(await kinds()).toEqual([undefined, undefined, undefined]);
  expect(maps()).toBe(3);
});

test('a map that leads to other objects gives none', async () => {
  const [server] = servers as [HostileServer];
  await addPacks(server);
  for (const [name, file] of server.files)
    if (name.startsWith('packs/')) server.files.set(name, Buffer.alloc(file.length, 1));
  const objects = lazily();
  expect((await objects.fetch(FIRST))?.kind).toBe('wrong');
  expect((await objects.fetch(LARGE))?.kind).toBe('wrong');
  expect(target.stored.size).toBe(0);
});
