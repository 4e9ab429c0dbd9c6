/** The files that a checkpoint uses, saved beside it: JSON, docs/checkpoint.md. Pure. */
import { CfsError } from '../base/error.ts';
import { type FileHandle, formatHandle, parseHandle } from '../base/handle-format.ts';
import { jsonText, versionText } from '../base/json-text.ts';
import type { OpenDescriptor, UsedFile } from './files-in-use.ts';

/** The name of the list in a directory of a checkpoint. */
export const FILES_FILE = 'cfs-files.json';
const FORMAT = 'cfs-checkpoint-files';
const FORMAT_VERSION = 1;

export interface SavedFile {
  readonly handle: FileHandle;
  /** In the mount when it was saved, for people; of an unlinked file, the name that it had. */
  readonly path: string;
  readonly uses: readonly string[];
  /** Undefined if it had the name by which it was opened. */
  readonly unlinked?: SavedUnlinked;
}

export interface SavedUnlinked {
  /** Names that it had beside that. */
  readonly links: number;
  /** Type and permissions. */
  readonly mode: number;
  readonly descriptors: readonly OpenDescriptor[];
  /** The name that the checkpoint gave it, from the mount's root; undefined if it is linkable only. */
  readonly relinked: string | undefined;
}

export interface SavedFiles {
  /** The id of the checkpoint, if it gave names. */
  readonly checkpoint: bigint | undefined;
  readonly files: readonly SavedFile[];
}

/**
 * @param pathOf the path in the mount, bytes
 * @param naming the names that the checkpoint gave, by the text of the handle
 */
export function formatSavedFiles(
  files: readonly UsedFile[],
  pathOf: (handle: FileHandle) => Uint8Array,
  naming?: { readonly id: bigint; readonly names: ReadonlyMap<string, string> },
): string {
  const entries = files.map(({ handle, uses, unlinked }) => {
    const text = formatHandle(handle);
    const entry = { handle: text, path: jsonText(unlinked?.path ?? pathOf(handle)).text, uses };
    if (unlinked === undefined) return entry;
    const { nlink, mode, descriptors } = unlinked;
    const relinked = naming?.names.get(text);
    const more = { links: nlink, mode: mode.toString(8), descriptors };
    return { ...entry, unlinked: relinked === undefined ? more : { ...more, relinked } };
  });
  const checkpoint = naming === undefined ? {} : { checkpoint: idText(naming.id) };
  return `${JSON.stringify({ format: FORMAT, version: FORMAT_VERSION, ...checkpoint, files: entries }, null, 2)}\n`;
}

/** 16 hexadecimal digits. */
export const idText = (id: bigint): string => id.toString(16).padStart(16, '0');

/** @throws CfsError (usage) that describes the problem of the list `from` */
export function parseSavedFiles(json: string, from: string): SavedFiles {
  const fail = (reason: string): never => {
    throw new CfsError('usage', `Cannot use the list of files ${from}: ${reason}`);
  };
  let list: { format?: unknown; version?: unknown; files?: unknown; checkpoint?: unknown } | null;
  try {
    list = JSON.parse(json) as typeof list;
  } catch {
    return fail('it is not JSON');
  }
  if (list?.format !== FORMAT || !Array.isArray(list.files)) return fail('it is not one of a checkpoint');
  if (list.version !== FORMAT_VERSION) {
    return fail(`it has ${versionText(list.version)}; this program knows version ${FORMAT_VERSION}`);
  }
  const { checkpoint } = list;
  if (checkpoint !== undefined && !isId(checkpoint)) return fail('the id of the checkpoint is malformed');
  const files = list.files.map((entry: Partial<Record<string, unknown>> | null, i): SavedFile => {
    const handle = typeof entry?.['handle'] === 'string' ? parseHandle(entry['handle']) : undefined;
    const { path, uses, unlinked } = entry ?? {};
    if (handle === undefined || typeof path !== 'string' || !isTexts(uses)) return fail(`file ${i} is malformed`);
    if (unlinked === undefined) return { handle, path, uses };
    return { handle, path, uses, unlinked: parseUnlinked(unlinked) ?? fail(`file ${i} is malformed`) };
  });
  return { checkpoint: checkpoint === undefined ? undefined : BigInt(`0x${checkpoint}`), files };
}

const isId = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{16}$/.test(value);

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((text) => typeof text === 'string');

function parseUnlinked(value: unknown): SavedUnlinked | undefined {
  const { links, mode, descriptors, relinked } = (value ?? {}) as Partial<Record<string, unknown>>;
  if (!isCount(links) || typeof mode !== 'string' || !/^[0-7]{1,7}$/.test(mode)) return undefined;
  if (!Array.isArray(descriptors) || !descriptors.every(isDescriptor)) return undefined;
  if (relinked !== undefined && (typeof relinked !== 'string' || !isPlainPath(relinked))) return undefined;
  return { links, mode: Number.parseInt(mode, 8), descriptors, relinked };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function isDescriptor(value: unknown): value is OpenDescriptor {
  const { process, thread, fd, flags, position } = (value ?? {}) as Partial<Record<string, unknown>>;
  if (thread !== undefined && !isCount(thread)) return false;
  return isCount(process) && isCount(fd) && isCount(position) && typeof flags === 'string' && /^[0-7]+$/.test(flags);
}

/** A path that stays in the mount. */
const isPlainPath = (path: string): boolean =>
  !path.includes('\0') && path.split('/').every((name) => !['', '.', '..'].includes(name));
