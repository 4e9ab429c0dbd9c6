import { expect, test } from 'vitest';
import { allocateProblemMemory, type Problem, ProblemMemory } from '../../../src/mount/problem-memory.ts';

const about = (index: number, reason = 'it is missing') => ({
  index,
  digest: 'ab'.repeat(32),
  copies: [{ repository: 1, outcome: 'missing' as const, reason }],
});
const all = (memory: ProblemMemory): Problem[] => JSON.parse(memory.json()) as Problem[];

test('problems are known to all threads that share the memory; other lines are not kept', () => {
  const buffer = allocateProblemMemory();
  const [one, other] = [new ProblemMemory(buffer), new ProblemMemory(buffer)];
  expect([one.json(), one.total, one.lastAbout(3)]).toEqual(['[]', 0, undefined]);
  one.record('/a: gone: EIO', 'error', about(3));
  one.record('all is well', 'info');
  other.record('something else', 'warning');
  expect(all(other)).toMatchObject([
    { severity: 'error', message: '/a: gone: EIO', ...about(3) },
    { severity: 'warning' },
  ]);
  expect(Date.parse(all(one)[0]?.time as string)).not.toBeNaN();
  expect(other.lastAbout(3)).toMatchObject(about(3));
  expect(other.lastAbout(4)).toBeUndefined();
  expect(one.total).toBe(2);
});

test('the last hundred are kept, within the size of an xattr', () => {
  const memory = new ProblemMemory(allocateProblemMemory());
  for (let i = 0; i < 250; i++) memory.record(`problem ${i}`, 'error', about(i));
  expect(all(memory).map(({ index }) => index)).toEqual(Array.from({ length: 100 }, (_, i) => 150 + i));
  for (let i = 0; i < 250; i++) memory.record('\u{1f600}"\\'.repeat(10_000), 'error', about(i, 'é'.repeat(5_000)));
  expect(Buffer.byteLength(memory.json())).toBeLessThan(65_536);
  expect(all(memory).length).toBeGreaterThan(5);
  expect(all(memory).at(-1)).toMatchObject({ index: 249 });
  expect(memory.total).toBe(500);
});

test('one problem is one line, with any content', () => {
  const memory = new ProblemMemory(allocateProblemMemory());
  memory.record('a\nb\x1b[2Jc', 'error', about(1, 'x\ny'));
  expect(all(memory)).toHaveLength(1);
  expect(all(memory)[0]?.message).toBe('a\\x0ab\\x1b[2Jc');
});
