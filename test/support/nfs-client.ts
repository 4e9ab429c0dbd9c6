/**
 * A client of an NFS server as small as tests of file handles need it: NFSv4.0 (RFC 7530) over TCP on this machine, as
 * root by AUTH_SYS. It keeps no state: it opens no file, and reads by the anonymous stateid. Each call has a connection
 * of its own, so a server may end and another begin between two calls.
 */
import { connect } from 'node:net';

/** The status of calls: nfsstat4. */
export const NFS_STATUS = { ok: 0, noent: 2, stale: 70 } as const;

/** An answer other than NFS4_OK. */
export class NfsError extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`the NFS server answers ${status}`);
    this.status = status;
  }
}

/** A file as a server shows it. */
export interface NfsFile {
  readonly fileid: bigint;
  /** NF4REG, NF4DIR … */
  readonly type: number;
}

export const NF4REG = 1;
export const NF4DIR = 2;

const PROGRAM = { number: 100_003, version: 4, compound: 1 } as const;
const OP = { getattr: 9, getfh: 10, lookup: 15, putfh: 22, putrootfh: 24, read: 25 } as const;
/** Bits of the first word of a bitmap4. */
const ATTRIBUTES = { type: 1 << 1, fileid: 1 << 20 } as const;
const CALL = 0;
const RPC_VERSION = 2;
const AUTH_NONE = 0;
const AUTH_SYS = 1;
/** Of record marking (RFC 5531): the highest bit of a fragment's length. */
const LAST_FRAGMENT = 0x8000_0000;
const READ_SIZE = 64 << 10;

/** XDR (RFC 4506): words of four bytes, big-endian. */
const u32 = (...values: readonly number[]): Buffer => {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => {
    bytes.writeUInt32BE(value, 4 * i);
  });
  return bytes;
};

const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};

const padded = (length: number): number => Math.ceil(length / 4) * 4;

const opaque = (content: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(content as Uint8Array);
  return Buffer.concat([u32(bytes.length), bytes, Buffer.alloc(padded(bytes.length) - bytes.length)]);
};

/** Reads XDR; throws at its end. */
class XdrReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  u32(): number {
    this.#at += 4;
    return this.#bytes.readUInt32BE(this.#at - 4);
  }

  u64(): bigint {
    this.#at += 8;
    return this.#bytes.readBigUInt64BE(this.#at - 8);
  }

  opaque(): Buffer {
    const length = this.u32();
    const start = this.#at;
    this.#at += padded(length);
    if (this.#at > this.#bytes.length) throw new Error('an answer of the NFS server is cut off');
    return this.#bytes.subarray(start, start + length);
  }

  expect(what: string, value: number): void {
    const found = this.u32();
    if (found !== value) throw new Error(`an answer of the NFS server has ${what} ${found}, not ${value}`);
  }
}

/** The fragments of a record without their lengths; undefined while it is not complete. */
function recordIn(bytes: Buffer): Buffer | undefined {
  const fragments: Buffer[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const word = bytes.readUInt32BE(at);
    const end = at + 4 + (word & ~LAST_FRAGMENT);
    if (end > bytes.length) return undefined;
    fragments.push(bytes.subarray(at + 4, end));
    if (word >= LAST_FRAGMENT) return Buffer.concat(fragments);
    at = end;
  }
  return undefined;
}

/** Sends a record on a new connection; the record that comes back. */
async function exchange(port: number, record: Buffer): Promise<Buffer> {
  const socket = connect(port, '127.0.0.1');
  socket.write(Buffer.concat([u32(LAST_FRAGMENT + record.length), record]));
  let received = Buffer.alloc(0);
  // leaving the loop ends the connection
  for await (const chunk of socket) {
    received = Buffer.concat([received, chunk as Buffer]);
    const answer = recordIn(received);
    if (answer !== undefined) return answer;
  }
  throw new Error('the NFS server ended the connection without an answer');
}

const putfh = (handle: Uint8Array | undefined): Buffer =>
  handle === undefined ? u32(OP.putrootfh) : Buffer.concat([u32(OP.putfh), opaque(handle)]);

export class NfsClient {
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  /** The handle of a name below a directory: that of a handle, or the root of the server's pseudo file system. */
  async lookup(names: readonly string[], directory?: Uint8Array): Promise<Buffer> {
    const lookups = names.map((name) => Buffer.concat([u32(OP.lookup), opaque(name)]));
    const answer = await this.#compound([putfh(directory), ...lookups, u32(OP.getfh)]);
    this.#skip(answer, directory === undefined ? OP.putrootfh : OP.putfh);
    for (const _ of names) this.#skip(answer, OP.lookup);
    this.#skip(answer, OP.getfh);
    return answer.opaque();
  }

  async getattr(handle: Uint8Array): Promise<NfsFile> {
    const wanted = u32(OP.getattr, 1, ATTRIBUTES.type | ATTRIBUTES.fileid);
    const answer = await this.#compound([putfh(handle), wanted]);
    this.#skip(answer, OP.putfh);
    this.#skip(answer, OP.getattr);
    answer.expect('a bitmap of words:', 1);
    answer.expect('attributes', ATTRIBUTES.type | ATTRIBUTES.fileid);
    const values = new XdrReader(answer.opaque());
    return { type: values.u32(), fileid: values.u64() };
  }

  /** The whole content of a regular file. */
  async read(handle: Uint8Array): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let offset = 0; ; ) {
      const anonymous = Buffer.alloc(16);
      const read = Buffer.concat([u32(OP.read), anonymous, u64(BigInt(offset)), u32(READ_SIZE)]);
      const answer = await this.#compound([putfh(handle), read]);
      this.#skip(answer, OP.putfh);
      this.#skip(answer, OP.read);
      const isEnd = answer.u32() === 1;
      const part = answer.opaque();
      parts.push(part);
      offset += part.length;
      if (isEnd) return Buffer.concat(parts);
      if (part.length === 0) throw new Error('the NFS server gives no bytes before the end of a file');
    }
  }

  /** Passes over the head of an operation's result; what follows is its own. */
  #skip(answer: XdrReader, operation: number): void {
    answer.expect('operation', operation);
    answer.expect('status', NFS_STATUS.ok);
  }

  /** Makes operations one after another; their results, if all succeed. */
  async #compound(operations: readonly Buffer[]): Promise<XdrReader> {
    const id = 1;
    const machine = Buffer.concat([u32(0), opaque('cfs-test')]); // an unused time stamp, the name
    const credentials = opaque(Buffer.concat([machine, u32(0, 0, 0)])); // root, without further groups
    const { number, version, compound } = PROGRAM;
    const answer = new XdrReader(
      await exchange(
        this.#port,
        Buffer.concat([
          u32(id, CALL, RPC_VERSION, number, version, compound, AUTH_SYS),
          credentials,
          u32(AUTH_NONE, 0),
          opaque(''), // a tag
          u32(0, operations.length), // of minor version 0
          ...operations,
        ]),
      ),
    );
    answer.expect('id', id);
    answer.expect('message type', 1);
    answer.expect('reply state', 0);
    answer.u32(); // the server's verifier
    answer.opaque();
    answer.expect('acceptance', 0);
    const status = answer.u32();
    if (status !== NFS_STATUS.ok) throw new NfsError(status);
    answer.opaque(); // the tag
    answer.expect('results of operations:', operations.length);
    return answer;
  }
}
