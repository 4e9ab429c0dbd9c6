/**
 * A list of a mount's sources, saved beside a checkpoint in order to repeat the mount: JSON, docs/handles.md. Pure.
 *
 * Paths that are not UTF-8 have a second key with "Base64", which then takes precedence.
 */
import { CfsError } from '../base/error.ts';
import { type FileHandle, formatHandle, parseHandle } from '../base/handle-format.ts';
import { jsonText, versionText } from '../base/json-text.ts';
import { pathText } from '../base/path-text.ts';
import { parseUuid } from '../system/file-system-uuid.ts';
import type { MountRecord } from './mount-record.ts';
import type { SourceKind, SourceRecord } from './source-record.ts';

const FORMAT = 'cfs-sources';
const FORMAT_VERSION = 1;

/** One source in JSON. Keys without a value are left out. */
export interface SourceJson {
  readonly kind: string;
  /** The image's id, or the repository's uuid. */
  readonly id: string;
  /** Absent if it is gone. */
  readonly path: string | undefined;
  readonly pathBase64: string | undefined;
  readonly given: string;
  readonly givenBase64: string | undefined;
  /** st_dev, "major:minor". */
  readonly dev: string;
  /** A string beyond 2^53, because a JSON reader may lose digits. */
  readonly ino: number | string;
  readonly fsType: string;
  readonly fsUuid: string | undefined;
  readonly mountId: number;
  readonly handle: string | undefined;
  readonly parent:
    | { readonly handle: string; readonly name: string; readonly nameBase64: string | undefined }
    | undefined;
}

export interface SavedSourcesJson {
  readonly format: typeof FORMAT;
  readonly version: number;
  readonly mountpoint: string;
  readonly mountpointBase64: string | undefined;
  readonly options: string;
  readonly optionsBase64: string | undefined;
  /** The image, then the repositories in search order, then upperdir and workdir. */
  readonly sources: readonly SourceJson[];
}

/** The data needed to repeat a mount. */
export interface SavedSource {
  readonly id: string;
  readonly path: Buffer | undefined;
  readonly fsType: string;
  readonly fsUuid: string | undefined;
  readonly dev: string;
  readonly handle: FileHandle | undefined;
  readonly parent: { readonly handle: FileHandle; readonly name: Buffer } | undefined;
}

export interface SavedSources {
  readonly mountpoint: Buffer;
  /** In the syntax of cfs-mount -o. */
  readonly options: string;
  readonly image: SavedSource;
  readonly repositories: readonly SavedSource[];
  /** The directories of the upper layer; undefined if the mount was read-only. */
  readonly layer: SavedLayer | undefined;
}

/** `workdir`: undefined for a read-only mount without one. */
export interface SavedLayer {
  readonly upperdir: SavedSource;
  readonly workdir: SavedSource | undefined;
}

export function jsonOfSource(source: SourceRecord): SourceJson {
  const { kind, id, device, ino, fsType, fsUuid, mountId, handle, parent } = source;
  const path = source.path && jsonText(source.path);
  const given = jsonText(source.given);
  const name = parent && jsonText(parent.name);
  return {
    kind,
    id,
    path: path?.text,
    pathBase64: path?.base64,
    given: given.text,
    givenBase64: given.base64,
    dev: `${device.major}:${device.minor}`,
    ino: ino <= Number.MAX_SAFE_INTEGER ? Number(ino) : String(ino),
    fsType,
    fsUuid,
    mountId,
    handle: handle && formatHandle(handle),
    parent: parent && name && { handle: formatHandle(parent.handle), name: name.text, nameBase64: name.base64 },
  };
}

/** @param mountpoint the current path of the mount */
export function jsonOfSources(
  mount: MountRecord,
  mountpoint: Uint8Array,
  sources: readonly SourceRecord[],
): SavedSourcesJson {
  const where = jsonText(mountpoint);
  const options = jsonText(mount.options);
  return {
    format: FORMAT,
    version: FORMAT_VERSION,
    mountpoint: where.text,
    mountpointBase64: where.base64,
    options: options.text,
    optionsBase64: options.base64,
    sources: sources.map(jsonOfSource),
  };
}

/**
 * @param from identifies the list in messages
 * @throws CfsError (usage) that describes its problem
 */
export function parseSavedSources(json: string, from: string): SavedSources {
  const fail = (reason: string, hint?: string): never => {
    throw new CfsError('usage', `Cannot use the source list ${from}: ${reason}`, { hint });
  };
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return fail('it is not JSON');
  }
  const list = asObject(value);
  if (list?.['format'] !== FORMAT) return fail('it is not one', '`saveSources` prints one.');
  const { version } = list;
  if (version !== FORMAT_VERSION) {
    return fail(`it has ${versionText(version)}; this program knows version ${FORMAT_VERSION}`);
  }
  const mountpoint = pathOf(list, 'mountpoint') || fail('it has no mount point that is an absolute path');
  const options = optionsOf(list) ?? fail('it has no options');
  const entries = Array.isArray(list['sources']) ? list['sources'] : fail('it has no sources');
  const ofLayer = entries.findIndex((entry) => asObject(entry)?.['kind'] === 'upperdir');
  const isLayered = ofLayer > 0;
  const sources = entries.map(
    (entry, i) =>
      parseSource(entry, kindAt(i, isLayered ? ofLayer : entries.length)) ?? fail(`source ${i} is malformed`),
  );
  const [image, ...repositories] = sources;
  if (image === undefined) return fail('it has no image');
  if (!isLayered) return { mountpoint, options, image, repositories, layer: undefined };
  const [upperdir, workdir] = repositories.splice(ofLayer - 1) as [SavedSource, SavedSource?];
  return { mountpoint, options, image, repositories, layer: { upperdir, workdir } };
}

/** The kind that source number `i` must have; `ofLayer`: the number of upperdir. */
function kindAt(i: number, ofLayer: number): SourceKind {
  if (i === 0) return 'image';
  if (i < ofLayer) return 'repository';
  return i === ofLayer ? 'upperdir' : 'workdir';
}

type JsonObject = Readonly<Record<string, unknown>>;

const asObject = (value: unknown): JsonObject | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;

/** The exact bytes of a text with its Base64 twin; undefined if there is none, or it cannot be a path. */
function bytesOf(object: JsonObject, key: string): Buffer | undefined {
  const exact = object[`${key}Base64`];
  const value = exact ?? object[key];
  if (typeof value !== 'string') return undefined;
  const bytes = Buffer.from(value, exact === undefined ? 'utf8' : 'base64');
  return bytes.length === 0 || bytes.length > MAX_PATH || bytes.includes(0) ? undefined : bytes;
}

/** As text of base/path-text.ts: it may contain paths of keys. */
function optionsOf(list: JsonObject): string | undefined {
  const { options, optionsBase64 } = list;
  if (typeof optionsBase64 === 'string') return pathText(Buffer.from(optionsBase64, 'base64'));
  return typeof options === 'string' ? options : undefined;
}

const MAX_PATH = 4095;
const IMAGE_ID = /^[0-9a-f]{64}$/;
const DEVICE = /^\d{1,10}:\d{1,10}$/;

/** One value of the list: the parsed value, undefined if there was none, `false` if it is malformed. */
type Read<T> = T | undefined | false;

function parseSource(value: unknown, kind: SourceKind): SavedSource | undefined {
  const entry = asObject(value);
  if (entry?.['kind'] !== kind) return undefined;
  const { id, fsType, fsUuid, dev } = entry;
  if (typeof id !== 'string' || (kind === 'image' && !IMAGE_ID.test(id))) return undefined;
  if (typeof fsType !== 'string' || typeof dev !== 'string' || !DEVICE.test(dev)) return undefined;
  if (fsUuid !== undefined && (typeof fsUuid !== 'string' || parseUuid(fsUuid) === undefined)) return undefined;
  const path = pathOf(entry, 'path');
  const handle = handleOf(entry['handle']);
  const parent = parentOf(entry['parent']);
  if (path === false || handle === false || parent === false) return undefined;
  return { id, path, fsType, fsUuid, dev, handle, parent };
}

/** An absolute path. */
function pathOf(object: JsonObject, key: string): Read<Buffer> {
  if (object[key] === undefined && object[`${key}Base64`] === undefined) return undefined;
  const path = bytesOf(object, key);
  return path?.[0] === SLASH ? path : false;
}
const SLASH = 0x2f;

function handleOf(value: unknown): Read<FileHandle> {
  if (value === undefined) return undefined;
  return (typeof value === 'string' && parseHandle(value)) || false;
}

function parentOf(value: unknown): Read<{ handle: FileHandle; name: Buffer }> {
  if (value === undefined) return undefined;
  const parent = asObject(value);
  if (parent === undefined) return false;
  const handle = handleOf(parent['handle']);
  const name = bytesOf(parent, 'name');
  return handle && name !== undefined && !name.includes(SLASH) ? { handle, name } : false;
}
