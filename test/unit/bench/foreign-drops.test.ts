import { expect, test } from 'vitest';
import { cacheDrops, parseDrops } from '../../../bench/foreign-drops.ts';

test('parseDrops() adds the drops of pages and of inodes', () => {
  expect(parseDrops('pgfree 7\ndrop_pagecache 3\ndrop_slab 4\noom_kill 9\n')).toBe(7);
});

test('parseDrops() is 0 if the kernel does not count them', () => {
  expect(parseDrops('pgfree 7\nnot_drop_slab 4\n')).toBe(0);
});

test('cacheDrops() reads the count of this machine', () => {
  expect(cacheDrops()).toBeGreaterThanOrEqual(0);
});
