/**
 * A chart of ratios: a line for each workload, a mark for each system, on a logarithmic scale around 1. One SVG that
 * needs no other file. Its colours follow the reader's light or dark scheme, and it has its own background, so that it
 * can be read on any page. No I/O.
 */
import { element, escapeXml, marker, picture, SANS, SHAPES, type Shape, textElement } from './svg.ts';

export interface RatioRow {
  readonly label: string;
  /** System → ratio; systems that were not measured are not in it. */
  readonly ratios: ReadonlyMap<string, number>;
}

export interface RatioChart {
  readonly title: string;
  /** The denominator of every ratio. */
  readonly reference: string;
  readonly systems: readonly string[];
  /** Rows under a heading each. */
  readonly groups: readonly { readonly heading: string; readonly rows: readonly RatioRow[] }[];
}

const WIDTH = 880;
const LABEL_WIDTH = 220;
const RIGHT = 28;
const ROW = 24;
const HEADING = 30;
const LEGEND_ROW = 20;
const LEGEND_COLUMNS = 5;
const RADIUS = 4.6;
/** Neighbours in the list of systems are drawn a little above and below each other: equal ratios stay visible. */
const DODGE = 4.5;
const FONT = 13;

/** A colour and a shape for each system, the same in every chart: distinguishable without colours, too. */
const STYLES: Readonly<Record<string, readonly [colour: string, shape: Shape]>> = {
  source: ['#8a8f98', 'square'],
  overlayfs: ['#444c56', 'square'],
  erofs: ['#c77700', 'diamond'],
  'erofs-metacopy': ['#a65628', 'diamond'],
  composefs: ['#e0a800', 'diamond'],
  'fuse-overlayfs': ['#9c5bd6', 'square'],
  squashfuse: ['#d6479a', 'square'],
  cfs: ['#1f78d1', 'circle'],
  'cfs-read': ['#1a9e77', 'circle'],
  'cfs-off': ['#e5484d', 'circle'],
  'cfs-native': ['#4aa3ff', 'triangle'],
  'cfs-native-read': ['#35c99a', 'triangle'],
  'cfs-native-off': ['#ff8a80', 'triangle'],
};
const OTHERS = ['#7a7f00', '#00838f', '#6d4c41', '#5c6bc0'];

/** The colour and shape of a system; an unknown one gets those of its place in the list. */
export function styleOf(system: string, place: number): readonly [colour: string, shape: Shape] {
  return STYLES[system] ?? [OTHERS[place % OTHERS.length] as string, SHAPES[place % SHAPES.length] as Shape];
}

/** Numbers 1, 2, 5 × 10ⁿ that the scale is labelled with; `from` and `to` are the first and the last. */
export function ticksAround(ratios: readonly number[]): number[] {
  const from = Math.min(0.5, ...ratios);
  const to = Math.max(2, ...ratios);
  const all: number[] = [];
  for (let power = -9; power < 12; power++) for (const digit of [1, 2, 5]) all.push(digit * 10 ** power);
  const first = all.findLastIndex((tick) => tick <= from * 1.001);
  const last = all.findIndex((tick) => tick >= to * 0.999);
  return all.slice(Math.max(0, first), last + 1);
}

/** "0.5×", "1×", "200×" */
export const tickLabel = (tick: number): string =>
  `${Number(tick.toPrecision(1)).toLocaleString('en', { maximumFractionDigits: 9 })}×`;

const CSS = `
.page { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e } .grid { stroke: #d1d9e0 }
.one { stroke: #1f2328 } .band { fill: #f6f8fa } .mark { stroke: #ffffff; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #30363d }
.one { stroke: #e6edf3 } .band { fill: #161b22 } .mark { stroke: #0d1117 } }
`.trim();

/** The whole file. */
export function renderRatioChart({ title, reference, systems, groups }: RatioChart): string {
  const shown = systems.filter((system) => groups.some(({ rows }) => rows.some(({ ratios }) => ratios.has(system))));
  const ticks = ticksAround(groups.flatMap(({ rows }) => rows.flatMap(({ ratios }) => [...ratios.values()])));
  const x = scale(ticks);
  const legendRows = Math.ceil(shown.length / LEGEND_COLUMNS);
  const top = 44 + legendRows * LEGEND_ROW + 26;
  const rowCount = groups.reduce((sum, { rows }) => sum + rows.length, 0);
  const bottom = top + groups.length * HEADING + rowCount * ROW + 6;
  const height = bottom + 34;
  const summary = `Time of each workload divided by that of ${reference}, on a logarithmic scale. Left of the line at 1 is faster than ${reference}, right of it slower. The exact values are in the table below the chart.`;
  const parts = [
    element('rect', { width: WIDTH, height, class: 'page' }),
    textElement(16, 26, title, { class: 'ink', 'font-size': 16, 'font-weight': 600 }),
    legend(shown, 44),
    ...axis(ticks, x, top, bottom, reference),
    ...body(groups, shown, x, top),
  ];
  return picture({
    width: WIDTH,
    height,
    title,
    description: summary,
    css: CSS,
    fontFamily: SANS,
    fontSize: FONT,
    parts,
  });
}

function scale(ticks: readonly number[]): (ratio: number) => number {
  const low = Math.log(ticks[0] as number);
  const high = Math.log(ticks.at(-1) as number);
  const width = WIDTH - LABEL_WIDTH - RIGHT;
  return (ratio) => LABEL_WIDTH + ((Math.log(ratio) - low) / (high - low)) * width;
}

function legend(systems: readonly string[], top: number): string {
  const column = (WIDTH - 32) / LEGEND_COLUMNS;
  const entries = systems.map((system, place) => {
    const x = 16 + (place % LEGEND_COLUMNS) * column;
    const y = top + Math.floor(place / LEGEND_COLUMNS) * LEGEND_ROW + 6;
    const [fill, shape] = styleOf(system, place);
    return marker(shape, x + RADIUS, y, RADIUS, { fill }) + textElement(x + 18, y + 4.5, system, { class: 'ink' });
  });
  return element('g', {}, entries.join('\n'));
}

/** Lines of the scale, labelled above and below if there is room. */
function axis(
  ticks: readonly number[],
  x: (ratio: number) => number,
  top: number,
  bottom: number,
  reference: string,
): string[] {
  const room = x(ticks[1] as number) - x(ticks[0] as number) > 34;
  return ticks.flatMap((tick) => {
    const isOne = Math.abs(tick - 1) < 1e-9;
    const style = isOne ? { class: 'one', 'stroke-width': 1.5 } : { class: 'grid' };
    const line = element('line', { x1: x(tick), x2: x(tick), y1: top - 6, y2: bottom, ...style });
    const isDecade = Math.abs(Math.log10(tick) - Math.round(Math.log10(tick))) < 1e-9;
    if (!room && !isDecade) return [line];
    const label = textElement(x(tick), bottom + 16, tickLabel(tick), {
      class: 'soft',
      'text-anchor': 'middle',
      'font-size': 12,
    });
    if (!isOne) return [line, label];
    const ink = { class: 'ink', 'text-anchor': 'middle', 'font-size': 12, 'font-weight': 600 };
    const above = textElement(x(1), top - 12, `1 = ${reference}`, ink);
    const sides = { class: 'soft', 'font-size': 12 };
    return [
      line,
      label,
      above,
      textElement(x(1) - 70, top - 12, '← faster', { ...sides, 'text-anchor': 'end' }),
      textElement(x(1) + 70, top - 12, 'slower →', sides),
    ];
  });
}

function body(
  groups: RatioChart['groups'],
  systems: readonly string[],
  x: (ratio: number) => number,
  top: number,
): string[] {
  const parts: string[] = [];
  let y = top;
  for (const { heading, rows } of groups) {
    parts.push(textElement(16, y + HEADING - 10, heading, { class: 'ink', 'font-weight': 600 }));
    y += HEADING;
    for (const row of rows) {
      parts.push(renderRow(row, systems, x, y + ROW / 2));
      y += ROW;
    }
  }
  return parts;
}

function renderRow(
  { label, ratios }: RatioRow,
  systems: readonly string[],
  x: (ratio: number) => number,
  y: number,
): string {
  const marks = systems.flatMap((system, place) => {
    const ratio = ratios.get(system);
    if (ratio === undefined) return [];
    const [fill, shape] = styleOf(system, place);
    const hint = element('title', {}, escapeXml(`${label}, ${system}: ${ratio.toPrecision(3)}×`));
    return [
      element('g', {}, hint + marker(shape, x(ratio), y + ((place % 3) - 1) * DODGE, RADIUS, { fill, class: 'mark' })),
    ];
  });
  const line = element('line', {
    x1: LABEL_WIDTH,
    x2: WIDTH - RIGHT,
    y1: y,
    y2: y,
    class: 'grid',
    'stroke-dasharray': '1 4',
  });
  return [line, textElement(LABEL_WIDTH - 12, y + 4.5, label, { class: 'ink', 'text-anchor': 'end' }), ...marks].join(
    '\n',
  );
}
