/** The pictures of the README. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Results } from '../../../bench/collected.ts';
import { ratioText, renderFrontChart } from '../../../bench/front-chart.ts';
import { COLUMNS, LENGTH, renderRecording, type Step } from '../../../bench/recording.ts';

const ROOT = join(import.meta.dirname, '../../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const results = JSON.parse(read('bench/results/rootfs.json')) as Results;

describe('renderFrontChart()', () => {
  const chart = renderFrontChart(results);

  test('docs/speed.svg is of the published run: scripts/pictures.mjs chart makes it', () => {
    expect(read('docs/speed.svg')).toBe(chart);
  });

  test('shows the values of the run', () => {
    const value = (workload: string, state: string, system: string): number =>
      results.results.find((one) => one.workload === workload && one.state === state && one.system === system)?.ratios[
        'overlayfs'
      ] as number;
    for (const [workload, state] of [
      ['ls', 'warm'],
      ['open', 'warm'],
      ['sequential', 'cold'],
    ] as const) {
      expect(chart).toContain(`>${ratioText(value(workload, state, 'cfs'))}</text>`);
      expect(chart).toContain(`>${ratioText(value(workload, state, 'squashfuse'))}</text>`);
    }
  });

  test('refuses a run without one of the values', () => {
    const some = { ...results, results: results.results.filter(({ workload }) => workload !== 'tar') };
    expect(() => renderFrontChart(some)).toThrow('The run has no tar of ');
  });

  test.each([
    [0.8, '0.80'],
    [1.994, '1.99'],
    [6.1, '6.1'],
    [19.87, '20'],
  ])('the ratio %d is "%s"', (ratio, text) => expect(ratioText(ratio)).toBe(text));
});

const STEPS: readonly Step[] = [
  { command: '# note <1>', output: [], seconds: 0 },
  { command: 'cfs-info id & more', output: [{ text: 'a < b', at: 0.5 }], seconds: 100 },
  {
    command: 'cat x',
    output: [
      { text: 'x: Input/output error', at: 0.1 },
      { text: 'y'.repeat(500), at: 0.2 },
    ],
    seconds: 0.3,
  },
];

describe('renderRecording()', () => {
  const svg = renderRecording({ title: 'T & t', summary: 'All of it.', steps: STEPS });
  const seconds = [...svg.matchAll(/animation-delay: ([\d.]+)s/g)].map(([, text]) => Number(text));

  test('has title and transcript for screen readers, and loads nothing', () => {
    expect(svg).toContain('role="img" aria-labelledby="title description"');
    expect(svg).toContain('<title id="title">T &#38; t</title>');
    expect(svg).toMatch(
      /<desc id="description">All of it\.\n# note &#60;1&#62;\n\$ cfs-info id &#38; more\na &#60; b\n/,
    );
    expect(svg).not.toMatch(/href|@import|url\(|<script/);
  });

  test('follows the scheme of the reader, and does not move if that is wanted', () => {
    expect(svg).toContain('prefers-color-scheme: dark');
    expect(svg).toMatch(/@media \(prefers-reduced-motion: reduce\) \{[^}]*animation: none/);
    // without animation everything is visible, and nothing covers it
    expect(svg).not.toMatch(/\.line \{[^}]*opacity/);
    expect(svg).toMatch(/\.curtain \{ opacity: 0;/);
  });

  test('appears line by line, in the time of a recording', () => {
    expect(seconds).toHaveLength(6);
    expect(seconds).toEqual([...seconds].sort((a, b) => a - b));
    expect(seconds.at(-1)).toBeLessThanOrEqual(LENGTH - 1);
    expect(seconds.at(-1)).toBeGreaterThan(LENGTH / 2);
  });

  test('cuts lines that are too long, and marks errors', () => {
    const texts = [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text = '']) => text);
    expect(texts.at(-1)).toBe(`${'y'.repeat(COLUMNS - 1)}…`);
    expect(svg).toMatch(/class="error"[^>]*>x: Input\/output error</);
  });
});

describe('the recording in the README', () => {
  const svg = read('docs/demo.svg');

  test('has all steps, in a small file', () => {
    const [, transcript = ''] = /<desc[^>]*>([\s\S]*)<\/desc>/.exec(svg) ?? [];
    const order = [
      'cfs-mkimage',
      'cfs-mkimage',
      'cfs-mount',
      'tar -c',
      'kill -9',
      'continues',
      'flip-bit',
      'Input/output error',
      'corrupted',
    ];
    let at = -1;
    for (const part of order) {
      at = transcript.indexOf(part, at + 1);
      expect(at, part).toBeGreaterThan(0);
    }
    expect(svg.length).toBeLessThan(20_000);
  });

  test('tar read the same bytes twice', () => {
    const sums = [...svg.matchAll(/\n([0-9a-f]{10}…) {2}-/g)].map(([, sum]) => sum);
    expect(sums).toHaveLength(2);
    expect(sums[0]).toBe(sums[1]);
  });
});

test('the README has both pictures, with texts in their place', () => {
  const readme = read('README.md');
  for (const name of ['demo', 'speed'])
    expect(readme).toMatch(new RegExp(`!\\[[^\\]]{60,}\\]\\(docs/${name}\\.svg\\)`));
  expect(readme.split('\n').length).toBeLessThanOrEqual(151);
  expect(readme.split('\n').length).toBeGreaterThanOrEqual(100);
});
