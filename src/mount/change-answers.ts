/**
 * Answers CFS_IOC_CHANGES: the next piece of a pass over the changes of the upper layer. A token is the era of the
 * table of identities and a number of changes within it; docs/changes.md says what it promises.
 */
import { EINVAL, type Errno } from '../base/errno.ts';
import { commandNumber, sizedAnswer } from '../base/ioctl-command.ts';
import type { Caller } from '../fs/caller.ts';
import type { ChangeItem } from '../layered/changes/change-item.ts';
import { type ChangeCursor, ChangeMemory, ChangePass, FIRST } from '../layered/changes/change-pass.ts';
import { completeTable } from '../layered/changes/complete-table.ts';
import type { Layer } from '../layered/layer.ts';
import type { LayerIoctls } from '../layered/layer-ioctls.ts';
import {
  type ChangeRecord,
  type ChangesRequest,
  ChangesWriter,
  CURSOR_SIZE,
  decodeRequest,
  EVERYTHING,
  HIDDEN,
  INCOMPLETE,
  MORE,
  REBASED,
} from '../mount-info/change-records.ts';
import { NR_CHANGES } from '../mount-info/mount-ioctls.ts';

/** For one thread. */
export function changeIoctls(): LayerIoctls {
  let memory: ChangeMemory | undefined;
  return (layer, command, input, room, caller) => {
    if (commandNumber(command) !== NR_CHANGES) return undefined;
    memory ??= new ChangeMemory(layer);
    const answer = answerChanges(layer, memory, input, caller);
    if (!(answer instanceof Uint8Array)) return answer;
    // a part of the changes would be lost
    return answer.length > room ? EINVAL : sizedAnswer(answer, room);
  };
}

function answerChanges(layer: Layer, memory: ChangeMemory, input: Uint8Array, caller: Caller): Uint8Array | Errno {
  const request = decodeRequest(input);
  const from = request && decodeCursor(request.cursor);
  if (request === undefined || from === undefined) return EINVAL;
  const { table, state } = layer;
  const isFirst = request.token === '';
  const token = isFirst ? state.hold(() => tokenOf(table.changeEra, table.nextChangeNumber())) : request.token;
  completeTable(layer);
  const since = numberOf(request.since, table.changeEra);
  const writer = new ChangesWriter();
  let isTooLong = false;
  const take = (item: ChangeItem): boolean => {
    const record = recordOf(item);
    if (ChangesWriter.fits(record)) return writer.add(record);
    isTooLong = true;
    return true;
  };
  return state.hold(() => {
    layer.tree.tidy();
    const pass = new ChangePass(layer, memory, since, caller, take);
    const next = pass.run(isFirst ? FIRST : from);
    const flags =
      (next === undefined ? 0 : MORE) |
      (since === 0 ? EVERYTHING : 0) |
      (pass.isHiddenFromCaller ? HIDDEN : 0) |
      (pass.isIncomplete || isTooLong ? INCOMPLETE : 0) |
      (layer.identities.isEmpty ? 0 : REBASED);
    const answered: ChangesRequest = { since: request.since, token, cursor: encodeCursor(next ?? FIRST) };
    return writer.finish(flags, answered);
  });
}

const tokenOf = (era: string, number: number): string => `${era}-${number.toString(16)}`;

/** The number in a token of this era; 0 for any other, since which everything counts as changed. */
function numberOf(token: string, era: string): number {
  const [, of, number = '0'] = /^([0-9a-f]{16})-([0-9a-f]{1,8})$/.exec(token) ?? [];
  return of === era ? Number.parseInt(number, 16) : 0;
}

function recordOf({ attributes, old, ...item }: ChangeItem): ChangeRecord {
  const { ino, generation, mode, nlink, uid, gid, rdev, size } = attributes;
  const seconds = (low: number, high: number): number => (low >>> 0) + (high | 0) * 0x1_0000_0000;
  return {
    ...item,
    old: old ?? new Uint8Array(),
    ino,
    generation,
    mode,
    nlink,
    uid,
    gid,
    rdev,
    size,
    mtime: seconds(attributes.mtimeLow, attributes.mtimeHigh),
    mtimeNsec: attributes.mtimeNsec,
    ctime: seconds(attributes.ctimeLow, attributes.ctimeHigh),
    ctimeNsec: attributes.ctimeNsec,
  };
}

const STAGES = ['file', 'hidden', 'done'] as const;
/** Offsets in a cursor: part and stage in two bytes, the length of the name in two, row, dirent, name. */
const NAME = 16;

function encodeCursor({ part, row, name, stage, dirent }: ChangeCursor): Uint8Array {
  const bytes = Buffer.alloc(CURSOR_SIZE);
  bytes[0] = part === 'links' ? 1 : 0;
  bytes[1] = STAGES.indexOf(stage);
  bytes.writeUInt16LE(name.length, 2);
  bytes.writeUInt32LE(row, 4);
  bytes.writeUInt32LE(dirent, 8);
  bytes.set(name, NAME);
  return bytes;
}

function decodeCursor(cursor: Uint8Array): ChangeCursor | undefined {
  const bytes = Buffer.from(cursor.buffer, cursor.byteOffset, cursor.length);
  const stage = STAGES[bytes[1] as number];
  const length = bytes.readUInt16LE(2);
  if (stage === undefined || (bytes[0] as number) > 1 || NAME + length > CURSOR_SIZE) return undefined;
  return {
    part: bytes[0] === 1 ? 'links' : 'directories',
    row: bytes.readUInt32LE(4),
    name: cursor.slice(NAME, NAME + length),
    stage,
    dirent: bytes.readUInt32LE(8),
  };
}
