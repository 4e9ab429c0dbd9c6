/** The links in documents: each file exists, and each heading that is linked to. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const PAGES = [...readdirSync(ROOT), ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);

const withoutCode = (text: string): string => text.replace(/^```[\s\S]*?^```$/gm, '').replace(/`[^`\n]*`/g, '');

/** As GitHub makes it of a heading. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');

const anchorsOf = (page: string): string[] =>
  [
    ...readFileSync(join(ROOT, page), 'utf8')
      .replace(/^```[\s\S]*?^```$/gm, '')
      .matchAll(/^#+ (.+)$/gm),
  ].map(([, heading = '']) => anchorOf(heading));

const linksOf = (page: string): string[] =>
  [...withoutCode(readFileSync(join(ROOT, page), 'utf8')).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(
    ([, link = '']) => link,
  );

test.each([
  ['Exit status, environment', 'exit-status-environment'],
  ['cfs-files.json', 'cfs-filesjson'],
  ['What `fsck` finds', 'what-fsck-finds'],
])('the anchor of "%s" is "%s"', (heading, anchor) => expect(anchorOf(heading)).toBe(anchor));

test.each(PAGES)('the links of %s have targets', (page) => {
  const broken = linksOf(page).filter((link) => {
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? page : join(dirname(page), path);
    if (!existsSync(join(ROOT, target))) return true;
    return anchor !== undefined && target.endsWith('.md') && !anchorsOf(target).includes(anchor);
  });
  expect(broken).toEqual([]);
});

test('there are pages and links', () => {
  expect(PAGES.length).toBeGreaterThan(15);
  expect(PAGES.flatMap(linksOf).length).toBeGreaterThan(100);
});
