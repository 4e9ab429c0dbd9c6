/** Servers with the same content: one after another is asked until one gives what is wanted. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ByteRange, HttpError, type Received } from './http-answer.ts';
import type { HttpClient } from './http-client.ts';

/**
 * Why no server gives a file. `absent`: each of them says that there is no such file. `wrong`: one gave something else.
 * `away`: none answers, or all are busy. `failed`: everything else.
 */
export type Unavailable = 'absent' | 'wrong' | 'away' | 'failed';

/** No server has the file, or none gives it. */
export class UnavailableError extends Error {
  readonly kind: Unavailable;

  constructor(message: string, kind: Unavailable) {
    super(message);
    this.name = 'UnavailableError';
    this.kind = kind;
  }

  get isAbsent(): boolean {
    return this.kind === 'absent';
  }
}

/** Milliseconds for which a server that failed is asked last; doubled with each failure. */
const DEMOTED = 2000;
const DEMOTED_MAX = 300_000;
/** For which one is that has given wrong content so often. */
const WRONG_TIMES = 3;
const WRONG_DEMOTED = 3_600_000;
const ROUNDS = 2;
/** Before the second round: at least, and at most. */
const PAUSE: readonly [number, number] = [200, 1000];

/** Told of each request. Servers are named by their positions among the URLs. */
export interface MirrorObserver {
  /** @param isSecond another server was asked before, and failed */
  gave(server: number, bytes: number, isSecond: boolean): void;
  failed(server: number): void;
  /** It is asked for the same once more, because all have failed. */
  retried(server: number): void;
}

interface Mirror {
  readonly index: number;
  readonly url: URL;
  failures: number;
  wrong: number;
  /** Until this time of `performance.now()` others are asked first. */
  demotedUntil: number;
}

export interface FetchOptions {
  readonly range?: ByteRange | undefined;
  /** Bytes; a longer file is refused. */
  readonly most: number;
  readonly signal?: AbortSignal | undefined;
  /**
   * Looks at the content.
   * @param server that gave it
   * @returns what is wrong with it; then another server is asked
   */
  readonly check?: (bytes: Buffer, server: number) => string | undefined | Promise<string | undefined>;
}

/** What a server gave. */
export interface Given extends Received {
  readonly server: number;
}

class WrongContent extends HttpError {}

export class Mirrors {
  readonly #client: HttpClient;
  readonly #observer: MirrorObserver | undefined;
  readonly #mirrors: readonly Mirror[];

  /** @param first position of the first URL, if there are others before that are not asked */
  constructor(client: HttpClient, urls: readonly URL[], observer?: MirrorObserver, first = 0) {
    this.#client = client;
    this.#observer = observer;
    this.#mirrors = urls.map((url, i) => ({ index: first + i, url, failures: 0, wrong: 0, demotedUntil: 0 }));
  }

  /**
   * Gets a file, or a part of it. Each server is asked, and those that failed once more after a pause.
   * @param name relative to the URLs
   * @throws UnavailableError; the reason of the signal
   */
  async fetch(name: string, options: FetchOptions): Promise<Given> {
    let left = this.#inOrder();
    const errors: HttpError[] = [];
    const asked = new Set<Mirror>();
    for (let round = 0; round < ROUNDS && left.length > 0; round++) {
      if (round > 0) await pause(pauseOf(left), options.signal);
      const failed: Waiting[] = [];
      for (const { mirror } of left) {
        asked.add(mirror);
        if (round > 0) this.#observer?.retried(mirror.index);
        const result = await this.#ask(mirror, name, options);
        if (!(result instanceof HttpError)) {
          this.#observer?.gave(mirror.index, result.bytes.length, asked.size > 1);
          return { ...result, server: mirror.index };
        }
        errors.push(result);
        if (result.problem === 'absent') continue;
        this.#observer?.failed(mirror.index);
        if (result.problem !== 'refused') {
          failed.push({ mirror, pause: result.retryAfter });
        }
      }
      left = failed;
    }
    throw new UnavailableError([...new Set(errors.map(({ message }) => message))].join('; '), kindOf(errors));
  }

  async #ask(mirror: Mirror, name: string, { check, ...options }: FetchOptions): Promise<Received | HttpError> {
    try {
      const received = await this.#client.get(new URL(name, mirror.url), options);
      const wrong = await check?.(received.bytes, mirror.index);
      if (wrong === undefined) {
        mirror.failures = 0;
        return received;
      }
      mirror.wrong++;
      demote(mirror);
      return new WrongContent('broken', `${new URL(name, mirror.url)}: ${wrong}`);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      if (error.problem !== 'absent') demote(mirror);
      return error;
    }
  }

  #inOrder(): Waiting[] {
    const now = performance.now();
    const late = ({ demotedUntil }: Mirror): number => (demotedUntil > now ? demotedUntil : 0);
    return [...this.#mirrors].sort((a, b) => late(a) - late(b)).map((mirror) => ({ mirror, pause: undefined }));
  }
}

function kindOf(errors: readonly HttpError[]): Unavailable {
  if (errors.every(({ problem }) => problem === 'absent')) return 'absent';
  if (errors.some((error) => error instanceof WrongContent)) return 'wrong';
  return errors.every(({ problem }) => problem === 'away' || problem === 'later') ? 'away' : 'failed';
}

interface Waiting {
  readonly mirror: Mirror;
  /** Milliseconds that the server asked for. */
  readonly pause: number | undefined;
}

function demote(mirror: Mirror): void {
  const ms =
    mirror.wrong >= WRONG_TIMES ? WRONG_DEMOTED : Math.min(DEMOTED * 2 ** Math.min(mirror.failures, 10), DEMOTED_MAX);
  mirror.failures++;
  mirror.demotedUntil = performance.now() + ms;
}

/** @throws the reason of the signal */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

function pauseOf(left: readonly Waiting[]): number {
  const [least, most] = PAUSE;
  const asked = Math.min(...left.map(({ pause }) => pause ?? 0));
  return Math.max(asked, least + Math.random() * (most - least));
}
