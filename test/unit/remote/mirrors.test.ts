import { afterEach, beforeEach, expect, test } from 'vitest';
import { HttpClient } from '../../../src/remote/http-client.ts';
import { Mirrors, UnavailableError } from '../../../src/remote/mirrors.ts';
import { HostileServer } from '../../support/hostile-server.ts';

let first: HostileServer;
let second: HostileServer;
let client: HttpClient;
let mirrors: Mirrors;

beforeEach(async () => {
  [first, second] = [await HostileServer.start(), await HostileServer.start()];
  client = new HttpClient({ connections: 2 });
  mirrors = new Mirrors(client, [first.url(), second.url()]);
});

afterEach(async () => {
  await client.close();
  await first.stop();
  await second.stop();
});

const RIGHT = Buffer.from('right');
const fetch = (name: string, check?: (bytes: Buffer) => string | undefined) =>
  mirrors.fetch(name, { most: 1000, ...(check === undefined ? {} : { check }) });
const checkRight = (bytes: Buffer) => (bytes.equals(RIGHT) ? undefined : 'its content is corrupted');

test('the first server that has the file is enough', async () => {
  first.files.set('x', RIGHT);
  expect((await fetch('x')).bytes.equals(RIGHT)).toBe(true);
  expect(second.asked).toEqual([]);
});

test('a server that lacks a file is not held to have failed', async () => {
  second.files.set('x', RIGHT);
  first.files.set('y', RIGHT);
  await fetch('x');
  await fetch('y');
  expect([first.asked, second.asked]).toEqual([['x', 'y'], ['x']]);
});

test('after a failure, the other server is asked first', async () => {
  for (const server of [first, second]) server.files.set('y', RIGHT);
  second.files.set('broken', RIGHT);
  await fetch('broken');
  await fetch('y');
  expect([first.asked, second.asked]).toEqual([['broken'], ['broken', 'y']]);
});

test('wrong content is not taken', async () => {
  first.files.set('x', Buffer.from('wrong'));
  second.files.set('x', RIGHT);
  expect((await fetch('x', checkRight)).bytes.equals(RIGHT)).toBe(true);
  second.files.set('x', Buffer.from('wrong, too'));
  const error = await fetch('x', checkRight).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error).toMatchObject({ isAbsent: false, message: expect.stringContaining('x: its content is corrupted') });
});

test('what no server has is absent; it is asked for once', async () => {
  await expect(fetch('nothing')).rejects.toMatchObject({ isAbsent: true });
  expect([first.asked, second.asked]).toEqual([['nothing'], ['nothing']]);
});

test('servers that fail are asked twice; one that refuses is not', async () => {
  await second.stop();
  await expect(fetch('broken')).rejects.toMatchObject({ isAbsent: false });
  expect(first.asked).toEqual(['broken', 'broken']);
  await expect(fetch('forbidden')).rejects.toMatchObject({ isAbsent: false });
  expect(first.asked).toEqual(['broken', 'broken', 'forbidden']);
});

test('servers that do not answer, or are busy, are away; one that says anything else is not', async () => {
  await second.stop();
  const kindOf = async (name: string): Promise<unknown> =>
    ((await fetch(name).catch((error: unknown) => error)) as UnavailableError).kind;
  const kinds = [];
  for (const name of ['no-http', 'busy', 'forbidden', 'broken', 'cut-off', 'nothing']) kinds.push(await kindOf(name));
  expect(kinds).toEqual(['away', 'away', ...Array(4).fill('failed')]);
});

test('a server that answers the second time has not helped another one out', async () => {
  const told: unknown[] = [];
  const observer = {
    gave: (server: number, bytes: number, isSecond: boolean) => void told.push([server, bytes, isSecond]),
    failed: (server: number) => void told.push(server),
    retried: (server: number) => void told.push(`again ${server}`),
  };
  first.files.set('x', RIGHT);
  second.files.set('x', RIGHT);
  let requests = 0;
  first.answer = (_, __, response) => ++requests === 1 && response.writeHead(500).end() !== undefined;
  await new Mirrors(client, [first.url()], observer).fetch('x', { most: 1000 });
  expect(told.splice(0)).toEqual([0, 'again 0', [0, RIGHT.length, false]]);
  requests = 0;
  await new Mirrors(client, [first.url(), second.url()], observer).fetch('x', { most: 1000 });
  expect(told).toEqual([0, [1, RIGHT.length, true]]);
});

test('work that is stopped in a pause ends with the reason', async () => {
  const stopping = new AbortController();
  const reason = new Error('stopped');
  const check = (): string => {
    // it is looked at before the pause
    setImmediate(() => stopping.abort(reason));
    return 'its content is corrupted';
  };
  first.files.set('x', RIGHT);
  const alone = new Mirrors(client, [first.url()]);
  const error = await alone.fetch('x', { most: 1000, signal: stopping.signal, check }).catch((error: unknown) => error);
  expect(error).toBe(reason);
});
