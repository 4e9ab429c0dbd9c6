import { describe, expect, test } from 'vitest';
import { type RatioChart, renderRatioChart, styleOf, tickLabel, ticksAround } from '../../../bench/ratio-chart.ts';
import { SYSTEMS } from '../../../bench/systems.ts';

const CHART: RatioChart = {
  title: 'A <tree> & more',
  reference: 'overlayfs',
  systems: ['cfs', 'erofs', 'absent'],
  groups: [
    {
      heading: 'cold',
      rows: [
        {
          label: 'ls -lR',
          ratios: new Map([
            ['cfs', 0.25],
            ['erofs', 1],
          ]),
        },
      ],
    },
    { heading: 'warm', rows: [{ label: 'open', ratios: new Map([['cfs', 40]]) }] },
  ],
};

/** Where the mark of a system is that is drawn as a circle. */
const circles = (svg: string): number[] =>
  [...svg.matchAll(/<circle cx="([\d.]+)"[^>]*class="mark"/g)].map((match) => Number(match[1]));

describe('renderRatioChart()', () => {
  const svg = renderRatioChart(CHART);

  test('is one closed element with a title and a description for screen readers', () => {
    expect(svg.startsWith('<svg xmlns="http://www.w3.org/2000/svg"')).toBe(true);
    expect(svg).toContain('role="img" aria-labelledby="title description"');
    expect(svg).toContain('<title id="title">A &#60;tree&#62; &#38; more</title>');
    expect(svg).toMatch(/<desc id="description">[^<]+logarithmic/);
    const opened = svg.match(/<[a-z]+(?: [^>]*[^/])?>/g)?.length;
    expect(svg.match(/<\/[a-z]+>/g)?.length).toBe(opened);
  });

  test('has its own background in light and dark mode, and loads nothing', () => {
    expect(svg).toContain('prefers-color-scheme: dark');
    expect(svg).toContain('class="page"');
    expect(svg).not.toMatch(/href|@import|url\(/);
  });

  test('labels the line at 1, and explains only systems that it shows', () => {
    expect(svg).toContain('1 = overlayfs');
    expect(svg).toContain('>cfs</text>');
    expect(svg).not.toContain('absent');
  });

  test('draws ratios on a logarithmic scale', () => {
    const at = (ratio: number): number => {
      const rows = [{ label: 'x', ratios: new Map([['cfs', ratio]]) }];
      const all = [
        {
          label: 'y',
          ratios: new Map([
            ['erofs', 0.01],
            ['cfs-x', 100],
          ]),
        },
        ...rows,
      ];
      return circles(renderRatioChart({ ...CHART, groups: [{ heading: '', rows: all }] }))[0] as number;
    };
    expect(at(10) - at(1)).toBeCloseTo(at(1) - at(0.1), 0);
    expect(at(10)).toBeGreaterThan(at(1));
  });

  test('has the same style for a system in every chart, and another one for each system', () => {
    const styles = SYSTEMS.map(({ name }) => styleOf(name, 0).join());
    expect(new Set(styles).size).toBe(SYSTEMS.length);
  });
});

describe('ticksAround()', () => {
  test('always includes 1', () => {
    expect(ticksAround([])).toEqual([0.5, 1, 2]);
    expect(ticksAround([3, 400])).toEqual([0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]);
    expect(ticksAround([0.15, 0.3]).map(tickLabel)).toEqual(['0.1×', '0.2×', '0.5×', '1×', '2×']);
  });
});
