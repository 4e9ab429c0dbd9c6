/** A short run of coverage-guided fuzzing that begins with the corpus; `make fuzz` is the long one. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { run } from '../e2e/run.ts';

const SECONDS = 4;
const targets = readdirSync(join(import.meta.dirname, 'corpus'));

describe('fuzzing', () => {
  test.each(targets)('finds nothing wrong with %s', async (target) => {
    const { status, stdout, stderr } = await run(['scripts/fuzz', String(SECONDS), target], { timeoutMs: 300_000 });
    expect({ status, stdout, stderr }).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^[\w-]+: \d+ runs, cov: \d+\n$/),
    });
  });
});
