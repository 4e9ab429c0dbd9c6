/**
 * HTTP requests to servers that are not trusted: what they may send is bounded in size and in time, and redirects are
 * followed by rules. Contents are verified by the caller.
 */
import { lookup as lookupHost } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { rootCertificates } from 'node:tls';
import { Agent, request } from 'undici';
import { oneLine } from '../base/bytes.ts';
import { readCertificates } from './certificates.ts';
import {
  type Answer,
  type ByteRange,
  broken,
  checkStatus,
  dismiss,
  HttpError,
  type Received,
  receive,
  skippedOf,
} from './http-answer.ts';
import { isPrivateAddress } from './private-address.ts';

/** Limits of time. All in milliseconds. */
export interface HttpTimes {
  readonly connect: number;
  /** From the request to the answer's headers. */
  readonly headers: number;
  /** For a request as a whole: `deadline`, and the time of its bytes at `slowest` bytes a second. */
  readonly deadline: number;
  readonly slowest: number;
}

export const HTTP_TIMES: HttpTimes = { connect: 3000, headers: 4000, deadline: 10_000, slowest: 32_768 };

export interface HttpOptions {
  /** Connections to one server. */
  readonly connections: number;
  /** A file of certificates in PEM that are trusted beside those of node. */
  readonly cacert?: string | undefined;
  readonly times?: HttpTimes;
}

/** Milliseconds. */
const TICK = 100;
const REDIRECTS = 4;
const REDIRECT_STATUS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const HEADER_BYTES = 32_768;
/** Keeps connections. Call `close` at the end. */
export class HttpClient {
  readonly #times: HttpTimes;
  readonly #agents: { readonly any: Agent; readonly public: Agent };
  readonly #isPrivate: IsPrivate;

  /**
   * @param isPrivate for tests
   * @throws CfsError (usage) if `cacert` cannot be read
   */
  constructor(
    { connections, cacert, times = HTTP_TIMES }: HttpOptions,
    isPrivate: IsPrivate = (address) => isPrivateAddress(address),
  ) {
    this.#times = times;
    this.#isPrivate = isPrivate;
    const ca = cacert === undefined ? {} : { ca: [...rootCertificates, readCertificates(cacert)] };
    const agent = (lookup: LookupFunction | undefined): Agent =>
      new Agent({
        connections,
        pipelining: 1,
        connect: { timeout: times.connect, ...ca, ...(lookup === undefined ? {} : { lookup }) },
        headersTimeout: times.headers,
        bodyTimeout: times.deadline,
        maxHeaderSize: HEADER_BYTES,
      });
    this.#agents = { any: agent(undefined), public: agent(publicLookup(isPrivate)) };
  }

  /**
   * Gets a file, or a part of it.
   * @param most a longer answer is refused
   * @throws HttpError; the reason of the signal
   */
  async get(url: URL, { range, most, signal }: GetOptions): Promise<Received> {
    const headers = {
      'accept-encoding': 'identity',
      ...(range === undefined ? {} : { range: `bytes=${range.from}-${range.from + range.length - 1}` }),
    };
    const limit = range?.length ?? most;
    return await this.#timed(url, limit, signal, async (signal, progress) => {
      const { answer, from } = await this.#follow(url, headers, signal);
      progress.isAnswered = true;
      progress.expect(skippedOf(answer, range));
      try {
        return await receive(from, answer, range, limit);
      } finally {
        dismiss(answer);
      }
    });
  }

  /** Whether there is a file; asked by one byte of it, because some servers refuse HEAD. @throws as `get` */
  async has(url: URL, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.get(url, { range: { from: 0, length: 1 }, most: 1, signal });
      return true;
    } catch (error) {
      if (error instanceof HttpError && error.problem === 'absent') return false;
      throw error;
    }
  }

  /** Makes a file, or replaces it. @throws as `get` */
  async put(url: URL, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#timed(url, bytes.length, signal, async (signal) => {
      const answer = await send(this.#agents.any, url, { method: 'PUT', body: bytes, signal });
      dismiss(answer);
      checkStatus(url, answer, [200, 201, 204]);
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.#agents.any.destroy(), this.#agents.public.destroy()]);
  }

  /** A body of a byte a second is never too late for undici: it gets a limit as a whole. */
  async #timed<T>(
    url: URL,
    bytes: number,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal, progress: Progress) => Promise<T>,
  ): Promise<T> {
    const { deadline, slowest } = this.#times;
    const late = new AbortController();
    // counted in ticks, of which none is added while this thread does something else, such as wait for its disk
    let left = Math.ceil((deadline + (bytes * 1000) / slowest) / TICK);
    const progress: Progress = {
      isAnswered: false,
      expect: (more) => {
        left += Math.ceil((more * 1000) / slowest / TICK);
      },
    };
    const timer = setInterval(() => --left < 0 && late.abort(), TICK);
    try {
      return await work(signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]), progress);
    } catch (error) {
      signal?.throwIfAborted();
      if (late.signal.aborted) {
        throw new HttpError(progress.isAnswered ? 'broken' : 'away', `${url}: it is too slow`);
      }
      throw error;
    } finally {
      clearInterval(timer);
    }
  }

  /** Follows redirects. A server on the public network cannot send us to one of a private network. */
  async #follow(
    url: URL,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<{ readonly answer: Answer; readonly from: URL }> {
    let from = url;
    let mayBePrivate: boolean | undefined;
    for (let count = 0; ; count++) {
      const agent = count === 0 || mayBePrivate === true ? this.#agents.any : this.#agents.public;
      const answer = await send(agent, from, { method: 'GET', headers, signal });
      if (!REDIRECT_STATUS.has(answer.statusCode)) return { answer, from };
      dismiss(answer);
      if (count === REDIRECTS) throw new HttpError('broken', `${url}: more than ${REDIRECTS} redirects`);
      const to = redirectOf(from, answer);
      mayBePrivate ??= await isPrivateHost(url, this.#isPrivate);
      if (!mayBePrivate && isIP(hostOf(to)) !== 0 && this.#isPrivate(hostOf(to))) throw notPrivate(hostOf(to));
      from = to;
    }
  }
}

/** Of a request. */
interface Progress {
  /** The headers of the answer are there. */
  isAnswered: boolean;
  /** Adds the time of so many bytes. */
  expect(more: number): void;
}

export interface GetOptions {
  readonly range?: ByteRange | undefined;
  readonly most: number;
  readonly signal?: AbortSignal | undefined;
}

async function send(
  dispatcher: Agent,
  url: URL,
  options: {
    readonly method: 'GET' | 'PUT';
    readonly headers?: Record<string, string>;
    readonly body?: Uint8Array;
    readonly signal: AbortSignal;
  },
): Promise<Answer> {
  try {
    return await request(url, { dispatcher, ...options });
  } catch (error) {
    throw broken(url, error, 'away');
  }
}

const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, '');

function redirectOf(from: URL, { statusCode, headers }: Answer): URL {
  const { location } = headers;
  let to: URL;
  try {
    to = new URL(String(location), from);
  } catch {
    throw new HttpError('broken', `${from}: redirect ${statusCode} without a usable location`);
  }
  if (to.protocol !== from.protocol && to.protocol !== 'https:') {
    throw new HttpError('broken', `${from}: redirect from ${from.protocol} to ${to.protocol} is not followed`);
  }
  return to;
}

const notPrivate = (host: string): HttpError =>
  new HttpError('broken', `redirect to ${oneLine(host)}, which is on a private network, is not followed`);

type IsPrivate = (address: string) => boolean;

async function isPrivateHost(url: URL, isPrivate: IsPrivate): Promise<boolean> {
  const host = hostOf(url);
  if (isIP(host) !== 0) return isPrivate(host);
  return await new Promise((resolve) => {
    lookupHost(host, { all: true }, (error, addresses) =>
      resolve(error === null && addresses.every(({ address }) => isPrivate(address))),
    );
  });
}

/** Looks a host up at the time of the connection, so that its name cannot mean something else a moment later. */
const publicLookup =
  (isPrivate: IsPrivate): LookupFunction =>
  (host, options, callback) => {
    lookupHost(host, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '');
      const found = addresses.find(({ address }) => !isPrivate(address));
      if (found === undefined) return callback(notPrivate(host), '');
      if (options.all === true) return callback(null, [found]);
      callback(null, found.address, found.family);
    });
  };
