import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  DIRECTORY,
  IdentityTable,
  MOST_COUNTED,
  NEW,
  scatteredBytes,
  tableBytes,
  UPPER,
} from '../../../src/upper/identity-table.ts';
import { isSound } from '../../../src/upper/table-check.ts';

const KEY = Uint8Array.from({ length: 32 }, (_, i) => 200 + i);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const LAST_ID = 2 ** 52 - 1;
const ROOT = 1;

let memory: ArrayBuffer;
let table: IdentityTable;

function makeTable(inodes: number): void {
  memory = new ArrayBuffer(tableBytes(inodes));
  table = IdentityTable.create(memory, inodes, KEY);
}

beforeEach(() => makeTable(8));

const reopened = (): IdentityTable => {
  expect(isSound(memory)).toBe(true);
  const next = IdentityTable.open(memory);
  if (next === undefined) throw new Error('cannot be opened');
  return next;
};
/** Names as "PARENT/NAME". */
const namesOf = (row: number): string[] =>
  reopened()
    .names(row)
    .map(({ parent, name }) => `${parent}/${Buffer.from(name).toString('latin1')}`)
    .sort();

describe('a table of identities', () => {
  test('keeps its capacity, its key and whether it is clean', () => {
    expect([table.capacity, table.count, table.isClean]).toEqual([8, 0, false]);
    expect(table.upperKey).toEqual(KEY);
    table.setClean(true);
    const next = reopened();
    expect([next.capacity, next.count, next.isClean]).toEqual([8, 0, true]);
    expect(next.upperKey).toEqual(KEY);
    next.setClean(false);
    expect(table.isClean).toBe(false);
  });

  test('finds rows by all 52 bits of an id', () => {
    const ids = [1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 51, LAST_ID];
    const rows = ids.map((id, i) => table.add(id, 0xffff_fff0 + i));
    expect(new Set(rows).size).toBe(ids.length);
    const next = reopened();
    expect(ids.map((id) => next.find(id))).toEqual(rows);
    expect(rows.map((row) => next.id(row))).toEqual(ids);
    expect(rows.map((row) => next.generation(row))).toEqual(ids.map((_, i) => 0xffff_fff0 + i));
    expect([...next.rows()]).toEqual(rows);
    expect([0, 2, 2 ** 31 + 1, LAST_ID - 1, -1, 2 ** 52 + 1].map((id) => next.find(id))).toEqual(Array(6).fill(-1));
  });

  test('refuses an invalid id, and an id that it already has', () => {
    table.add(7, 0);
    for (const id of [0, -1, 1.5, 2 ** 52, Number.NaN]) expect(() => table.add(id, 0)).toThrow('no id');
    expect(() => table.add(7, 1)).toThrow('has 7 already');
    expect(table.count).toBe(1);
  });

  test('has room for exactly its capacity, and reuses removed rows', () => {
    const rows = Array.from({ length: 8 }, (_, i) => table.add(i + 1, 0));
    expect(rows).not.toContain(-1);
    expect(table.add(9, 0)).toBe(-1);
    table.setFlags(rows[3] as number, 1, 0);
    table.setBacking(rows[3] as number, 5);
    table.remove(rows[3] as number);
    expect([table.count, table.find(4)]).toEqual([7, -1]);
    const row = table.add(9, 0);
    expect([row, table.flags(row), table.backing(row)]).toEqual([rows[3], 0, 0]);
    expect(reopened().count).toBe(8);
  });

  test('keeps flags, counts and words of a row', () => {
    const [row, other] = [table.add(7, 0), table.add(8, 0)];
    table.setFlags(row, UPPER | NEW | 0x4000_0000, 0);
    table.setFlags(row, DIRECTORY, NEW);
    table.setFlags(row, -1, 0);
    table.setFlags(row, 0, ~(UPPER | DIRECTORY));
    expect(table.addOpens(row, 2)).toBe(2);
    expect(table.addOpens(row, -1)).toBe(1);
    expect(table.addReferences(row, 5)).toBe(5);
    table.setBacking(row, -1);
    for (const i of [0, 1, 2, 3]) table.setExtra(row, i, -i);
    const next = reopened();
    expect([next.flags(row), next.opens(row), next.references(row), next.backing(row)]).toEqual([3, 1, 5, -1]);
    expect([0, 1, 2, 3].map((i) => next.extra(row, i))).toEqual([0, -1, -2, -3]);
    expect([next.flags(other), next.opens(other), next.references(other), next.backing(other)]).toEqual([0, 0, 0, 0]);
    expect(() => next.setExtra(row, 4, 1)).toThrow('no word 4');
    expect(() => next.extra(row, -1)).toThrow('no word -1');
  });

  test('never counts below 0, and does not lower a count that may be more than the field can express', () => {
    const row = table.add(7, 0);
    expect(table.addReferences(row, -3)).toBe(0);
    expect(table.addReferences(row, MOST_COUNTED - 1)).toBe(MOST_COUNTED - 1);
    expect(table.addReferences(row, 9)).toBe(MOST_COUNTED);
    expect(table.addReferences(row, -MOST_COUNTED)).toBe(MOST_COUNTED);
  });

  test('throws for rows that do not exist, and changes nothing', () => {
    const [row, gone] = [table.add(7, 0), table.add(8, 0)];
    table.remove(gone);
    const before = Buffer.from(memory).toString('latin1');
    for (const none of [-1, gone, gone + 1, 8, 1e9, 0.5, Number.NaN]) {
      for (const call of [
        () => table.id(none),
        () => table.setFlags(none, 1, 0),
        () => table.setUpper(none, 1, 1),
        () => table.addOpens(none, 1),
        () => table.setBacking(none, 1),
        () => table.setExtra(none, 0, 1),
        () => table.addName(none, ROOT, bytes('a')),
        () => table.moveName(none, ROOT, bytes('a'), ROOT, bytes('b')),
        () => table.remove(none),
      ]) {
        expect(call).toThrow('has no row');
      }
    }
    expect(Buffer.from(memory).toString('latin1')).toBe(before);
    expect(table.id(row)).toBe(7);
  });
});

describe('inodes of the upper layer', () => {
  test('are found by all 64 bits', () => {
    const inodes = [
      [1, 0],
      [0, 1],
      [0xffff_ffff, 0xffff_ffff],
      [0x8000_0000, 0],
    ] as const;
    const rows = inodes.map(([low, high], i) => {
      const row = table.add(i + 1, 0);
      table.setUpper(row, low, high);
      return row;
    });
    const next = reopened();
    expect(inodes.map(([low, high]) => next.findUpper(low, high))).toEqual(rows);
    expect(rows.map((row) => [next.upperLow(row), next.upperHigh(row)])).toEqual(inodes);
    expect(next.findUpper(1, 1)).toBe(-1);
    expect(next.findUpper(0, 0)).toBe(-1);
  });

  test('belong to one row: the last one for which they were set', () => {
    const [a, b] = [table.add(7, 0), table.add(8, 0)];
    table.setUpper(a, 5, 0);
    table.setUpper(b, 6, 0);
    table.setUpper(b, 5, 0);
    expect([table.findUpper(5, 0), table.findUpper(6, 0)]).toEqual([b, -1]);
    expect([table.upperLow(a), table.upperHigh(a)]).toEqual([0, 0]);
    table.setUpper(b, 5, 0);
    table.setUpper(a, 0, 0);
    expect(reopened().findUpper(5, 0)).toBe(b);
    table.setUpper(b, 0, 0);
    expect(reopened().findUpper(5, 0)).toBe(-1);
  });

  test('are forgotten with their row', () => {
    const row = table.add(7, 0);
    table.setUpper(row, 5, 0);
    table.remove(row);
    expect(reopened().findUpper(5, 0)).toBe(-1);
  });
});

describe('names', () => {
  test('of every length and with any bytes are kept', () => {
    makeTable(6_000);
    const all = Uint8Array.from({ length: 1024 }, (_, i) => i);
    for (let length = 1; length <= 1024; length++) {
      const row = table.add(length, 0);
      expect(table.addName(row, LAST_ID - length, all.subarray(0, length))).toBe(true);
    }
    const next = reopened();
    for (let length = 1; length <= 1024; length++) {
      expect(next.nameOf(next.find(length))).toEqual({ parent: LAST_ID - length, name: all.slice(0, length) });
    }
  });

  test('of hard links are all kept; adding one again changes nothing', () => {
    const row = table.add(7, 0);
    expect([table.nameOf(row), table.names(row), table.nameCount(row)]).toEqual([undefined, [], 0]);
    for (const name of ['a', 'b', 'ab', 'a']) expect(table.addName(row, ROOT, bytes(name))).toBe(true);
    table.addName(row, 2 ** 32 + ROOT, bytes('a'));
    expect(namesOf(row)).toEqual(['1/a', '1/ab', '1/b', '4294967297/a']);
    expect(table.nameCount(row)).toBe(4);
    expect(table.removeName(row, ROOT, bytes('a'))).toBe(true);
    expect(table.removeName(row, ROOT, bytes('a'))).toBe(false);
    expect(namesOf(row)).toEqual(['1/ab', '1/b', '4294967297/a']);
    expect(table.nameCount(row)).toBe(3);
  });

  test('are replaced at any place of the list', () => {
    const row = table.add(7, 0);
    for (const name of ['a', 'b', 'c']) table.addName(row, ROOT, bytes(name));
    for (const name of ['a', 'b', 'c']) expect(table.moveName(row, ROOT, bytes(name), 2, bytes(`${name}2`))).toBe(true);
    expect(namesOf(row)).toEqual(['2/a2', '2/b2', '2/c2']);
    expect(table.nameCount(row)).toBe(3);
  });

  test('stay replaced if the same call is repeated', () => {
    const row = table.add(7, 0);
    table.addName(row, ROOT, bytes('a'));
    for (let again = 0; again < 2; again++) table.moveName(row, ROOT, bytes('a'), ROOT, bytes('b'));
    expect(namesOf(row)).toEqual(['1/b']);
    table.addName(row, ROOT, bytes('c'));
    table.moveName(row, ROOT, bytes('b'), ROOT, bytes('c'));
    table.moveName(row, ROOT, bytes('c'), ROOT, bytes('c'));
    expect(namesOf(row)).toEqual(['1/c']);
  });

  test('are copies, which later changes of the table do not affect', () => {
    const row = table.add(7, 0);
    table.addName(row, ROOT, bytes('before'));
    const name = table.nameOf(row);
    table.moveName(row, ROOT, bytes('before'), ROOT, bytes('after!'));
    expect(name).toEqual({ parent: ROOT, name: bytes('before') });
  });

  test('are refused if their length or their parent is invalid', () => {
    const row = table.add(7, 0);
    for (const length of [0, 1025]) {
      expect(() => table.addName(row, ROOT, new Uint8Array(length))).toThrow(`a name of ${length} bytes`);
    }
    for (const parent of [0, -1, 2 ** 52]) expect(() => table.addName(row, parent, bytes('a'))).toThrow('no id');
  });

  test('can be replaced and removed in a full heap, and then added', () => {
    const row = table.add(7, 0);
    const longest = (n: number): Uint8Array => Buffer.alloc(1024, `${n},`);
    let n = 0;
    while (table.addName(row, ROOT, longest(n))) n++;
    expect(n).toBeGreaterThan(20);
    let short = 0;
    while (table.addName(row, 3, bytes(`${short}`))) short++;
    for (let i = 0; i < n; i++) expect(table.moveName(row, ROOT, longest(i), 2, longest(i + 1))).toBe(true);
    expect(table.nameCount(row)).toBe(n + short);
    expect(table.removeName(row, 2, longest(1))).toBe(true);
    expect(table.addName(row, ROOT, bytes('a'))).toBe(true);
    table.remove(row);
    expect(reopened().count).toBe(0);
  });

  test('of any lengths can be added and removed any number of times without using more memory', () => {
    const rows = Array.from({ length: 8 }, (_, i) => table.add(i + 1, 0));
    const name = (round: number, i: number): Uint8Array =>
      Buffer.alloc(((round * 37 + i * 101) % 150) + 8, `${round},${i},`);
    let done = 0;
    for (let round = 0; round < 4_000; round++) {
      const isMoved = round % 3 === 0;
      for (const [i, row] of rows.entries()) {
        const [before, after] = [name(round, i), name(round + 1, i)];
        if (table.addName(row, ROOT, before)) done++;
        if (isMoved) table.moveName(row, ROOT, before, 2, after);
        if (table.removeName(row, isMoved ? 2 : ROOT, isMoved ? after : before)) done++;
      }
    }
    expect(done).toBe(4_000 * 8 * 2);
    expect(reopened().count).toBe(8);
    expect(usedBytes()).toBeLessThan(16_384);
  });
});

/** Bytes of rows and names that have been written at least once. */
function usedBytes(): number {
  const rest = new Uint8Array(memory, scatteredBytes(table.capacity));
  return rest.reduce((count, byte) => count + (byte === 0 ? 0 : 1), 0);
}

describe('the memory', () => {
  test('must be long enough, and empty', () => {
    const used = new ArrayBuffer(tableBytes(8));
    new Uint8Array(used)[5] = 1;
    expect(() => IdentityTable.create(used, 8, KEY)).toThrow('is in use');
    expect(() => IdentityTable.create(new ArrayBuffer(tableBytes(8) - 1), 8, KEY)).toThrow('too short');
    expect(() => IdentityTable.create(memory, 8, KEY)).toThrow('is in use');
    expect(() => IdentityTable.create(new ArrayBuffer(tableBytes(8)), 8, KEY.subarray(1))).toThrow('31 bytes');
    for (const inodes of [0, -1, 1.5, 0x100_0001, Number.NaN]) {
      expect(() => tableBytes(inodes)).toThrow('1 to 16777216 are possible');
    }
  });

  test('may be longer', () => {
    const long = new ArrayBuffer(tableBytes(8) + 4096);
    const row = IdentityTable.create(long, 8, KEY).add(7, 0);
    expect(IdentityTable.open(long)?.find(7)).toBe(row);
  });

  test('is whole pages', () => {
    for (const inodes of [1, 8, 1000, 4_194_304]) expect(tableBytes(inodes) % 4096).toBe(0);
  });

  test('is reserved before it is used, in pieces, from the beginning to the end', () => {
    const reserved: [number, number][] = [];
    const inodes = 20_000;
    memory = new ArrayBuffer(tableBytes(inodes));
    const reserve = (offset: number, length: number): boolean => {
      expect(new Uint8Array(memory, offset, length).every((byte) => byte === 0)).toBe(true);
      reserved.push([offset, offset + length]);
      return true;
    };
    table = IdentityTable.create(memory, inodes, KEY, reserve);
    for (let i = 1; i <= inodes; i++)
      expect(table.addName(table.add(i, 0), ROOT, bytes(`name ${i} ${'x'.repeat(50)}`))).toBe(true);
    expect(table.add(inodes + 1, 0)).toBe(-1);
    const inOrder = [...reserved].sort(([a], [b]) => a - b);
    expect(inOrder[0]?.[0]).toBe(scatteredBytes(inodes));
    for (const [i, [from]] of inOrder.entries())
      if (i > 0) expect(from).toBeGreaterThanOrEqual((inOrder[i - 1] as [number, number])[1]);
    expect(Math.max(...inOrder.map(([, to]) => to))).toBeLessThanOrEqual(memory.byteLength);
    const words = new Int32Array(memory);
    const isReserved = (byte: number): boolean => inOrder.some(([from, to]) => byte >= from && byte < to);
    const missing: number[] = [];
    for (let i = scatteredBytes(inodes) / 4; i < words.length; i++)
      if (words[i] !== 0 && !isReserved(i * 4)) missing.push(i);
    expect(missing).toEqual([]);
  });

  test('that cannot be reserved counts as full, until it can', () => {
    let isFull = true;
    const inodes = 8;
    memory = new ArrayBuffer(tableBytes(inodes));
    table = IdentityTable.create(memory, inodes, KEY, () => !isFull);
    expect(table.add(7, 0)).toBe(-1);
    isFull = false;
    const row = table.add(7, 0);
    isFull = true;
    expect(table.addName(row, ROOT, bytes('a'))).toBe(false);
    isFull = false;
    expect(table.addName(row, ROOT, bytes('a'))).toBe(true);
    expect(namesOf(row)).toEqual(['1/a']);
  });

  test('is used by several instances at the same time', () => {
    const other = IdentityTable.attach(memory) as IdentityTable;
    const row = table.add(7, 0);
    expect(other.find(7)).toBe(row);
    other.addName(row, ROOT, bytes('a'));
    table.addName(row, ROOT, bytes('b'));
    other.remove(row);
    expect([table.find(7), table.count]).toEqual([-1, 0]);
  });
});

/** The content of a table, as plain objects. */
interface Row {
  generation: number;
  flags: number;
  opens: number;
  upper: string;
  names: Set<string>;
}

const call = fc.oneof(
  fc.record({ name: fc.constant('add' as const), id: fc.integer({ min: 1, max: 12 }), generation: fc.nat(3) }),
  fc.record({ name: fc.constant('remove' as const), id: fc.integer({ min: 1, max: 12 }) }),
  fc.record({
    name: fc.constant('setFlags' as const),
    id: fc.integer({ min: 1, max: 12 }),
    set: fc.nat(127),
    clear: fc.nat(127),
  }),
  fc.record({
    name: fc.constant('addOpens' as const),
    id: fc.integer({ min: 1, max: 12 }),
    n: fc.integer({ min: -2, max: 2 }),
  }),
  fc.record({ name: fc.constant('setUpper' as const), id: fc.integer({ min: 1, max: 12 }), upper: fc.nat(6) }),
  fc.record({ name: fc.constant('addName' as const), id: fc.integer({ min: 1, max: 12 }), to: fc.nat(9) }),
  fc.record({ name: fc.constant('removeName' as const), id: fc.integer({ min: 1, max: 12 }), from: fc.nat(9) }),
  fc.record({
    name: fc.constant('moveName' as const),
    id: fc.integer({ min: 1, max: 12 }),
    from: fc.nat(9),
    to: fc.nat(9),
  }),
);

/** Ten names of different lengths, in two directories. */
const NAMES = Array.from({ length: 10 }, (_, i) => ({
  parent: 2 ** 40 + (i % 2),
  name: Buffer.alloc([1, 16, 17, 44, 45, 72, 73, 255, 256, 1024][i] as number, `${i},`),
}));
const NAME_KEYS = NAMES.map(({ parent, name }) => `${parent}/${name.toString('latin1')}`);

test('a table of identities does what a plain model does, for any order of calls', () => {
  const inodes = 8;
  const ids = (id: number): number => (id % 2 === 0 ? id : id * 2 ** 45);
  fc.assert(
    fc.property(fc.array(call, { maxLength: 60 }), (calls) => {
      makeTable(inodes);
      const model = new Map<number, Row>();
      for (const made of calls) {
        const id = ids(made.id);
        const row = table.find(id);
        const known = model.get(id);
        expect(row !== -1).toBe(known !== undefined);
        if (made.name === 'add' && known === undefined) {
          expect(table.add(id, made.generation) !== -1).toBe(model.size < inodes);
          if (model.size === inodes) continue;
          model.set(id, { generation: made.generation, flags: 0, opens: 0, upper: '0', names: new Set() });
        }
        if (made.name === 'add' || known === undefined) continue;
        if (made.name === 'remove') {
          table.remove(row);
          model.delete(id);
        } else if (made.name === 'setFlags') {
          table.setFlags(row, made.set, made.clear);
          known.flags = (known.flags & ~made.clear) | made.set;
        } else if (made.name === 'addOpens') {
          known.opens = Math.max(known.opens + made.n, 0);
          expect(table.addOpens(row, made.n)).toBe(known.opens);
        } else if (made.name === 'setUpper') {
          table.setUpper(row, made.upper, made.upper << 5);
          for (const other of model.values()) if (other.upper === `${made.upper}`) other.upper = '0';
          known.upper = `${made.upper}`;
        } else if (made.name === 'addName') {
          const { parent, name } = NAMES[made.to] as (typeof NAMES)[0];
          expect(table.addName(row, parent, name)).toBe(true);
          known.names.add(NAME_KEYS[made.to] as string);
        } else if (made.name === 'removeName') {
          const { parent, name } = NAMES[made.from] as (typeof NAMES)[0];
          expect(table.removeName(row, parent, name)).toBe(known.names.delete(NAME_KEYS[made.from] as string));
        } else if (made.name === 'moveName') {
          const [from, to] = [NAMES[made.from], NAMES[made.to]] as [(typeof NAMES)[0], (typeof NAMES)[0]];
          expect(table.moveName(row, from.parent, from.name, to.parent, to.name)).toBe(true);
          known.names.delete(NAME_KEYS[made.from] as string);
          known.names.add(NAME_KEYS[made.to] as string);
        }
      }
      const next = reopened();
      expect(next.count).toBe(model.size);
      expect([...next.rows()].map((row) => next.id(row)).sort()).toEqual([...model.keys()].sort());
      for (const [id, known] of model) {
        const row = next.find(id);
        const found = {
          generation: next.generation(row),
          flags: next.flags(row),
          opens: next.opens(row),
          upper: `${next.upperLow(row)}`,
          names: new Set(
            next.names(row).map(({ parent, name }) => `${parent}/${Buffer.from(name).toString('latin1')}`),
          ),
        };
        expect(found).toEqual(known);
        expect(next.nameCount(row)).toBe(known.names.size);
        const upper = Number(known.upper);
        if (upper !== 0) expect(next.findUpper(upper, upper << 5)).toBe(row);
      }
    }),
    { numRuns: 500 },
  );
});
