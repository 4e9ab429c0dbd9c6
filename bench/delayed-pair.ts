/**
 * Joins two sockets as a network with a round-trip time would: what one of them sends reaches the other later. Only the
 * time is emulated: there is no loss, no slow start and no limit of the rate, except by the window of each direction.
 */
import type { Socket } from 'node:net';

/** Bytes that are under way in one direction of one connection, at most: 400 MB/s with 10 ms. */
const WINDOW = 4_194_304;

/**
 * Joins `client`, which was just accepted, with `server`. If one fails, the connection of the other is reset.
 * @param rttMs milliseconds; the handshake costs one, too
 */
export function joinDelayed(client: Socket, server: Socket, rttMs: number): void {
  const accepted = performance.now();
  for (const socket of [client, server]) socket.setNoDelay(true);
  // the client knows after one round-trip time that it is connected, and the server half of one later
  const toServer = new Delayed(client, server, rttMs / 2, accepted + rttMs);
  const toClient = new Delayed(server, client, rttMs / 2, accepted + rttMs * 1.5);
  const reset = (): void => {
    for (const one of [toServer, toClient]) one.stop();
    for (const socket of [client, server]) if (!socket.destroyed) socket.resetAndDestroy();
  };
  for (const socket of [client, server]) socket.on('error', reset);
}

interface Piece {
  /** On the clock of `performance`. */
  readonly due: number;
  /** `end`: nothing more comes; `closed`: nothing is accepted any more, either. */
  readonly bytes: Buffer | 'end' | 'closed';
}

/** One direction. */
class Delayed {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #delayMs: number;
  readonly #begin: number;
  readonly #pieces: Piece[] = [];
  /** Bytes in #pieces. */
  #held = 0;
  #timer: NodeJS.Timeout | undefined;
  #full = false;
  #stopped = false;

  /** @param begin nothing that was sent counts as sent before; on the clock of `performance` */
  constructor(from: Socket, to: Socket, delayMs: number, begin: number) {
    this.#from = from;
    this.#to = to;
    this.#delayMs = delayMs;
    this.#begin = begin;
    from.on('data', (bytes: Buffer) => this.#take(bytes));
    from.on('end', () => this.#take('end'));
    from.on('close', () => this.#take('closed'));
    to.on('drain', () => {
      this.#full = false;
      this.#pass();
    });
  }

  /** Forgets everything that is under way. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#pieces.length = 0;
  }

  #take(bytes: Piece['bytes']): void {
    if (this.#stopped) return;
    this.#pieces.push({ due: Math.max(performance.now(), this.#begin) + this.#delayMs, bytes });
    if (typeof bytes !== 'string') this.#held += bytes.length;
    if (this.#held > WINDOW) this.#from.pause();
    if (this.#timer === undefined && !this.#full) this.#wait();
  }

  #wait(): void {
    const next = this.#pieces[0];
    if (next === undefined) return;
    // a timer of node may fire half a millisecond early
    this.#timer = setTimeout(() => this.#pass(), Math.max(0, Math.round(next.due - performance.now())));
  }

  /** Passes on what is due. */
  #pass(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const now = performance.now() + 0.5;
    let count = 0;
    for (const { due, bytes } of this.#pieces) {
      if (due > now || this.#full) break; // a full socket is waited for
      count++;
      if (bytes === 'end') this.#to.end();
      else if (bytes === 'closed') this.#to.destroySoon();
      else {
        this.#held -= bytes.length;
        this.#full = !this.#to.write(bytes);
      }
    }
    this.#pieces.splice(0, count);
    if (this.#held <= WINDOW) this.#from.resume();
    if (!this.#full) this.#wait();
  }
}
