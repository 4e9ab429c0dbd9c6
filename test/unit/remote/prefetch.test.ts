/** Objects are fetched before someone asks for them: which, in which order, and when that stops. */
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { planAhead } from '../../../src/remote/fetch-plan.ts';
import { HTTP_TIMES, HttpClient } from '../../../src/remote/http-client.ts';
import { type KnownObjects, LazyObjects } from '../../../src/remote/lazy-objects.ts';
import type { ObjectMap } from '../../../src/remote/map-format.ts';
import {
  Prefetch,
  type PrefetchOptions,
  type PrefetchOrigin,
  type PrefetchState,
} from '../../../src/remote/prefetch.ts';
import { ANSWERS, giveFile, HostileServer } from '../../support/hostile-server.ts';
import { until } from '../../support/until.ts';
import { addFiles, addPacks, CONTENTS, FIRST, IMAGE, LARGE, Memory } from './object-fixture.ts';

let servers: HostileServer[];
let client: HttpClient;
let target: Memory;
let prefetch: Prefetch;
let origins: LazyObjects[];
let states: PrefetchState[];
let total: readonly [number, number];
let there: number;

beforeEach(async () => {
  servers = [await HostileServer.start()];
  client = new HttpClient({ connections: 4, times: { ...HTTP_TIMES, headers: 2000, deadline: 2000 } });
  target = new Memory();
  [states, total, there] = [[], [0, 0], 0];
});

afterEach(async () => {
  await prefetch.end();
  await client.close();
  for (const server of servers) await server.stop();
});

const options: PrefetchOptions = {
  mode: 'all',
  sizes: IMAGE.sizes,
  isThere: (row) => target.has(row),
  whyFull: async () => undefined,
  isOfFullDisk: (error) => (error as Error).message === 'full',
  onTotal: (...all) => {
    total = all;
  },
  onThere: () => {
    there++;
  },
  onState: (state) => {
    if (states.at(-1) !== state) states.push(state);
  },
  pause: 10,
};

function begin(others: Partial<PrefetchOptions> = {}): Promise<void> {
  origins = servers.map((server) => {
    const onStored = (row: number): void => prefetch.stored(row);
    return new LazyObjects(client, [server.url()], IMAGE, target, { onStored });
  });
  prefetch = new Prefetch(origins, { ...options, ...others });
  return prefetch.run();
}

const allBytes = IMAGE.sizes.reduce((sum, size) => sum + size, 0);
const kinds = (server: HostileServer | undefined): string[] => (server?.asked ?? []).map((name) => name.slice(0, 4));

describe.each([
  // the first request for a pack is short: how fast the link is, is not known
  ['packs', addPacks, ['maps', 'pack', 'pack', 'pack']],
  ['files', async (server: HostileServer) => addFiles(server), ['maps', ...CONTENTS.map(() => 'obje')]],
])('from %s', (_, add, expected) => {
  test('all objects come, by few requests', async () => {
    await add(servers[0] as HostileServer);
    await begin();
    expect(states).toEqual(['looking', 'running', 'done']);
    expect([total, there]).toEqual([[CONTENTS.length, allBytes], CONTENTS.length]);
    expect(CONTENTS.every((_, row) => target.has(row))).toBe(true);
    expect(kinds(servers[0])).toEqual(expected);
  });

  test('what is there is not asked for', async () => {
    await add(servers[0] as HostileServer);
    for (const [row, content] of CONTENTS.entries()) if (row !== FIRST) target.putBytes(content);
    await begin();
    expect([states.at(-1), there]).toEqual(['done', CONTENTS.length]);
    expect(kinds(servers[0])).toEqual(expected.slice(0, 2));
    expect(target.has(FIRST)).toBe(true);
  });
});

test('of the hot objects, each comes, and no other one but those of their frames', async () => {
  await addPacks(servers[0] as HostileServer, [LARGE, FIRST]);
  await begin({ mode: 'hot' });
  expect([states.at(-1), there]).toEqual(['done', 2]);
  expect(total).toEqual([2, 1_200_100]);
  expect(CONTENTS.map((_, row) => target.has(row))).toEqual([true, false, false, false, true]);
});

test('without hot objects nothing but the map is asked for; and nothing if all is there', async () => {
  await addPacks(servers[0] as HostileServer);
  await begin({ mode: 'hot' });
  expect(states).toEqual(['looking', 'done']);
  expect(kinds(servers[0])).toEqual(['maps']);
  await begin({ mode: 'hot', isThere: () => true });
  expect(kinds(servers[0])).toEqual(['maps']);
});

test('it waits for servers that do not answer, and goes on when they do', async () => {
  const [server] = servers as [HostileServer];
  await addPacks(server);
  server.answer = (name, { socket }) => name.startsWith('packs/') && socket.destroy() !== undefined;
  const done = begin();
  await until('it waits', () => states.at(-1) === 'waiting');
  // readers ask all the same
  const before = server.asked.length;
  expect((await origins[0]?.fetch(FIRST))?.kind).toBe('away');
  expect(server.asked.length).toBeGreaterThan(before);
  server.answer = () => false;
  await done;
  expect([states.at(-1), there]).toEqual(['done', CONTENTS.length]);
});

test('what one repository does not have comes from the next one', async () => {
  servers.push(await HostileServer.start());
  await addPacks(servers[1] as HostileServer);
  await begin();
  expect([states.at(-1), there]).toEqual(['done', CONTENTS.length]);
});

test.each(['forbidden', 'broken', 'wrong'])('objects of a server that answers as "%s" are given up', async (name) => {
  const [server] = servers as [HostileServer];
  await addPacks(server);
  server.answer = (asked, request, response) => {
    if (!asked.startsWith('packs/') || server.files.get(asked)?.length !== LARGE_PACK(server)) return false;
    if (name === 'wrong') giveFile(request, response, Buffer.alloc(LARGE_PACK(server)));
    else ANSWERS[name]?.(request, response);
    return true;
  };
  await begin();
  expect([states.at(-1), there, target.has(LARGE)]).toEqual(['incomplete', CONTENTS.length - 1, false]);
});

test.each([
  [1, 'done'],
  [1000, 'incomplete'],
] as const)('a map that a server does not give %i times: %s', async (times, state) => {
  const [server] = servers as [HostileServer];
  await addPacks(server, [FIRST]);
  let asked = 0;
  // each request is repeated once
  server.answer = (name, request, response) => {
    if (!name.startsWith('maps/') || ++asked > 2 * times) return false;
    ANSWERS['broken']?.(request, response);
    return true;
  };
  await begin({ mode: 'hot' });
  expect([states.at(-1), target.has(FIRST)]).toEqual([state, state === 'done']);
});

const LARGE_PACK = ({ files }: HostileServer): number => Math.max(...[...files.values()].map(({ length }) => length));

test.each(['cache-full', 'disk-full'] as const)('it stops if the reason is %s', async (state) => {
  await addPacks(servers[0] as HostileServer);
  await begin({ whyFull: async (bytes) => (bytes > 1_000_000 ? state : undefined) });
  expect([states.at(-1), target.has(LARGE)]).toEqual([state, false]);
});

test('a disk that becomes full ends it; another problem is reported', async () => {
  await addPacks(servers[0] as HostileServer);
  let message = 'full';
  target.putBytes = () => {
    throw new Error(message);
  };
  await begin();
  expect(states.at(-1)).toBe('disk-full');
  message = 'refused';
  await expect(begin()).rejects.toThrow('refused');
  expect(states.at(-1)).toBe('failed');
});

/** Requests for packs that are not answered until `release`. */
function hold(server: HostileServer): { readonly held: string[]; release(): void } {
  const held: string[] = [];
  let answers: (() => void)[] = [];
  server.answer = (name, request, response) => {
    if (!name.startsWith('packs/')) return false;
    held.push(name);
    answers.push(() => giveFile(request, response, server.files.get(name) as Buffer));
    return true;
  };
  const release = (): void => {
    server.answer = () => false;
    for (const answer of answers) answer();
    answers = [];
  };
  return { held, release };
}

test('a reader waits for the request under way that has its object, and for no other one', async () => {
  const [server] = servers as [HostileServer];
  await addPacks(server, [LARGE]);
  const { held, release } = hold(server);
  const done = begin({ mode: 'hot' });
  await until('the large object is asked for', () => held.length === 1);
  const reader = origins[0]?.fetch(LARGE);
  const other = origins[0]?.fetch(FIRST);
  await until('the other reader asks', () => held.length === 2);
  release();
  expect(await Promise.all([reader, other])).toEqual([undefined, undefined]);
  await done;
  // the large object was asked for once
  expect(held).toHaveLength(2);
  expect(server.asked).toHaveLength(3);
});

test('what a reader is fetching is not asked for again', async () => {
  const [server] = servers as [HostileServer];
  await addPacks(server, [LARGE]);
  const { held, release } = hold(server);
  await begin({ mode: 'hot', isThere: () => true });
  const [objects] = origins as [LazyObjects];
  const reader = objects.fetch(LARGE);
  await until('the reader asks', () => held.length === 1);
  prefetch = new Prefetch(origins, { ...options, mode: 'hot' });
  const done = prefetch.run();
  await until('its turn has come', () => total[0] === 1);
  release();
  expect(await reader).toBeUndefined();
  await done;
  expect([held.length, states.at(-1), there]).toEqual([1, 'done', 1]);
});

test('while readers wait, one request ahead goes on; otherwise four', async () => {
  const rows = 40;
  let [now, most] = [0, 0];
  let release = (): void => undefined;
  const readers = new Promise<void>((resolve) => {
    release = resolve;
  });
  const taken: number[] = [];
  const fetchAhead: KnownObjects['fetchAhead'] = async (task) => {
    most = Math.max(most, ++now);
    await setImmediate();
    now--;
    taken.push(...task.rows);
    if (taken.length === rows / 2) {
      expect(most).toBe(1);
      release();
    }
    for (const row of task.rows) prefetch.stored(row);
    return [];
  };
  const settled = async (): Promise<void> => undefined;
  const origin: PrefetchOrigin = { settled, idle: () => readers, known: async () => ({ map: undefined, fetchAhead }) };
  prefetch = new Prefetch([origin], { ...options, sizes: new Float64Array(rows).fill(10), isThere: () => false });
  await prefetch.run();
  expect([states.at(-1), most, there]).toEqual(['done', 4, rows]);
  expect(new Set(taken).size).toBe(rows);
});

test('it ends at once, and leaves nothing under way', async () => {
  const [server] = servers as [HostileServer];
  await addPacks(server);
  const { held } = hold(server);
  const done = begin();
  await until('it asks', () => held.length === 2);
  await prefetch.end();
  await done;
  expect(states).toEqual(['looking', 'running']);
});

test('the plan: in the given order first, then as the packs lie', () => {
  const column = (...values: number[]): Uint32Array => Uint32Array.from(values);
  const map: ObjectMap = {
    hash: 'blake3',
    image: new Uint8Array(32),
    packs: [],
    // two packs of two frames each
    frames: {
      pack: column(0, 0, 1, 1),
      offset: column(0, 1000, 0, 1000),
      stored: column(1000, 1000, 1000, 1000),
      raw: column(1000, 1000, 1000, 1000),
    },
    frameOf: column(0, 1, 2, 3),
    offsetOf: column(0, 0, 0, 0),
    hot: column(),
  };
  const sizes = new Float64Array(4).fill(1000);
  const plan = (order: readonly number[], most: number) =>
    planAhead(map, sizes, [0, 1, 2, 3], order, { ordered: most, others: 2000 }).map(({ rows }) => rows);
  expect(plan([], 1000)).toEqual([
    [0, 1],
    [2, 3],
  ]);
  expect(plan([3, 0, 3, 9], 1000)).toEqual([[3], [0], [1], [2]]);
  expect(plan([2, 3], 2000)).toEqual([
    [2, 3],
    [0, 1],
  ]);
  // as many objects as arguments of a call cannot be
  const many = Array.from({ length: 500_000 }, (_, row) => row);
  const inOne: ObjectMap = { ...map, frameOf: new Uint32Array(many.length), offsetOf: new Uint32Array(many.length) };
  const small = new Float64Array(many.length).fill(10);
  expect(planAhead(inOne, small, many, many, { ordered: 1000, others: 2000 })[0]?.rows).toHaveLength(many.length);
});
