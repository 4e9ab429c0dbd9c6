/** What a server answers, or why there is no answer; nothing of it is trusted. */
import type { Dispatcher } from 'undici';
import { oneLine } from '../base/bytes.ts';
import { reasonOf } from '../base/error.ts';
import { PACK_BYTES } from './map-format.ts';

/** A part of a file. */
export interface ByteRange {
  readonly from: number;
  readonly length: number;
}

/** An answer of the kind that was asked for. */
export interface Received {
  readonly bytes: Buffer;
  /** The size of the whole file, if the server says. */
  readonly total: number | undefined;
}

/**
 * Why a request has no result. `absent`: there is no such file. `refused`: the server does not let us have it.
 * `later`: the server is busy. `away`: no server answers in HTTP. `broken`: everything else.
 */
export type HttpProblem = 'absent' | 'refused' | 'later' | 'away' | 'broken';

export class HttpError extends Error {
  readonly problem: HttpProblem;
  /** Of `later`: when the server wants to be asked again, in milliseconds. */
  readonly retryAfter: number | undefined;

  constructor(problem: HttpProblem, message: string, retryAfter?: number) {
    super(message);
    this.name = 'HttpError';
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** A server may ask for more: then another one is asked first. */
const RETRY_AFTER_MAX = 30_000;

export type Answer = Dispatcher.ResponseData;

/** Bytes of an answer that are read for the sake of the connection. */
const DISMISSED = 16_384;

/** Ends an answer of which nothing more is wanted. */
export function dismiss({ body }: Answer): void {
  if (body.readableEnded || body.destroyed) return;
  body.on('error', () => {});
  body.dump({ limit: DISMISSED }).catch(() => {});
}

/** Names of undici's errors, in words. */
const REASONS: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stops in the middle',
  UND_ERR_HEADERS_OVERFLOW: 'headers of the answer are too long',
  UND_ERR_SOCKET: 'the connection was cut',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was cut',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name of the host cannot be looked up now',
};

/** @param problem if `error` is not an HttpError */
export function broken(url: URL, error: unknown, problem: HttpProblem = 'broken'): unknown {
  if (error instanceof HttpError || (error as Error).name === 'AbortError') return error;
  // of several addresses of one host
  const { errors, code = errors?.[0]?.code } = error as { code?: string; errors?: { code?: string }[] };
  return new HttpError(problem, `${url}: ${REASONS[code ?? ''] ?? oneLine(reasonOf(error))}`);
}

export function checkStatus(url: URL, { statusCode, headers }: Answer, expected: readonly number[]): void {
  if (expected.includes(statusCode)) return;
  const message = `${url}: status ${statusCode}`;
  if (statusCode === 404 || statusCode === 410) throw new HttpError('absent', message);
  if (statusCode === 401 || statusCode === 403) throw new HttpError('refused', message);
  if (statusCode === 429 || statusCode === 503)
    throw new HttpError('later', message, retryAfter(headers['retry-after']));
  throw new HttpError('broken', message);
}

/** @returns milliseconds */
function retryAfter(header: string | string[] | undefined): number | undefined {
  const seconds = Number(header);
  return header !== undefined && seconds >= 0 ? Math.min(seconds * 1000, RETRY_AFTER_MAX) : undefined;
}

/**
 * Some servers answer a request for a part with the whole file: what lies before the part is read and dropped, if it
 * is no more than a pack has.
 */
const MOST_SKIPPED = PACK_BYTES;

/** Bytes of a whole file that come before the part that was asked for. */
export const skippedOf = ({ statusCode }: Answer, range: ByteRange | undefined): number =>
  statusCode === 200 ? Math.min(range?.from ?? 0, MOST_SKIPPED) : 0;

/** Reads the body, which may be neither longer nor shorter than the requested part. */
export async function receive(url: URL, answer: Answer, range: ByteRange | undefined, most: number): Promise<Received> {
  const { statusCode, headers, body } = answer;
  if (range !== undefined && statusCode === 416) throw new HttpError('broken', `${url}: it is shorter than expected`);
  checkStatus(url, answer, range === undefined ? [200] : [200, 206]);
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    throw new HttpError('broken', `${url}: content encoding ${oneLine(String(encoding))} was not asked for`);
  }
  const said = headers['content-length'] === undefined ? undefined : Number(headers['content-length']);
  if (statusCode === 206) return await receivePart(url, answer, range as ByteRange);
  if (range !== undefined && range.from > MOST_SKIPPED)
    throw new HttpError('broken', `${url}: the server does not give parts of files`);
  if (range === undefined && said !== undefined && said > most) {
    throw new HttpError('broken', `${url}: ${said} bytes are too many`);
  }
  const bytes = await readBody(url, body, most, range === undefined, range?.from);
  const isCut = range === undefined ? said !== undefined && bytes.length !== said : bytes.length < range.length;
  if (isCut) throw new HttpError('broken', `${url}: it is shorter than expected`);
  return { bytes, total: said };
}

async function receivePart(url: URL, { headers, body }: Answer, { from, length }: ByteRange): Promise<Received> {
  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(String(headers['content-range'])) ?? [];
  if (Number(first) !== from || Number(last) !== from + length - 1) {
    const got =
      Number(first) === from && Number(last) < from + length - 1
        ? 'it is shorter than expected'
        : 'another part than was asked for';
    throw new HttpError('broken', `${url}: ${got}`);
  }
  const bytes = await readBody(url, body, length, true);
  if (bytes.length !== length) throw new HttpError('broken', `${url}: the answer is shorter than it says`);
  return { bytes, total: total === '*' ? undefined : Number(total) };
}

/**
 * @param isWhole more than `most` bytes are an error; else the rest is not read
 * @param skipped bytes that are dropped first
 */
async function readBody(url: URL, body: Answer['body'], most: number, isWhole: boolean, skipped = 0): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let toSkip = skipped;
  let length = 0;
  try {
    for await (const received of body as AsyncIterable<Buffer>) {
      const piece = received.subarray(Math.min(toSkip, received.length));
      toSkip -= received.length - piece.length;
      if (toSkip > 0) continue;
      pieces.push(piece);
      length += piece.length;
      if (length > most || (length === most && !isWhole)) break;
    }
  } catch (error) {
    throw broken(url, error);
  }
  if (length > most && isWhole) throw new HttpError('broken', `${url}: the answer is longer than expected`);
  const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, length);
  return bytes.length > most ? bytes.subarray(0, most) : bytes;
}
