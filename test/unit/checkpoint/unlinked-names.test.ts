/** The names of unlinked files of a checkpoint: their template. */
import { expect, test } from 'vitest';
import { DEFAULT_TEMPLATE, idInDefaultName, parseTemplate } from '../../../src/checkpoint/unlinked-names.ts';

test('the default template is that of the specification', () => {
  const { directory, name } = parseTemplate(DEFAULT_TEMPLATE);
  expect(directory).toBe('lost+found/checkpoint');
  expect(name(0x1234567n, 7)).toBe('unlink-at-restart-0000000001234567-7');
  expect(idInDefaultName(name(0x1234567n, 7))).toBe(0x1234567n);
});

test.each([
  ['%x-%u', '', 'ff-3'],
  ['/a/b/%4x.%03u', 'a/b', '  ff.003'],
  ['a/100%%-%u-%x', 'a', '100%-3-ff'],
])('%s', (text, directory, name) => {
  const template = parseTemplate(text);
  expect(template.directory).toBe(directory);
  expect(template.name(255n, 3)).toBe(name);
});

test.each([
  ['', /no name/],
  ['a/', /no name/],
  ['%u', /need %x and %u/],
  ['%x', /need %x and %u/],
  ['%x-%u-%s', /a conversion other than/],
  ['%x-%u-%', /a conversion other than/],
  ['%999x-%u', /more than 255/],
  ['../%x-%u', /not a plain path/],
  ['a//b/%x-%u', /not a plain path/],
  ['%x/%x-%u', /not a plain path/],
  ['a\0%x-%u', /a NUL/],
])('%s is refused', (text, reason) => {
  expect(() => parseTemplate(text)).toThrow(reason);
});

test.each(['unlink-at-restart-1234567-1', 'unlink-at-restart-0000000001234567-', 'other'])(
  '%s is not a name of the default template',
  (name) => expect(idInDefaultName(name)).toBeUndefined(),
);
