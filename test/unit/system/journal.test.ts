import { fstatSync } from 'node:fs';
import { expect, test } from 'vitest';
import { encodeEntry, isStderrOfJournal } from '../../../src/system/journal.ts';

test('fields are lines', () => {
  expect(
    encodeEntry([
      ['MESSAGE', 'an object is missing'],
      ['PRIORITY', '3'],
    ]).toString(),
  ).toBe('MESSAGE=an object is missing\nPRIORITY=3\n');
});

test('a value with a line feed, which could pretend to be a field, has its length before it', () => {
  const entry = encodeEntry([['CFS_IMAGE', Buffer.from('/a\nPRIORITY=0\xff', 'latin1')]]);
  const value = Buffer.from('/a\nPRIORITY=0\xff', 'latin1');
  const length = Buffer.from([value.length, 0, 0, 0, 0, 0, 0, 0]);
  expect(entry).toEqual(Buffer.concat([Buffer.from('CFS_IMAGE\n'), length, value, Buffer.from('\n')]));
});

test('standard error is the journal only if it is that very stream', () => {
  const { dev, ino } = fstatSync(2, { bigint: true });
  expect(isStderrOfJournal(`${dev}:${ino}`)).toBe(true);
  for (const stream of [`${dev}:${ino + 1n}`, `${dev + 1n}:${ino}`, '', 'x', `${dev}`, undefined]) {
    expect(isStderrOfJournal(stream ?? '')).toBe(false);
  }
});
