/**
 * A mount's data about itself and its files: private xattrs, which getxattr(2) returns and listxattr(2) does not, so
 * that no tool copies them; and ioctls, for users that may not read `trusted.` names. docs/handles.md lists them.
 */
import { toHex } from '../base/bytes.ts';
import { EINVAL, ENODATA, ENOTTY, type Errno, isErrno } from '../base/errno.ts';
import type { FileHandle } from '../base/handle-format.ts';
import { commandNumber, sizedAnswer } from '../base/ioctl-command.ts';
import { type Caller, maySearchTo, UNKNOWN_CALLER } from '../fs/caller.ts';
import type { PrivateAnswers, UpperInode } from '../fs/image-filesystem.ts';
import { pathOfRow } from '../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../manifest/tables.ts';
import { type ContentPlace, encodeFile, type FileRecord } from '../mount-info/file-record.ts';
import { NR_FILE, NR_MOUNT, NR_SOURCE } from '../mount-info/mount-ioctls.ts';
import { encodeMount, type MountRecord } from '../mount-info/mount-record.ts';
import { encodeSource, SOURCE_INDEX, type SourceRecord } from '../mount-info/source-record.ts';
import type { Topology } from './topology.ts';

/** The sources of the mount. */
export interface MountParts {
  readonly record: MountRecord;
  /** Source number `index`, below `record.sources`, in its current state. */
  source(index: number): SourceRecord;
  /** Its statistics since its server started, as JSON; see mount-statistics.ts. */
  statistics(): string;
  /** The same and more, as JSON, while someone asks for it; see mount-statistics.ts. It has paths only for root. */
  activity(isRoot: boolean): string;
  /** The number of the source that has the content of the upper layer; undefined if the mount is read-only. */
  readonly upperSource?: number | undefined;
  /** Its last problems, as JSON; see problem-memory.ts. Undefined if only root may see them: they contain paths. */
  problems(isRoot: boolean): string | undefined;
}

const ROOT_ROW = 0;
const NO_PATH = new Uint8Array(0);
const SOURCE_KEY = /^source\.(\d{1,4})(?:\.([a-z_]+))?$/;
const CONTENT_KEYS: readonly string[] = ['object', 'verified', 'served', 'holders', 'refused', 'remote'];

export class MountIdentity implements PrivateAnswers {
  readonly #tables: ManifestTables;
  readonly #topology: Topology;
  readonly #parts: MountParts;

  constructor(tables: ManifestTables, topology: Topology, parts: MountParts) {
    this.#tables = tables;
    this.#topology = topology;
    this.#parts = parts;
  }

  xattr(row: number, name: Uint8Array, caller: Caller = UNKNOWN_CALLER, upper?: UpperInode): Uint8Array | Errno {
    const text = Buffer.from(name).toString('latin1');
    const isTrusted = text.startsWith('trusted.');
    const key = text.slice(text.indexOf('.cfs.') + '.cfs.'.length);
    const value =
      this.#fileXattr(row, key, isTrusted ? undefined : caller, upper) ??
      (isTrusted ? this.#trustedXattr(row, key) : undefined) ??
      (isTrusted && row === ROOT_ROW ? this.#sourceXattr(key) : undefined) ??
      (row === ROOT_ROW ? this.#watched(key, isTrusted) : undefined);
    return value === undefined ? ENODATA : Buffer.from(value as Uint8Array);
  }

  /**
   * For all users that may read the file; `caller` is undefined if the kernel has ensured that it is an administrator.
   */
  #fileXattr(
    row: number,
    key: string,
    caller: Caller | undefined,
    upper: UpperInode | undefined,
  ): Uint8Array | string | undefined {
    if (key === 'image') return this.#parts.record.imageId;
    if (key === 'file') return encodeFile(this.#fileRecord(row, caller, upper));
    if (key === 'statistics' && row === ROOT_ROW) return this.#parts.statistics();
    if (!CONTENT_KEYS.includes(key)) return undefined;
    const place = this.#placeOf(row, upper);
    if (place === undefined) return undefined;
    if (key === 'object') return place.object && `${place.object.hash}:${toHex(place.object.digest)}`;
    if (key === 'verified') return place.verified;
    if (key === 'refused') return JSON.stringify(place.refused ?? []);
    if (key === 'remote') return place.remote && JSON.stringify(place.remote);
    if (key === 'served') return place.source < 0 ? undefined : String(place.source);
    return place.holders.join(' ');
  }

  #watched(key: string, isRoot: boolean): string | undefined {
    if (key === 'activity') return this.#parts.activity(isRoot);
    return key === 'log' ? this.#parts.problems(isRoot) : undefined;
  }

  #trustedXattr(row: number, key: string): Uint8Array | undefined {
    if (key === 'path') return row < 0 ? undefined : pathOfRow(this.#tables, row);
    return key === 'mount' ? encodeMount(this.#parts.record) : undefined;
  }

  /**
   * "sources": their number; "source.N": `struct cfs_source`; "source.N.KEY": one of its fields as text, the handle as
   * `struct file_handle`.
   */
  #sourceXattr(key: string): Uint8Array | string | undefined {
    const { sources } = this.#parts.record;
    if (key === 'sources') return String(sources);

    const [, number, field] = SOURCE_KEY.exec(key) ?? [];
    if (number === undefined || Number(number) >= sources) return undefined;
    const record = this.#parts.source(Number(number));
    return field === undefined ? encodeSource(record) : sourceField(record, field);
  }

  /**
   * Answers an ioctl(2) on an open file.
   * @param request the command, unchanged
   * @param input the caller's structure
   * @param room the size of the caller's structure
   * @returns at most this many bytes; ENOTTY for any other command
   */
  ioctl(
    row: number,
    request: number,
    input: Uint8Array,
    room: number,
    caller: Caller = UNKNOWN_CALLER,
    upper?: UpperInode,
  ): Uint8Array | Errno {
    const answer = this.#answer(row, commandNumber(request), input, caller, upper);
    return isErrno(answer) ? answer : sizedAnswer(answer, room);
  }

  #answer(
    row: number,
    nr: number,
    input: Uint8Array,
    caller: Caller,
    upper: UpperInode | undefined,
  ): Uint8Array | Errno {
    if (nr === NR_MOUNT) return encodeMount(this.#parts.record);
    if (nr === NR_FILE) return encodeFile(this.#fileRecord(row, caller, upper));
    if (nr !== NR_SOURCE) return ENOTTY;
    if (input.length < SOURCE_INDEX + 4) return EINVAL;
    const index = new DataView(input.buffer, input.byteOffset, input.length).getUint32(SOURCE_INDEX, true);
    return index < this.#parts.record.sources ? encodeSource(this.#parts.source(index)) : EINVAL;
  }

  /** A hard link's first name may be in a directory that the caller may not search: then it is not reported. */
  #fileRecord(row: number, caller: Caller | undefined, upper: UpperInode | undefined): FileRecord {
    const path = row < 0 ? NO_PATH : pathOfRow(this.#tables, row);
    const isShown = caller === undefined || row < 0 || maySearchTo(this.#tables, path, caller);
    const { id, generation, size } = this.#tables.inodes;
    const { ino, ...of } = upper ?? {
      ino: u64(id, row),
      generation: generation[row] as number,
      size: u64(size, row),
    };
    return {
      imageId: this.#parts.record.imageId,
      ino,
      generation: of.generation,
      size: of.size,
      path: isShown ? path : NO_PATH,
      content: this.#placeOf(row, upper),
    };
  }

  /** Content of the upper layer is nowhere else, and nothing verifies it. */
  #placeOf(row: number, upper: UpperInode | undefined): ContentPlace | undefined {
    if (upper === undefined) return this.#topology.placeOf(row);
    const { upperSource } = this.#parts;
    if (!upper.isRegular || upperSource === undefined) return undefined;
    return { object: undefined, source: upperSource, holders: [upperSource], verified: 'off' };
  }
}

function sourceField(record: SourceRecord, field: string): Uint8Array | string | undefined {
  const { device, handle } = record;
  switch (field) {
    case 'fh':
      return handle && fileHandleStruct(handle);
    case 'path':
      return record.path;
    case 'dev':
      return `${device.major}:${device.minor}`;
    case 'given':
      return record.given;
    case 'kind':
      return record.kind;
    case 'id':
      return record.id;
    case 'fstype':
      return record.fsType;
    case 'fsuuid':
      return record.fsUuid;
    case 'mnt_id':
      return String(record.mountId);
    default:
      return undefined;
  }
}

/** `struct file_handle` of open_by_handle_at(2): length, type, bytes. */
function fileHandleStruct({ type, bytes }: FileHandle): Uint8Array {
  const struct = Buffer.alloc(8 + bytes.length);
  struct.writeUInt32LE(bytes.length, 0);
  struct.writeInt32LE(type, 4);
  struct.set(bytes, 8);
  return struct;
}
