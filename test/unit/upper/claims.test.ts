/** Claims of checkpoints in a directory: what is recorded, and what is left of it after errors. */
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import {
  CLAIM_SIZE,
  decodeClaim,
  decodeClaimAnswer,
  decodeOrphan,
  encodeClaim,
  encodeClaimAnswer,
  ORPHAN_SIZE,
} from '../../../src/base/checkpoint-structs.ts';
import { EEXIST, EINVAL, ENOENT } from '../../../src/base/errno.ts';
import {
  addToClaim,
  beginClaim,
  completeClaim,
  endClaim,
  listClaims,
  namesOfClaim,
  parseClaim,
  readClaim,
} from '../../../src/upper/claims.ts';

const scratch = mkdtempSync(join(tmpdir(), 'cfs-claims-'));
let path = '';
let dir = -1;
beforeEach(() => {
  if (dir >= 0) closeSync(dir);
  path = mkdtempSync(join(scratch, 'd-'));
  dir = openSync(path, 'r');
});
afterAll(() => {
  closeSync(dir);
  rmSync(scratch, { recursive: true });
});

const TEXT = Buffer.from('{"a":1}');
const NAME = { ino: 0xf_ffff_ffff_ffff, generation: 0xffff_ffff, parent: 1, name: Buffer.from([0xff, 0x20, 0x0a]) };

describe('a claim', () => {
  test('is open until it is complete, and gone when it is ended', () => {
    expect(beginClaim(dir, 1n, TEXT)).toBe(0);
    expect(addToClaim(dir, 1n, NAME)).toBe(0);
    expect(readdirSync(path)).toEqual(['0000000000000001.open']);
    expect(listClaims(dir)).toEqual([{ id: 1n, isComplete: false }]);
    expect(completeClaim(dir, 1n, true)).toBe(0);
    expect(addToClaim(dir, 1n, NAME)).toBe(ENOENT);
    expect(beginClaim(dir, 1n, TEXT)).toBe(EEXIST);
    expect(namesOfClaim(dir, { id: 1n, isComplete: true })).toEqual([NAME]);
    expect(endClaim(dir, 1n)).toBe(0);
    expect(readdirSync(path)).toEqual([]);
    expect(completeClaim(dir, 1n, true)).toBe(ENOENT);
  });

  test('can be begun, completed and ended twice, as by a server that gets a request again', () => {
    const text = Buffer.from('again');
    for (const _ of [1, 2]) expect(beginClaim(dir, 2n, text)).toBe(0);
    expect(beginClaim(dir, 2n, Buffer.from('other'))).toBe(EEXIST);
    for (const _ of [1, 2]) expect(completeClaim(dir, 2n, false)).toBe(0);
    for (const _ of [1, 2]) expect(endClaim(dir, 2n)).toBe(0);
  });

  test('has one line of text', () => {
    expect(beginClaim(dir, 3n, Buffer.from('two\nlines'))).toBe(EINVAL);
    expect(beginClaim(dir, 3n, new Uint8Array(0))).toBe(EINVAL);
  });

  test('is not a file or directory of another name, or a link', () => {
    for (const name of ['1', '00000000000000001', '000000000000000G', '0000000000000001.opened']) {
      writeFileSync(join(path, name), '');
    }
    mkdirSync(join(path, '0000000000000004'));
    expect(listClaims(dir)).toEqual([{ id: 4n, isComplete: true }]);
    expect(readClaim(dir, { id: 4n, isComplete: true }, 0, 10)).toBeLessThan(0);
  });

  test('is read in pieces', () => {
    beginClaim(dir, 5n, TEXT);
    for (let i = 0; i < 100; i++) addToClaim(dir, 5n, { ...NAME, ino: i + 1 });
    const claim = { id: 5n, isComplete: false };
    const whole = readFileSync(join(path, '0000000000000005.open'));
    const pieces: Buffer[] = [];
    for (let at = 0; ; at += 100) {
      const piece = readClaim(dir, claim, at, 100) as Uint8Array;
      if (piece.length === 0) break;
      pieces.push(Buffer.from(piece));
    }
    expect(Buffer.concat(pieces).equals(whole)).toBe(true);
    expect(parseClaim(whole)?.names).toHaveLength(100);
  });
});

describe('parseClaim()', () => {
  test('leaves out lines that are cut off or damaged', () => {
    const line = '1 2 3 6162\n';
    const names = [{ ino: 1, generation: 2, parent: 3, name: Buffer.from('ab') }];
    expect(parseClaim(Buffer.from(`text\n${line}1 2 3 61`))).toEqual({ text: 'text', names });
    expect(parseClaim(Buffer.from(`text\n1 2 3\nx y z 61\n1 2 3 616\n${line}`))).toEqual({ text: 'text', names });
    expect(parseClaim(Buffer.from('no line end'))).toBeUndefined();
    expect(parseClaim(Buffer.from('\n'))).toBeUndefined();
  });

  test('takes any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parseClaim(bytes)));
  });
});

describe('the structures', () => {
  test('take any bytes, and refuse those that are too short', () => {
    const any = (size: number) => fc.uint8Array({ minLength: size - 1, maxLength: size + 20 });
    fc.assert(
      fc.property(any(ORPHAN_SIZE), (bytes) => {
        const request = decodeOrphan(bytes);
        if (bytes.length < ORPHAN_SIZE) expect(request).toBeUndefined();
        if (request !== undefined) expect(request.name.includes(0)).toBe(false);
      }),
    );
    fc.assert(
      fc.property(any(CLAIM_SIZE), (bytes) => {
        if (bytes.length < CLAIM_SIZE) expect(decodeClaim(bytes)).toBeUndefined();
        else decodeClaim(bytes);
      }),
    );
  });

  test('are read back as written', () => {
    const request = { operation: 'begin', id: 2n ** 64n - 1n, offset: 5, text: new Uint8Array(TEXT) } as const;
    expect(decodeClaim(encodeClaim(request))).toEqual(request);
    const answer = { id: 7n, isComplete: true, text: new Uint8Array(TEXT) };
    expect(decodeClaimAnswer(encodeClaimAnswer(answer))).toEqual(answer);
  });
});
