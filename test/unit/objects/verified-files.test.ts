import { beforeAll, describe, expect, test } from 'vitest';
import type { Proof } from '../../../src/objects/repository.ts';
import { type FileState, VERIFIED_BYTES, VerifiedFiles } from '../../../src/objects/verified-files.ts';
import { explore, loadStepwise, type Program, type Stepwise } from '../../support/interleavings.ts';

// test/e2e/threads.test.ts has real threads open one object at the same time

/** A float with the low word of the first and the high word of the second. */
function mixed(low: number, high: number): number {
  const words = new Int32Array(new Float64Array([low, high]).buffer);
  return new Float64Array(new Int32Array([words[0] as number, words[3] as number]).buffer)[0] as number;
}

const A: FileState = { dev: 1, ino: 10, ctimeMs: 1_700_000_000_000.123 };
const B: FileState = { dev: 1, ino: 11, ctimeMs: 1_900_000_000_000.456 };
/** States of files that were never verified, mixed from the records of two others. */
const MIXED: readonly FileState[] = [
  { ...A, ctimeMs: B.ctimeMs },
  { ...B, ctimeMs: A.ctimeMs },
  { ...A, ctimeMs: mixed(A.ctimeMs, B.ctimeMs) },
  { ...A, ctimeMs: mixed(B.ctimeMs, A.ctimeMs) },
  { ...B, ctimeMs: mixed(A.ctimeMs, B.ctimeMs) },
  { ...B, ctimeMs: mixed(B.ctimeMs, A.ctimeMs) },
];

/** The word with the state of the only object. */
const STATE = 3;

function record(files: VerifiedFiles, index: number, file: FileState, proof: Proof): void {
  expect(files.claim(index)).toBe(true);
  files.record(index, file, proof);
  files.release(index);
}

describe('VerifiedFiles', () => {
  const filesOf = (count: number): VerifiedFiles =>
    new VerifiedFiles(new SharedArrayBuffer(count * VERIFIED_BYTES), count);

  test('knows nothing at first, not even of a file whose numbers are all zero', () => {
    const files = filesOf(1);
    expect([A, B, { dev: 0, ino: 0, ctimeMs: 0 }].map((file) => files.proofOf(0, file))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  test('knows the last file of each object, and how it was verified', () => {
    const files = filesOf(3);
    record(files, 0, A, 'hashed');
    record(files, 2, A, 'measured');
    record(files, 2, B, 'measured');
    record(files, 0, A, 'measured');
    expect([0, 1, 2].map((index) => files.proofOf(index, A))).toEqual(['measured', undefined, undefined]);
    expect([0, 1, 2].map((index) => files.proofOf(index, B))).toEqual([undefined, undefined, 'measured']);
    for (const file of MIXED) expect([0, 1, 2].map((index) => files.proofOf(index, file))).not.toContain('measured');
  });

  test('takes inode numbers and devices of all sizes, and times before 1970', () => {
    const files = filesOf(1);
    for (const file of [
      { dev: 0xffff_ffff, ino: Number.MAX_SAFE_INTEGER, ctimeMs: -1.5 },
      { dev: 0x8000_0001, ino: 0x8000_0000, ctimeMs: Number.MAX_SAFE_INTEGER },
    ]) {
      record(files, 0, file, 'hashed');
      expect(files.proofOf(0, { ...file })).toBe('hashed');
      expect(files.proofOf(0, { ...file, ctimeMs: file.ctimeMs + 1 })).toBeUndefined();
    }
  });

  test('lets one thread at a time claim an object; the claim is free again after each way to use it', () => {
    const files = filesOf(2);
    expect(files.claim(0)).toBe(true);
    expect(files.claim(0)).toBe(false);
    expect(files.claim(1)).toBe(true);
    files.release(0);
    expect(files.claimToHash(0, A)).toBe(true);
    files.record(0, A, 'hashed');
    files.release(0);
    expect(files.claimToHash(0, A)).toBe(false);
    expect(files.claimToHash(0, B)).toBe(true);
    files.release(0);
    expect(files.proofOf(0, A)).toBe('hashed');
  });

  test('works when the number of the record wraps', () => {
    const buffer = new SharedArrayBuffer(VERIFIED_BYTES);
    new Int32Array(buffer)[STATE] = ~0b1111; // the last number, no proof, no claim
    const files = new VerifiedFiles(buffer, 1);
    record(files, 0, A, 'measured');
    expect(files.proofOf(0, A)).toBe('measured');
    expect(new Int32Array(buffer)[STATE]).toBe(0b1000);
    record(files, 0, B, 'hashed');
    expect([files.proofOf(0, A), files.proofOf(0, B)]).toEqual([undefined, 'hashed']);
  });
});

/** VerifiedFiles as generators. */
interface StepwiseFiles {
  proofOf: Stepwise<[index: number, file: FileState], Proof | undefined>;
  claim: Stepwise<[index: number], boolean>;
  claimToHash: Stepwise<[index: number, file: FileState], boolean>;
  record: Stepwise<[index: number, file: FileState, proof: Proof], void>;
  release: Stepwise<[index: number], void>;
}

describe('every interleaving of VerifiedFiles', () => {
  let module: { VerifiedFiles: new (buffer: SharedArrayBuffer, count: number) => StepwiseFiles };
  beforeAll(async () => {
    module = await loadStepwise(new URL('../../../src/objects/verified-files.ts', import.meta.url).pathname);
  });

  /** Memory in which `known`, if any, was measured already. Each thread has an object of its own over it. */
  const setUp = (known?: FileState): { words: Int32Array; thread: () => StepwiseFiles } => {
    const buffer = new SharedArrayBuffer(VERIFIED_BYTES);
    if (known !== undefined) record(new VerifiedFiles(buffer, 1), 0, known, 'measured');
    return { words: new Int32Array(buffer), thread: () => new module.VerifiedFiles(buffer, 1) };
  };

  /** Hashes as WholeObjects does. @param isGood whether the file is the object */
  function* hash(files: StepwiseFiles, file: FileState, isGood = true): Program<string> {
    if (!(yield* files.claimToHash(0, file))) return 'waited';
    if (isGood) yield* files.record(0, file, 'hashed');
    yield* files.release(0);
    return isGood ? 'hashed' : 'bad';
  }

  /** Records one file after another, as WholeObjects does when it measures. */
  function* note(files: StepwiseFiles, proof: Proof, ...noted: readonly FileState[]): Program<void> {
    for (const file of noted) {
      if (!(yield* files.claim(0))) continue;
      yield* files.record(0, file, proof);
      yield* files.release(0);
    }
  }

  const expectFree = (words: Int32Array): void => expect((words[STATE] as number) & 0b11).toBe(0);

  test.each([
    ['the one file', A, [undefined, 'hashed']],
    ['the other file', B, [undefined, 'measured']],
    ...MIXED.map((file, i) => [`a mixture of both, ${i}`, file, [undefined]] as const),
  ] as const)('a thread that asks for %s never gets the proof of another file', (_name, asked, allowed) => {
    const answers = new Set<unknown>();
    const { states } = explore(() => {
      const { words, thread } = setUp();
      return {
        words,
        programs: [note(thread(), 'hashed', A), note(thread(), 'measured', B), thread().proofOf(0, asked)],
        check: (results) => {
          answers.add(results[2]);
          expectFree(words);
        },
      };
    });
    expect(states).toBeGreaterThan(1_000);
    expect([...answers].sort()).toEqual([...allowed].sort());
  });

  test.each([
    ['the file that comes back', A, [undefined, 'measured']],
    ...MIXED.map((file, i) => [`a mixture of both, ${i}`, file, [undefined]] as const),
  ] as const)('nor while a file is replaced and comes back, for a thread that asks for %s', (_name, asked, allowed) => {
    const answers = new Set<unknown>();
    explore(() => {
      const { words, thread } = setUp(A);
      return {
        words,
        programs: [note(thread(), 'measured', B, A), note(thread(), 'measured', A), thread().proofOf(0, asked)],
        check: (results) => {
          answers.add(results[2]);
          expectFree(words);
        },
      };
    });
    expect([...answers].sort()).toEqual([...allowed].sort());
  });

  test('of two threads that hash one file, one does, and both continue', () => {
    explore(() => {
      const { words, thread } = setUp();
      return {
        words,
        programs: [hash(thread(), A), hash(thread(), A)],
        check: (results) => {
          expect([...results].sort()).toEqual(['hashed', 'waited']);
          expectFree(words);
        },
      };
    });
  });

  test.each([
    ['is not the object', A, false, ['bad', 'bad']],
    ['is replaced by a good one', B, true, ['bad', 'hashed']],
  ] as const)('if the file %s, no thread waits in vain', (_name, second, isGood, expected) => {
    explore(() => {
      const { words, thread } = setUp();
      return {
        words,
        programs: [hash(thread(), A, false), hash(thread(), second, isGood)],
        check: (results) => {
          expect(results).toEqual(expected);
          expectFree(words);
        },
      };
    });
  });
});
