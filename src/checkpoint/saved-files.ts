/** The files that a checkpoint uses, saved beside it: JSON, docs/checkpoint.md. Pure. */
import { CfsError } from '../base/error.ts';
import { type FileHandle, formatHandle, parseHandle } from '../base/handle-format.ts';
import { jsonText, versionText } from '../base/json-text.ts';
import type { UsedFile } from './files-in-use.ts';

/** The name of the list in a directory of a checkpoint. */
export const FILES_FILE = 'cfs-files.json';
const FORMAT = 'cfs-checkpoint-files';
const FORMAT_VERSION = 1;

export interface SavedFile {
  readonly handle: FileHandle;
  /** In the image when it was saved, for people. */
  readonly path: string;
  readonly uses: readonly string[];
}

/** @param pathOf the path in the image, bytes */
export function formatSavedFiles(files: readonly UsedFile[], pathOf: (handle: FileHandle) => Uint8Array): string {
  const entries = files.map(({ handle, uses }) => ({
    handle: formatHandle(handle),
    path: jsonText(pathOf(handle)).text,
    uses,
  }));
  return `${JSON.stringify({ format: FORMAT, version: FORMAT_VERSION, files: entries }, null, 2)}\n`;
}

/** @throws CfsError (usage) that describes the problem of the list `from` */
export function parseSavedFiles(json: string, from: string): SavedFile[] {
  const fail = (reason: string): never => {
    throw new CfsError('usage', `Cannot use the list of files ${from}: ${reason}`);
  };
  let list: { format?: unknown; version?: unknown; files?: unknown } | null;
  try {
    list = JSON.parse(json) as typeof list;
  } catch {
    return fail('it is not JSON');
  }
  if (list?.format !== FORMAT || !Array.isArray(list.files)) return fail('it is not one of a checkpoint');
  if (list.version !== FORMAT_VERSION) {
    return fail(`it has ${versionText(list.version)}; this program knows version ${FORMAT_VERSION}`);
  }
  return list.files.map((entry: { handle?: unknown; path?: unknown; uses?: unknown } | null, i) => {
    const handle = typeof entry?.handle === 'string' ? parseHandle(entry.handle) : undefined;
    const { path, uses } = entry ?? {};
    if (handle === undefined || typeof path !== 'string' || !isTexts(uses)) return fail(`file ${i} is malformed`);
    return { handle, path, uses };
  });
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((text) => typeof text === 'string');
