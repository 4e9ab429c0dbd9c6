/** Open files as messages: SCM_RIGHTS of unix(7). Nothing is thrown for a system error. */
import { EMFILE, EMSGSIZE, ENAMETOOLONG, EOPNOTSUPP, type Errno, isErrno } from '../base/errno.ts';
import { closeFd } from './descriptors.ts';
import { asErrno, koffi, native } from './libc.ts';

const socketpairFn = native('int socketpair(int domain, int type, int protocol, _Out_ int *fds)');
const recvmsgFn = native('int64_t recvmsg(int socket, _Inout_ void *message, int flags)');
const sendmsgFn = native('int64_t sendmsg(int socket, const void *message, int flags)');

const AF_UNIX = 1;
export const SOCK_STREAM = 1;
/** Each message is received as it was sent. */
export const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;

/** A connected pair of Unix sockets, both close-on-exec. */
export function socketpair(type: typeof SOCK_STREAM | typeof SOCK_DGRAM): readonly [number, number] | Errno {
  const fds = [-1, -1];
  const result = socketpairFn(AF_UNIX, type | SOCK_CLOEXEC, 0, fds);
  return result < 0 ? asErrno(result) : [fds[0] as number, fds[1] as number];
}

const socketFn = native('int socket(int domain, int type, int protocol)');
const connectFn = native('int connect(int socket, const void *address, unsigned int length)');
/** Bytes of a path in struct sockaddr_un, with the NUL at its end. */
const ADDRESS_PATH = 108;

/**
 * struct sockaddr_un, as long as its path needs; the kernel adds a NUL. ENAMETOOLONG for a longer path than it has room
 * for.
 */
export function unixAddress(path: Uint8Array): Uint8Array | Errno {
  if (path.length >= ADDRESS_PATH) return ENAMETOOLONG;
  const address = Buffer.alloc(2 + path.length);
  address.writeUInt16LE(AF_UNIX, 0);
  address.set(path, 2);
  return address;
}

/** A Unix socket, close-on-exec. */
export function unixSocket(type: typeof SOCK_STREAM | typeof SOCK_DGRAM): number | Errno {
  const socket = socketFn(AF_UNIX, type | SOCK_CLOEXEC, 0);
  return socket < 0 ? asErrno(socket) : socket;
}

/** A socket connected to the Unix socket that listens at `path`, close-on-exec. */
export function connectTo(
  path: Uint8Array,
  type: typeof SOCK_STREAM | typeof SOCK_DGRAM = SOCK_STREAM,
): number | Errno {
  const address = unixAddress(path);
  if (!(address instanceof Uint8Array)) return address;
  const socket = unixSocket(type);
  if (isErrno(socket)) return socket;
  const result = connectFn(socket, address, address.length);
  if (result === 0) return socket;
  closeFd(socket);
  return asErrno(result);
}

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** SCM_MAX_FD of the kernel. */
export const MOST_DESCRIPTORS = 253;
/** Of struct cmsghdr: size_t length, int level, int type. */
const CMSG_HEADER = 16;

/** struct msghdr over one piece of data; `keep` keeps its buffers alive. */
function messageHeader(data: Uint8Array, control: Uint8Array): { header: Buffer; type: unknown; keep: unknown } {
  const iovec = koffi().struct({ base: 'void *', length: 'size_t' });
  const type = koffi().struct({
    name: 'void *',
    nameLength: 'uint32_t',
    iov: koffi().pointer(iovec),
    iovLength: 'size_t',
    control: 'void *',
    controlLength: 'size_t',
    flags: 'int',
  });
  const header = Buffer.alloc(koffi().sizeof(type));
  const fields = {
    name: null,
    nameLength: 0,
    iov: [{ base: data, length: data.length }],
    iovLength: 1,
    control,
    controlLength: control.length,
    flags: 0,
  };
  koffi().encode(header, type, fields);
  return { header, type, keep: fields };
}

/** Sends `data` with open files. EMSGSIZE if it exceeds the socket's buffer. */
export function sendDescriptors(socket: number, data: Uint8Array, fds: readonly number[]): 0 | Errno {
  const length = CMSG_HEADER + fds.length * 4;
  const control = Buffer.alloc(Math.ceil(length / 8) * 8);
  if (fds.length === 0) return sendMessage(socket, data, new Uint8Array(0));
  control.writeBigUInt64LE(BigInt(length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  for (const [i, fd] of fds.entries()) control.writeInt32LE(fd, CMSG_HEADER + i * 4);
  return sendMessage(socket, data, control);
}

function sendMessage(socket: number, data: Uint8Array, control: Uint8Array): 0 | Errno {
  const result = sendmsgFn(socket, messageHeader(data, control).header, 0);
  return result < 0 ? asErrno(result) : 0;
}

const MSG_PEEK = 2;
const MSG_DONTWAIT = 0x40;
/** Flags of the kernel in the header: control data did not fit, or a descriptor could not be made; data did not fit. */
const MSG_CTRUNC = 8;
const MSG_TRUNC = 0x20;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** Variants of `receiveDescriptors`. */
export interface Receiving {
  /** Leaves the message in place: each call returns new descriptors of the same open files. */
  readonly peek?: boolean;
  /** EAGAIN instead of waiting. */
  readonly dontWait?: boolean;
}

/**
 * Receives one message of at most `size` bytes and its open files, close-on-exec. EMSGSIZE if it is longer, and EMFILE
 * if this process may not open as many files: nothing is left open then.
 */
export function receiveDescriptors(
  socket: number,
  size: number,
  { peek = false, dontWait = false }: Receiving = {},
): { readonly data: Uint8Array; readonly fds: readonly number[] } | Errno {
  const data = Buffer.alloc(size);
  const control = Buffer.alloc(CMSG_HEADER + (MOST_DESCRIPTORS + 1) * 4);
  const { header, type } = messageHeader(data, control);
  const flags = MSG_CMSG_CLOEXEC | (peek ? MSG_PEEK : 0) | (dontWait ? MSG_DONTWAIT : 0);
  const n = recvmsgFn(socket, header, flags);
  if (n < 0) return asErrno(n);
  const got = koffi().decode(header, type as never) as {
    controlLength: number | bigint;
    flags: number;
  };
  const fds: number[] = [];
  if (
    Number(got.controlLength) > CMSG_HEADER &&
    control.readInt32LE(8) === SOL_SOCKET &&
    control.readInt32LE(12) === SCM_RIGHTS
  ) {
    const end = Number(control.readBigUInt64LE(0));
    for (let at = CMSG_HEADER; at < end; at += 4) fds.push(control.readInt32LE(at));
  }
  if ((got.flags & (MSG_CTRUNC | MSG_TRUNC)) !== 0) {
    for (const fd of fds) closeFd(fd);
    return (got.flags & MSG_TRUNC) !== 0 ? EMSGSIZE : EMFILE;
  }
  return { data: Uint8Array.from(data.subarray(0, n)), fds };
}

/** Receives one open file from a socket; waits. EOPNOTSUPP if the other side sent none, or closed. */
export function receiveFd(socket: number): number | Errno {
  const received = receiveDescriptors(socket, 16);
  return isErrno(received) ? received : (received.fds[0] ?? EOPNOTSUPP);
}
