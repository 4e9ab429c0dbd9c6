/** Compares docs/log.md with the sources. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { GAVE_UP_ID, MESSAGE_IDS } from '../../../src/mount/log-events.ts';

const read = (path: string): string => readFileSync(join(import.meta.dirname, '../../..', path), 'utf8');

test('the page lists exactly the ids of messages', () => {
  const rows = [...read('docs/log.md').matchAll(/^\| `([0-9a-f]{32})` \| `([a-z-]+)` \|/gm)];
  expect(Object.fromEntries(rows.map(([, id, kind]) => [kind, id]))).toEqual({
    ...MESSAGE_IDS,
    'given-up': GAVE_UP_ID,
  });
});

test('all ids are different, and the supervisor has its own', () => {
  const ids = [...Object.values(MESSAGE_IDS), GAVE_UP_ID];
  expect(new Set(ids).size).toBe(ids.length);
  expect(read('libexec/cfs-supervisor')).toContain(`message_id=${GAVE_UP_ID} #`);
});
