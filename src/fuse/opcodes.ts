/** Names of opcodes, for people. */
import * as abi from './abi.ts';

/** Exports of abi.ts that are not opcodes although they begin with FUSE_ and are small numbers. */
const OTHERS = /^FUSE_(?:KERNEL|MINIMUM|ROOT_ID|NOTIFY|DEV_IOC)/;

const names: ReadonlyMap<number, string> = new Map(
  Object.entries(abi).flatMap(([name, value]): [number, string][] =>
    name.startsWith('FUSE_') && !OTHERS.test(name) ? [[value as number, name.slice('FUSE_'.length)]] : [],
  ),
);

/** "LOOKUP"; the number if it has no name. */
export const opcodeName = (opcode: number): string => names.get(opcode) ?? String(opcode);
