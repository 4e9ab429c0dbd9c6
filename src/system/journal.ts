/** systemd's journal, by its native protocol: lines with fields (systemd.journal-fields(7)). */
import { closeSync, existsSync, fstatSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { SOCK_DGRAM, unixAddress, unixSocket } from './descriptor-passing.ts';
import { native } from './libc.ts';

const sendtoFn = native(
  'int64_t sendto(int socket, const void *data, size_t length, int flags, const void *address, unsigned int room)',
);

const JOURNAL_SOCKET = '/run/systemd/journal/socket';
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const LINE_FEED = 0x0a;

/** Names are capitals, digits and `_`; a field may occur several times. */
export type JournalField = readonly [name: string, value: string | Uint8Array];

export const hasJournal = (): boolean => existsSync(JOURNAL_SOCKET);

/**
 * Sends one entry. It does not wait: a journal that does not keep up is no reason to stop serving.
 * @returns whether the journal got it
 */
export function sendToJournal(fields: readonly JournalField[]): boolean {
  if (!hasJournal()) return false;
  const data = encodeEntry(fields);
  const address = unixAddress(Buffer.from(JOURNAL_SOCKET)) as Uint8Array;
  // not kept: the journal may be restarted, and this process may be short of descriptors
  const socket = unixSocket(SOCK_DGRAM);
  if (isErrno(socket)) return false;
  try {
    return sendtoFn(socket, data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL, address, address.length) === data.length;
  } finally {
    closeSync(socket);
  }
}

/** "NAME=value" and a line feed; a value with a line feed has its length before it, 64 bits, little-endian. */
export function encodeEntry(fields: readonly JournalField[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => {
      const bytes = Buffer.from(value as Uint8Array);
      if (!bytes.includes(LINE_FEED)) return [Buffer.from(`${name}=`), bytes, Buffer.from('\n')];
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(bytes.length));
      return [Buffer.from(`${name}\n`), length, bytes, Buffer.from('\n')];
    }),
  );
}

/**
 * Whether standard error is a stream of the journal, and no file or pipe that took its place: systemd says which
 * (systemd.exec(5), JOURNAL_STREAM).
 */
export function isStderrOfJournal(stream: string | undefined = process.env['JOURNAL_STREAM']): boolean {
  const [, device, inode] = /^(\d+):(\d+)$/.exec(stream ?? '') ?? [];
  if (device === undefined || inode === undefined) return false;
  const stat = fstatSync(2, { bigint: true });
  return stat.dev === BigInt(device) && stat.ino === BigInt(inode);
}
