import { writeFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clientOf } from '../../../src/mount/object-arrivals.ts';
import { HttpError } from '../../../src/remote/http-answer.ts';
import { HTTP_TIMES, HttpClient } from '../../../src/remote/http-client.ts';
import { CONTENT, HOSTILE, HostileServer } from '../../support/hostile-server.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();

let server: HostileServer;
let client: HttpClient;
/** For servers that are too slow. Its times are so short that only these may use it. */
let impatient: HttpClient;

beforeAll(async () => {
  server = await HostileServer.start();
  client = new HttpClient({ connections: 4, times: { ...HTTP_TIMES, headers: 60_000, deadline: 60_000 } });
  impatient = new HttpClient({ connections: 4, times: { connect: 500, headers: 500, deadline: 300, slowest: 1e9 } });
});

afterAll(async () => {
  await client.close();
  await impatient.close();
  await server.stop();
});

const RANGE = { from: 1000, length: 100 };
const most = CONTENT.length;

async function problemOf(work: Promise<unknown>): Promise<HttpError> {
  const error = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(HttpError);
  return error as HttpError;
}

test('gets a file, and a part of it', async () => {
  const whole = await client.get(server.url('good'), { most });
  expect(whole.bytes.equals(CONTENT)).toBe(true);
  const { bytes, total } = await client.get(server.url('good'), { range: RANGE, most });
  expect(bytes.equals(CONTENT.subarray(1000, 1100))).toBe(true);
  expect(total).toBe(CONTENT.length);
});

test('follows redirects', async () => {
  expect((await client.get(server.url('redirect-good'), { most })).bytes.equals(CONTENT)).toBe(true);
});

test('takes a part near the beginning from a server that gives no parts', async () => {
  for (const from of [0, 1000, CONTENT.length - 100]) {
    const { bytes } = await client.get(server.url('no-ranges'), { range: { from, length: 100 }, most });
    expect(bytes.equals(CONTENT.subarray(from, from + 100))).toBe(true);
    // nothing before it is kept in memory
    expect(bytes.buffer.byteLength).toBeLessThan(CONTENT.length);
  }
  for (const [from, problem] of [
    [CONTENT.length - 99, 'shorter than expected'],
    [CONTENT.length, 'shorter than expected'],
    [1e9, 'does not give parts'],
  ] as const) {
    const got = client.get(server.url('no-ranges'), { range: { from, length: 100 }, most });
    await expect(got).rejects.toThrow(problem);
  }
});

test('has time for what comes before the part', async () => {
  const times = { ...HTTP_TIMES, deadline: 0, slowest: 1000 };
  const slow = new HttpClient({ connections: 1, times });
  server.answer = (name, _, response) => {
    if (name !== 'late') return false;
    // later than a part of 100 bytes may be
    setTimeout(() => response.end(CONTENT), 1000);
    response.writeHead(200).flushHeaders();
    return true;
  };
  try {
    const { bytes } = await slow.get(server.url('late'), { range: { from: 200_000, length: 100 }, most });
    expect(bytes.equals(CONTENT.subarray(200_000, 200_100))).toBe(true);
  } finally {
    server.answer = () => false;
    await slow.close();
  }
});

const SLOW = ['slow-body', 'slow-headers', 'silent'];
const REASONS: Readonly<Record<string, readonly [problem: string, reason: string]>> = {
  'no-ranges': ['broken', 'does not give parts'],
  endless: ['broken', 'does not give parts'],
  'endless-part': ['broken', 'longer than expected'],
  'says-a-petabyte': ['broken', 'does not give parts'],
  'slow-body': ['broken', 'too slow'],
  'slow-headers': ['away', 'in time|too slow'],
  silent: ['away', 'in time|too slow'],
  'cut-off': ['broken', 'the connection was cut'],
  'another-part': ['broken', 'another part'],
  'no-part': ['broken', 'another part'],
  gzip: ['broken', 'content encoding gzip'],
  'redirect-elsewhere': ['broken', 'redirect from http: to ftp: is not followed'],
  'redirect-nowhere': ['broken', 'without a usable location|does not give parts|status 404'],
  'redirect-loop': ['broken', 'more than 4 redirects'],
  'redirect-good': ['broken', ''],
  'long-headers': ['away', 'too long'],
  'no-http': ['away', 'Parse|cut|HTTP'],
  forbidden: ['refused', 'status 403'],
  busy: ['later', 'status 503'],
  broken: ['broken', 'status 500'],
};

describe('a part of a file', () => {
  test.each(HOSTILE.filter((name) => name !== 'redirect-good'))('%s', async (name) => {
    const [problem, reason] = REASONS[name] as readonly [string, string];
    const asking = SLOW.includes(name) ? impatient : client;
    // of a whole file, a part near the beginning is taken
    const range = reason === 'does not give parts' ? { from: 1e9, length: 100 } : RANGE;
    const error = await problemOf(asking.get(server.url(name), { range, most }));
    if (name !== 'redirect-nowhere') expect(error.problem).toBe(problem);
    expect(error.message).toMatch(new RegExp(reason));
    expect(error.message).not.toContain('\n');
  });
});

test.each([
  ['endless', 'longer than expected'],
  ['says-a-petabyte', '1000000000000000 bytes are too many'],
  ['gzip', 'content encoding gzip'],
])('a whole file: %s', async (name, reason) => {
  expect((await problemOf(client.get(server.url(name), { most }))).message).toContain(reason);
});

test('a part behind the end is an error, and so is a longer file than expected', async () => {
  const part = client.get(server.url('good'), { range: { from: 299_950, length: 100 }, most });
  expect((await problemOf(part)).message).toContain('shorter than expected');
  const behind = client.get(server.url('good'), { range: { from: 400_000, length: 100 }, most });
  expect((await problemOf(behind)).message).toContain('shorter than expected');
  expect((await problemOf(client.get(server.url('good'), { most: 1000 }))).message).toContain('too many');
});

test('says when a busy server wants to be asked again', async () => {
  expect((await problemOf(client.get(server.url('busy'), { most }))).retryAfter).toBe(2000);
});

test('knows whether there is a file', async () => {
  expect(await client.has(server.url('good'))).toBe(true);
  expect(await client.has(server.url('nothing'))).toBe(false);
  expect((await problemOf(client.has(server.url('forbidden')))).problem).toBe('refused');
});

test('a server that is not there', async () => {
  expect((await problemOf(client.get(new URL('http://127.0.0.1:1/'), { most }))).message).toBe(
    'http://127.0.0.1:1/: connection refused',
  );
});

test('certificates are read at once', async () => {
  const file = at('certificates.pem');
  const make = (): HttpClient => new HttpClient({ connections: 1, cacert: file });
  expect(make).toThrow(`Cannot read certificates ${file}: `);
  writeFileSync(file, 'no certificate');
  expect(make).toThrow('it has no certificate in PEM');
  writeFileSync(file, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  expect(make).toThrow(`Cannot read certificates ${file}: `);

  // a mount that goes on without them says so
  const lines: string[] = [];
  const asking = clientOf({ cacert: file }, (line) => lines.push(line));
  expect((await asking.get(server.url('good'), { most })).bytes.length).toBe(most);
  await asking.close();
  expect(lines.join()).toMatch(/^Cannot read certificates .*: no certificates are trusted beside those of node$/);

  writeFileSync(file, rootCertificates.slice(0, 2).join('\n'));
  await make().close();
});

test('a signal ends a request', async () => {
  const signal = AbortSignal.abort(new Error('stop'));
  await expect(client.get(server.url('silent'), { most, signal })).rejects.toThrow('stop');
});

test('a server on the public network cannot send us to a private one', async () => {
  server.redirects.set('private-address', server.url('good').href);
  server.redirects.set('private-name', `http://localhost:${server.url().port}/good`);
  const ofPublic = new HttpClient({ connections: 1 }, (address) => asked.push(address) > 1);
  for (const name of ['private-address', 'private-name']) {
    asked.length = 0;
    const error = await problemOf(ofPublic.get(server.url(name), { most }));
    expect(error.message).toMatch(
      /redirect to (?:127\.0\.0\.1|localhost), which is on a private network, is not followed/,
    );
    expect((await client.get(server.url(name), { most })).bytes.equals(CONTENT)).toBe(true);
  }
  await ofPublic.close();
});

/** Addresses that were looked at: the first one, of the server that was asked, is taken for a public one. */
const asked: string[] = [];
