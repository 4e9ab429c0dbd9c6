/** The page of `cfs-repo report`: escaping, its policy, and its size at the limits. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { type NamedSpace, REPORT_LIMITS, type RepositoryReport } from '../../../src/report/repository-report.ts';
import type { Health } from '../../../tools/repo/report/health.ts';
import { embeddedJson, escapeHtml, renderPage } from '../../../tools/repo/report/page.ts';

const NONE = { objects: 0, bytes: 0, diskBytes: 0 };
const HEALTH: Health = {
  quarantined: 0,
  unfinished: 0,
  mounts: [],
  lastFsck: undefined,
  lastGc: undefined,
  check: undefined,
};

function reportWith(images: number, name: string, path: string): RepositoryReport {
  const { nodes, comparisons, lines } = REPORT_LIMITS;
  const leaf: NamedSpace = { name, entries: 1, bytes: 1e12, unique: 1e12 };
  const space = { ...leaf, children: Array.from({ length: nodes / images - 1 }, () => leaf) };
  const amounts = { entries: 1e6, bytes: 1e12 };
  const change = { kind: 'renamed', path, from: path, what: ['mode', 'owner', 'mtime'], bytes: -1e12 } as const;
  return {
    path: '/srv/store',
    uuid: 'uuid',
    hash: 'blake3',
    time: 0,
    usage: {
      images: Array.from({ length: images }, (_, i) => ({
        image: i.toString(16).padStart(64, '0'),
        paths: [],
        total: NONE,
        unique: NONE,
        freed: NONE,
        missing: 0,
        isMounted: false,
      })),
      together: NONE,
      leased: NONE,
      unused: NONE,
      problems: [],
    },
    registered: new Map(),
    images: Array.from({ length: images }, (_, i) => ({
      id: i.toString(16).padStart(64, '0'),
      file: path,
      path,
      inodes: 1e9,
      space,
      common: Array.from({ length: images }, () => 1e12),
    })),
    unread: new Map(),
    comparisons: Array.from({ length: comparisons }, () => ({
      from: 0,
      to: 1,
      added: amounts,
      removed: amounts,
      changed: amounts,
      renamed: amounts,
      lines: Array.from({ length: lines / comparisons }, () => change),
    })),
  };
}

test('text in markup, in attributes and in JSON cannot end them', () => {
  expect(escapeHtml(`<a href="x" b='y'>&`)).toBe('&#60;a href=&#34;x&#34; b=&#39;y&#39;&#62;&#38;');
  const text = embeddedJson(['</script><!--', '&lt;', ']]>']);
  expect(text).not.toMatch(/[<>&]/);
  expect(JSON.parse(text)).toEqual(['</script><!--', '&lt;', ']]>']);
});

test('the policy has the hashes of the only script and the only style', () => {
  const page = renderPage(reportWith(2, 'a', '/a'), HEALTH, '1.0');
  const [, policy = ''] = /Content-Security-Policy" content="([^"]+)"/.exec(page) ?? [];
  for (const [name, kind] of [
    ['script', 'script-src'],
    ['style', 'style-src'],
  ]) {
    const [, text = ''] = new RegExp(`<${name}>([\\s\\S]*?)</${name}>`).exec(page) ?? [];
    const hash = createHash('sha256').update(text).digest('base64');
    expect(policy).toContain(`${kind} &#39;sha256-${hash}&#39;`);
  }
  expect(policy).toContain('default-src &#39;none&#39;');
  // styles in elements would be refused
  expect(page).not.toMatch(/<[a-z][^>]* style=/);
});

test('a page at all limits, with the longest names, has less than 10 MB', () => {
  const page = renderPage(reportWith(REPORT_LIMITS.images, 'n'.repeat(120), 'p'.repeat(240)), HEALTH, '1.0');
  expect(page.length).toBeGreaterThan(4_000_000);
  expect(page.length).toBeLessThan(10_000_000);
});

test('an escaped name in health, and in a mount, stays text', () => {
  const mounts = [{ mountpoint: '/<b>', image: '0'.repeat(64), problems: [{ time: 'now', message: '<i>&' }] }];
  const damaged = [{ object: '1'.repeat(64), problem: '<p>', users: ['a.cfs:/<u>'] }];
  const page = renderPage(
    reportWith(2, 'a', '/a'),
    { ...HEALTH, mounts, check: { objects: 1, bytes: 1, damaged } },
    '1',
  );
  for (const text of ['/&#60;b&#62;', '&#60;i&#62;&#38;', '&#60;p&#62;', 'a.cfs:/&#60;u&#62;'])
    expect(page).toContain(text);
});
