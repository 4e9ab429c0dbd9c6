/**
 * Words that make the text hard to read, in comments, messages, test names and documents; and the width of comments and
 * documents. CONTRIBUTING.md ("Style") has the rules; this finds only clear cases, in which a writer can always use
 * other words.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const COLUMNS = 120;

/** Examples of unclear words, the pattern that finds them, and better words. */
const PATTERNS: Readonly<Record<string, readonly [RegExp, string]>> = {
  'for ever': [/\bfor\s+ever\b/i, '"forever", or "without end"'],
  'is told': [/\b(?:is|are|was|were|be|been)\s+told\b/i, '"is notified of", "is called with", "the message shows"'],
  'to who': [/\b(?:to|for|from|by|with|than)\s+who\s/i, 'a noun: "to the user that …"'],
  'Who reads': [/[.;:]\s+Who\s+[a-z]+s\s/, 'a noun: "A process that reads …"'],
  'what is no': [/\bwhat\s+is\s+no\s/i, 'a noun: "a file that is not …"'],
  'that are none': [/\bthat\s+(?:is|are)\s+none\b/i, '"invalid", or "that does not exist"'],
  'undefined where': [/\b(?:true|false|undefined|throws|null|-1|E[A-Z]{2,})\s+where\s/i, '"if"'],
  'gives EIO': [/\bgives\s+(?:E[A-Z]{2,}\b|an\s+error)/, '"returns", or "fails with"'],
  'says of': [/\b(?:says|is\s+said|tells)\s+of\b/i, '"reports", "the message about"'],
  'what came of it': [/\bwhat\s+(?:comes|came|becomes|became)\s+of\s/i, '"the result of"'],
  stands: [/\bstands\s+(?!for\b|in\s+for\b|alone\b)[a-z]/i, '"is", "is listed"'],
};

const TOPS = ['src', 'tools', 'bench', 'test', 'docs', 'scripts', 'libexec', 'systemd', 'include'];
const PAGES = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', 'Makefile', 'vitest.config.ts'];
/** Data, results of runs, formats that are not for reading, and this file with its examples. */
const LEFT_OUT = /^(?:test\/fuzz\/corpus|bench\/results)\/|\.(?:json|svg|pem|pub)$|language\.test\.ts$/;

const files: readonly string[] = [
  ...PAGES,
  ...TOPS.flatMap((top) =>
    readdirSync(join(ROOT, top), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1)),
  ),
].filter((name) => !LEFT_OUT.test(name));

const texts = new Map(files.map((name) => [name, readFileSync(join(ROOT, name), 'utf8')]));
const isPage = (name: string): boolean => name.endsWith('.md');

/** Blanks in place of blocks of code, on as many lines. */
const withoutCode = (text: string): string => text.replace(/^```[\s\S]*?^```/gm, (code) => code.replace(/[^\n]+/g, ''));

/** One blank in place of each line break in a comment, so that a pattern also matches across lines. */
const joined = (text: string): string => text.replace(/\n[ \t]*(?:\*(?!\/)|\/\/|#)[ \t]?/g, ' ');

const prose = (name: string, text: string): string => (isPage(name) ? withoutCode(text) : joined(text));

/** The matches of a pattern, with some text before and after. */
function found(pattern: RegExp, name: string, text: string): string[] {
  const content = prose(name, text);
  return [...content.matchAll(new RegExp(pattern, `${pattern.flags}g`))].map(
    ({ index }) => `${name}: …${content.slice(Math.max(0, index - 40), index + 60).replace(/\s+/g, ' ')}…`,
  );
}

/** Lines of a document that could be wrapped, unlike rows of tables, images and code; and lines of comments. */
const isWrappable = (name: string, line: string): boolean =>
  isPage(name) ? !/^(?:\||!\[)/.test(line) : /^\s*(?:\/\/|\/?\*{1,2}|#)\s/.test(line);

const tooWide = (name: string, text: string): string[] =>
  (isPage(name) ? withoutCode(text) : text).split('\n').flatMap((line, i) => {
    const isWide = line.length > COLUMNS && isWrappable(name, line) && / \S/.test(line.slice(COLUMNS / 2, COLUMNS));
    return isWide ? [`${name}:${i + 1}: ${line.length} columns`] : [];
  });

test('finds the files', () => {
  expect(files).toEqual(expect.arrayContaining(['README.md', 'docs/diff.md', 'src/index.ts', 'scripts/build']));
  expect(files.length).toBeGreaterThan(500);
});

describe.each(Object.entries(PATTERNS))('"%s"', (words, [pattern, better]) => {
  test('is found in comments and in documents', () => {
    const text = `it ${words} the end`;
    const sample = text.replace(' Who', '. Who');
    expect(found(pattern, 'a.ts', `/**\n * ${sample.replaceAll(' ', '\n * ')}\n */`)).toHaveLength(1);
    expect(found(pattern, 'a.md', sample)).toHaveLength(1);
    expect(found(pattern, 'a.md', `\`\`\`\n${sample}\n\`\`\`\n`)).toEqual([]);
  });

  test(`is nowhere: write ${better}`, () => {
    expect([...texts].flatMap(([name, text]) => found(pattern, name, text))).toEqual([]);
  });
});

const WIDE = 'word '.repeat(30);

test.each([
  ['a comment', 'a.ts', `// ${WIDE}`, 1],
  ['a pattern of a shell', 'a', `  *) ${WIDE}`, 0],
  ['a string', 'a.ts', `const text = '${WIDE}';`, 0],
  ['an address in a comment', 'a.ts', ` * https://${'x'.repeat(130)}`, 0],
  ['a paragraph of a document', 'a.md', WIDE, 1],
  ['a row of a table', 'a.md', `| ${WIDE} |`, 0],
  ['code in a document', 'a.md', `\`\`\`\n${WIDE}\n\`\`\`\n`, 0],
])('%s that is too wide is found if it can be wrapped', (_what, name, text, count) => {
  expect(tooWide(name, text)).toHaveLength(count);
});

test(`no comment and no paragraph of a document has more than ${COLUMNS} columns`, () => {
  expect([...texts].flatMap(([name, text]) => tooWide(name, text))).toEqual([]);
});
