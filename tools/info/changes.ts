/** `cfs-info changes`. */
import { compareBytes, printable } from '../../src/base/bytes.ts';
import { jsonText } from '../../src/base/json-text.ts';
import { S_IFBLK, S_IFCHR, S_IFMT } from '../../src/base/stat-bits.ts';
import { aspectsOf } from '../../src/manifest/diff/aspects.ts';
import { askChanges, type MountChanges } from '../../src/mount-info/ask-changes.ts';
import type { ChangeRecord } from '../../src/mount-info/change-records.ts';
import { EXIT, type ExitStatus, printError } from '../cli.ts';
import { LETTERS } from './diff-lines.ts';
import { deviceNumbers, fileType, type InodeStatJson } from './inode.ts';
import type { Output } from './output.ts';

export interface ChangesOptions {
  readonly since?: string;
  /** Four fields per change, each ended by NUL. */
  readonly null: boolean;
  readonly json: boolean;
}

/**
 * Writes what the upper layer of a mount changes.
 * @returns whether there are changes
 */
export function showChanges(mount: string, { since, null: raw, json }: ChangesOptions, out: Output): ExitStatus {
  const changes = askChanges(mount, since);
  const records = changes.records.filter(({ isElsewhere }) => !isElsewhere).sort(byPath);
  if (json) writeJson(changes, records, out);
  else {
    for (const record of records) {
      if (raw) writeFields(record, out);
      else out.text(lineOf(record));
    }
    out.text(raw ? `T\0\0\0${changes.token}\0` : `T ${changes.token}\n`);
  }
  out.flush();
  reportOmissions(mount, changes, since);
  return records.length > 0 ? EXIT.found : EXIT.ok;
}

function reportOmissions(mount: string, changes: MountChanges, since: string | undefined): void {
  const say = (line: string): void => printError('cfs-info', line);
  if (since !== undefined && changes.isEverything) {
    say(`the mount at ${mount} does not know the token ${since}: all changes are listed`);
  }
  if (changes.isHidden) say('changes in directories that you may not list are left out');
  if (changes.isIncomplete) {
    say(
      'some names are left out: their paths have more than 15,000 bytes, or the upper layer has invalid data of them',
    );
  }
}

/** In path order: names are compared, and a slash sorts before every byte of a name. */
function byPath(a: ChangeRecord, b: ChangeRecord): number {
  return compareBytes(orderOf(a), orderOf(b)) || a.kind.localeCompare(b.kind);
}

const shownPath = ({ kind, path, old }: ChangeRecord): Uint8Array => (kind === 'removed' ? old : path);
const keys = new WeakMap<ChangeRecord, Uint8Array>();

function orderOf(record: ChangeRecord): Uint8Array {
  let key = keys.get(record);
  if (key === undefined) {
    key = shownPath(record).map((byte) => (byte === 0x2f ? 0 : byte));
    keys.set(record, key);
  }
  return key;
}

/** The aspects, and the words for a directory since an earlier call. */
function wordsOf({ what, hasOtherNames, isMoved }: ChangeRecord): string[] {
  return [...aspectsOf(what), ...(hasOtherNames ? ['entries'] : []), ...(isMoved ? ['tree'] : [])];
}

function lineOf(record: ChangeRecord): string {
  const words = wordsOf(record);
  const after = words.length === 0 ? '' : `  ${words.join(',')}`;
  const from = record.kind === 'renamed' ? `${printable(record.old)} -> ` : '';
  return `${LETTERS[record.kind]} ${from}${printable(shownPath(record))}${after}\n`;
}

/** Letter, words, path in the image, path now; fields that do not apply are empty. */
function writeFields(record: ChangeRecord, out: Output): void {
  out.text(`${LETTERS[record.kind]}\0${wordsOf(record).join(',')}\0`);
  out.bytes(record.old);
  out.text('\0');
  if (record.kind !== 'removed') out.bytes(record.path);
  out.text('\0');
}

/** The output of --json. */
export interface ChangesJson {
  readonly token: string;
  /** False: only those since the token that was given. */
  readonly all: boolean;
  readonly changes: readonly ChangedNameJson[];
}

/**
 * Keys without a value are omitted. Paths are as in the other commands: one that is not UTF-8 has `pathBase64`, too.
 */
export interface ChangedNameJson {
  readonly change: ChangeRecord['kind'];
  readonly what: readonly string[];
  /** The file is open for writing, or may be mapped. */
  readonly changing: true | undefined;
  readonly old: { readonly path: string; readonly pathBase64: string | undefined } | undefined;
  readonly new: InodeStatJson | undefined;
}

function writeJson({ token, isEverything }: MountChanges, records: readonly ChangeRecord[], out: Output): void {
  out.text(`{"token":${JSON.stringify(token)},"all":${isEverything},"changes":`);
  for (const record of records) out.jsonElement(jsonOfChange(record));
  out.jsonEnd();
  out.text('}\n');
}

function jsonOfChange(record: ChangeRecord): ChangedNameJson {
  const old = jsonText(record.old);
  const isOld = record.old.length > 0;
  return {
    change: record.kind,
    what: wordsOf(record),
    changing: record.isChanging || undefined,
    old: isOld ? { path: old.text, pathBase64: old.base64 } : undefined,
    new: record.kind === 'removed' ? undefined : jsonOfNew(record),
  };
}

function jsonOfNew(record: ChangeRecord): InodeStatJson {
  const { mode, uid, gid, nlink, size, mtime, mtimeNsec, ctime, ctimeNsec, ino, generation, rdev } = record;
  const path = jsonText(record.path);
  const type = mode & S_IFMT;
  return {
    path: path.text,
    pathBase64: path.base64,
    type: fileType(mode).name,
    mode,
    uid,
    gid,
    nlink,
    size,
    mtime,
    mtimeNsec,
    ctime,
    ctimeNsec,
    id: ino,
    generation,
    rdev: type === S_IFCHR || type === S_IFBLK ? deviceNumbers(rdev) : undefined,
  };
}
