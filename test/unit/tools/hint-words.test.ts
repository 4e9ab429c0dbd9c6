import { describe, expect, test } from 'vitest';
import { CfsError, callText } from '../../../src/base/error.ts';
import { hintOf, inToolWords, textOf } from '../../../tools/hint-words.ts';

describe('inToolWords()', () => {
  test("replaces options and functions by the tools' options and commands", () => {
    expect(inToolWords('`nonempty` mounts over it.')).toBe('-o nonempty mounts over it.');
    expect(inToolWords('`missing` lists them.')).toBe("'cfs-info missing' lists them.");
  });

  test('puts arguments into commands', () => {
    const hint = `${callText('registerImage', '/a store', '/x,"y.cfs')} keeps its objects.`;
    expect(inToolWords(hint)).toBe(`'cfs-repo register /a store /x,"y.cfs' keeps its objects.`);
    expect(inToolWords(callText('initRepository', 'DIR'))).toBe("'cfs-repo init DIR'");
    expect(inToolWords(callText('initRepository', 'DIR', { hash: 'blake3' }))).toBe(
      "'cfs-repo init --hash blake3 DIR'",
    );
  });

  test('leaves other words in backquotes alone, and survives hostile paths', () => {
    expect(inToolWords('`toString` and `__proto__` and `x')).toBe('`toString` and `__proto__` and `x');
    expect(inToolWords(callText('registerImage', '/store', '/a)`b'))).toContain('cfs-repo register');
  });
});

describe('textOf()', () => {
  test('is message and hint, one sentence after the other', () => {
    const error = new CfsError('mount', 'Cannot mount on /mnt: it is not empty', {
      hint: '`nonempty` mounts over it.',
    });
    expect(textOf(error)).toBe('Cannot mount on /mnt: it is not empty. -o nonempty mounts over it.');
    expect(textOf(new CfsError('mount', 'It ended.', { hint: 'Why?' }))).toBe('It ended. Why?');
  });

  test('is the message alone without a hint', () => {
    expect(textOf(new CfsError('mount', 'Cannot mount'))).toBe('Cannot mount');
    expect(hintOf(new CfsError('mount', 'Cannot mount'))).toBeUndefined();
  });
});
