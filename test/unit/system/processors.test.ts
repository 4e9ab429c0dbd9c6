import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { currentProcessor, moveToProcessor, parseProcessor, processorOf } from '../../../src/system/processors.ts';

/** The processors that this thread may run on, as /proc prints them. */
const allowed = (): string =>
  /^Cpus_allowed_list:\t(.*)$/m.exec(readFileSync('/proc/thread-self/status', 'latin1'))?.[1] ?? '';

test('a thread is moved to each processor that it may run on, and may run on all of them afterwards', () => {
  const before = allowed();
  const numbers = before.split(',').flatMap((range) => {
    const [first = NaN, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  expect(numbers).toContain(currentProcessor());
  for (const processor of numbers) {
    expect([processor, moveToProcessor(processor), allowed()]).toEqual([processor, true, before]);
  }
});

test.each([1_023, 1_024, 100_000, -1])('processor %i is refused if there is none', (processor) => {
  const before = allowed();
  expect(moveToProcessor(processor)).toBe(false);
  expect(allowed()).toBe(before);
});

test('the processor of a thread is known', () => {
  expect(processorOf(process.pid)).toBeGreaterThanOrEqual(0);
  expect(processorOf(0x7fff_ffff)).toBe(-1);
});

describe('proc_pid_stat(5)', () => {
  const fields = Array.from({ length: 50 }, (_, i) => String(i + 3));

  test.each(['sh', 'a b', ') 1 2', 'x)(', ''])('the field is found after the name "%s"', (name) => {
    expect(parseProcessor(Buffer.from(`1 (${name}) ${fields.join(' ')}\n`))).toBe(39);
  });

  test.each(['', '1 (sh', '1 (sh) S 1 2', `1 (sh) ${'x '.repeat(50)}`])('"%s" has none', (text) => {
    expect(parseProcessor(Buffer.from(text))).toBe(-1);
  });
});
