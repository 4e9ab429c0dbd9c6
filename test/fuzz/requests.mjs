// Bytes as requests of the kernel: refused or answered, with at most one line in the log. The first byte determines
// whether the request states its true length.
import { readFileSync } from 'node:fs';
import { decodeManifest } from '../../dist/src/manifest/decode.js';
import { serverOf } from './exercise.mjs';

const tables = decodeManifest(readFileSync(new URL('./corpus/manifest/everything', import.meta.url)));
const servers = ['off', 'read'].map((verify) => serverOf(tables, verify));

/** READ and RELEASE. */
const HANDLED = [15, 18];

export function fuzz(bytes) {
  if (bytes.length < 2) return;
  const request = Buffer.from(bytes.subarray(1));
  if ((bytes[0] & 1) === 0 && request.length >= 4) request.writeUInt32LE(request.length, 0);
  for (const { dispatcher, failures } of servers) {
    dispatcher.request.bytes.set(request.subarray(0, dispatcher.request.bytes.length));
    // the kernel returns only handles that it got; here no handle is a descriptor
    if (request.length >= 40 && HANDLED.includes(request.readUInt32LE(4))) dispatcher.request.bytes.fill(0, 40, 48);
    const length = dispatcher.serve(request.length);
    if (length !== 0) {
      const reply = dispatcher.reply.bytes;
      if (length < 16 || reply.readUInt32LE(0) !== length)
        throw new Error(`a reply of ${length} bytes claims ${reply.readUInt32LE(0)}`);
      if (reply.readInt32LE(4) > 0) throw new Error(`an error with a positive number: ${reply.readInt32LE(4)}`);
    }
    for (const line of failures.splice(0))
      if (!line.startsWith('ignored bytes that are not a FUSE request')) throw new Error(line);
  }
}
