/** Files whose objects are damaged in every way that a disk, a program or a person may cause. */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { mknod } from '../support/libc.ts';
import { Random } from '../support/random.ts';
import type { Scratch } from './harness.ts';
import { type Place, run } from './run.ts';

/** Small objects are hashed at once, large ones in pieces. */
export const SIZES = { small: 5000, large: 3_000_000 } as const;

/** Changes one bit at `offset` in place, without a new inode. */
export function flipBit(path: string, offset: number): void {
  const fd = openSync(path, 'r+');
  try {
    const byte = (readFileSync(path)[offset] as number) ^ 4;
    writeSync(fd, Buffer.from([byte]), 0, 1, offset);
  } finally {
    closeSync(fd);
  }
}

const lastByte = (path: string): number => statSync(path).size - 1;

/** Kinds of damage to an object's file, and the words of the log for each. */
export const DAMAGES: Readonly<Record<string, { readonly inflict: (object: string) => void; readonly log: RegExp }>> = {
  'first bit flipped': { inflict: (object) => flipBit(object, 0), log: /its content is corrupted/ },
  'last bit flipped': { inflict: (object) => flipBit(object, lastByte(object)), log: /its content is corrupted/ },
  zeroed: {
    inflict: (object) => writeFileSync(object, Buffer.alloc(statSync(object).size)),
    log: /its content is corrupted/,
  },
  truncated: {
    inflict: (object) => truncateSync(object, lastByte(object)),
    log: /it is truncated: \d+ bytes instead of \d+/,
  },
  emptied: { inflict: (object) => truncateSync(object, 0), log: /it is truncated: 0 bytes/ },
  grown: { inflict: (object) => appendFileSync(object, '\0'), log: /it is grown: \d+ bytes instead of \d+/ },
  missing: { inflict: (object) => rmSync(object), log: /it is missing/ },
  'a directory': {
    inflict: (object) => {
      rmSync(object);
      mkdirSync(object);
    },
    log: /it is not a regular file/,
  },
  'a fifo': {
    inflict: (object) => {
      rmSync(object);
      mknod(object, constants.S_IFIFO | 0o644);
    },
    log: /it is not a regular file/,
  },
};

export interface DamagedFile {
  /** Name in the root of the image. */
  readonly name: string;
  readonly content: Buffer;
  readonly digest: string;
  readonly log: RegExp;
}

export interface DamagedImage {
  readonly image: string;
  readonly store: string;
  readonly damaged: readonly DamagedFile[];
  /** Undamaged files. */
  readonly whole: readonly DamagedFile[];
}

/** The file of an object in a store. */
export const objectPath = (store: string, digest: string): string =>
  join(store, 'objects', digest.slice(0, 2), digest.slice(2));

/** Packs a file for each size and damage, and some that stay undamaged. Nothing is damaged yet. */
export async function packVictims(
  scratch: Scratch,
  store: string,
  args: readonly string[] = [],
): Promise<DamagedImage> {
  const source = scratch.directory('victims');
  const random = new Random(99);
  const contents = new Map<string, { content: Buffer; log: RegExp }>();
  for (const [size, length] of Object.entries(SIZES)) {
    for (const [damage, { log }] of Object.entries({ ...DAMAGES, whole: { log: /$^/ } })) {
      const content = random.bytes(length);
      contents.set(`${size}, ${damage}`, { content, log });
      writeFileSync(join(source, `${size}, ${damage}`), content);
    }
  }
  const { image } = await scratch.pack(source, { store, args });
  const paths = [...contents.keys()];
  const { stdout } = await scratch.tool('cfs-info', ['stat', '--json', image, ...paths]);
  const stats = JSON.parse(stdout) as { object: string }[];
  const files = [...contents].map(([name, rest], i) => ({
    name,
    digest: (stats[i] as { object: string }).object,
    ...rest,
  }));
  const isWhole = ({ name }: DamagedFile): boolean => name.endsWith('whole');
  return { image, store, damaged: files.filter((file) => !isWhole(file)), whole: files.filter(isWhole) };
}

/** Damages each object in `store` as the name of its file says. */
export function inflict(victims: DamagedImage, store = victims.store): void {
  for (const { name, digest } of victims.damaged) {
    const damage = DAMAGES[name.replace(/^\w+, /, '')];
    const object = objectPath(store, digest);
    chmodSync(object, 0o644);
    damage?.inflict(object);
  }
}

/** SHA-256 of `content`, hexadecimal. */
export const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

/**
 * The result of reading `path`: the SHA-256 of its bytes, or the message of the error. Bytes before an error are
 * reported, too: if an object is verified as a whole, there must be none.
 */
export async function readBy(place: Place, path: string): Promise<string> {
  const script = 'set -o pipefail; cat -- "$1" | sha256sum';
  const { status, stdout, stderr } = await run(place.command('bash', '-c', script, 'bash', path));
  const digest = stdout.split(' ')[0] as string;
  if (status === 0) return digest;
  const message = stderr.trim().split(': ').at(-1) as string;
  return digest === sha256(Buffer.alloc(0)) ? message : `${message}, after bytes with SHA-256 ${digest}`;
}
