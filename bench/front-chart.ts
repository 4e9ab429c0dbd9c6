/**
 * The chart of the README: the workloads that a reader meets first, and four systems. cfs has the one colour; its ratio
 * is beside its mark, and times are at the end of each row. All values are of one run. No I/O.
 */
import type { Results } from './collected.ts';
import { formatTime } from './figures.ts';
import { tickLabel, ticksAround } from './ratio-chart.ts';
import type { Summary } from './statistics.ts';
import { element, escapeXml, marker, picture, SANS, type Shape, textElement } from './svg.ts';

const REFERENCE = 'overlayfs';

/** workload, tree, state, and words for them */
const ROWS = [
  ['ls', 'source', 'warm', 'ls -lR, cached'],
  ['ls', 'source', 'cold', 'ls -lR, just mounted'],
  ['mount-ls', 'source', 'cold', 'mount, then ls -lR'],
  ['tar', 'source', 'warm', 'tar of all files, cached'],
  ['open', 'source', 'warm', 'read small files, cached'],
  ['sequential', 'large', 'cold', 'read 1 GiB in order, not cached'],
] as const;

interface Style {
  readonly system: string;
  readonly name: string;
  readonly shape: Shape;
  readonly isOurs: boolean;
}

const SYSTEMS: readonly Style[] = [
  { system: 'cfs', name: 'cfs', shape: 'circle', isOurs: true },
  { system: 'cfs-read', name: 'cfs, verify=read', shape: 'circle', isOurs: true },
  { system: 'erofs-metacopy', name: 'EROFS and overlayfs, as composefs', shape: 'diamond', isOurs: false },
  { system: 'squashfuse', name: 'squashfuse', shape: 'square', isOurs: false },
];

const WIDTH = 880;
const LABELS = 236;
const TIMES = 150;
const ROW = 46;
const TOP = 104;
const RADIUS = 5.5;

const CSS = `
.page { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e } .grid { stroke: #d1d9e0 } .one { stroke: #59636e }
.ours { fill: #0969da } .ours.tint { fill: #ffffff; stroke: #0969da; stroke-width: 2 } .number { fill: #0969da }
.other { fill: #818b98 } .halo { stroke: #ffffff; stroke-width: 3; paint-order: stroke }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #30363d } .one { stroke: #9198a1 }
.ours { fill: #4493f8 } .ours.tint { fill: #0d1117; stroke: #4493f8 } .number { fill: #4493f8 } .other { fill: #767f8a }
.halo { stroke: #0d1117 } }
`.trim();

/** "0.80", "6.1", "20" */
export const ratioText = (ratio: number): string => (ratio < 1.995 ? ratio.toFixed(2) : ratio.toPrecision(2));

interface Row {
  readonly label: string;
  readonly reference: number;
  readonly ours: number;
  readonly ratios: ReadonlyMap<string, number>;
}

function rowsOf(results: Results): Row[] {
  return ROWS.map(([workload, tree, state, label]) => {
    const of = (system: string): Summary => {
      const found = results.results.find(
        (one) => one.workload === workload && one.tree === tree && one.state === state && one.system === system,
      );
      if (found === undefined) throw new Error(`The run has no ${workload} of ${system}, ${tree}, ${state}.`);
      return found;
    };
    const ratios = new Map(SYSTEMS.map(({ system }) => [system, of(system).ratios[REFERENCE] as number]));
    return { label, reference: of(REFERENCE).median, ours: of('cfs').median, ratios };
  });
}

/** The whole file. @throws Error if the run lacks one of the values */
export function renderFrontChart(results: Results): string {
  const rows = rowsOf(results);
  const ticks = ticksAround(rows.flatMap(({ ratios }) => [...ratios.values()]));
  const [low, high] = [Math.log(ticks[0] as number), Math.log(ticks.at(-1) as number)];
  const right = WIDTH - TIMES;
  const x = (ratio: number): number => LABELS + ((Math.log(ratio) - low) / (high - low)) * (right - LABELS);
  const bottom = TOP + rows.length * ROW;
  const height = bottom + 58;
  const title = 'Time of six workloads, relative to overlayfs';
  const values = rows.map(({ label, reference, ratios }) => {
    const each = SYSTEMS.map(({ system, name }) => `${name} ${ratioText(ratios.get(system) as number)}`);
    return `${label}: overlayfs ${formatTime(reference)}, ${each.join(', ')}.`;
  });
  const { cpu, cores, kernel } = results.machine;
  const [tree] = results.trees;
  const source = `Medians of ${results.rounds} samples, ${results.started.slice(0, 10)}; Debian root of ${tree?.entries.toLocaleString('en')} entries on ext4; Linux ${kernel.split('-')[0]}, ${cores} virtual CPUs (${cpu})`;
  const parts = [
    element('rect', { width: WIDTH, height, class: 'page' }),
    textElement(16, 26, title, { class: 'ink', 'font-size': 16, 'font-weight': 600 }),
    legend(),
    ...axis(ticks, x, bottom),
    ...rows.map((row, i) => renderRow(row, x, TOP + (i + 0.5) * ROW)),
    textElement(16, height - 12, source, { class: 'soft', 'font-size': 11.5 }),
  ];
  return picture({
    width: WIDTH,
    height,
    title,
    description: `Left of 1 is faster than overlayfs. ${values.join(' ')} ${source}.`,
    css: CSS,
    fontFamily: SANS,
    fontSize: 13,
    parts,
  });
}

const markOf = ({ shape, isOurs, system }: Style, x: number, y: number): string =>
  marker(shape, x, y, RADIUS, { class: isOurs ? `ours${system === 'cfs' ? '' : ' tint'}` : 'other' });

function legend(): string {
  let x = 16;
  return SYSTEMS.map((style) => {
    const mark = markOf(style, x + RADIUS, 50);
    const text = textElement(x + 18, 54.5, style.name, {
      class: 'ink',
      ...(style.isOurs ? { 'font-weight': 600 } : {}),
    });
    x += 46 + style.name.length * 7;
    return mark + text;
  }).join('\n');
}

function axis(ticks: readonly number[], x: (ratio: number) => number, bottom: number): string[] {
  const heads = { class: 'soft', 'font-size': 12 };
  const end = { ...heads, 'text-anchor': 'end' };
  return [
    ...ticks.flatMap((tick) => [
      element('line', { x1: x(tick), x2: x(tick), y1: TOP - 4, y2: bottom, class: tick === 1 ? 'one' : 'grid' }),
      textElement(x(tick), bottom + 16, tickLabel(tick), { class: 'soft', 'font-size': 12, 'text-anchor': 'middle' }),
    ]),
    textElement(x(1), TOP - 12, '1 = overlayfs', { class: 'ink', 'font-size': 12, 'text-anchor': 'middle' }),
    textElement(x(1) - 52, TOP - 12, '← faster', end),
    textElement(x(1) + 52, TOP - 12, 'slower →', heads),
    textElement(WIDTH - 86, TOP - 12, 'cfs', { ...end, class: 'number', 'font-weight': 600 }),
    textElement(WIDTH - 16, TOP - 12, 'overlayfs', end),
  ];
}

function renderRow({ label, reference, ours, ratios }: Row, x: (ratio: number) => number, y: number): string {
  const at = (system: string): number => x(ratios.get(system) as number);
  const parts = [
    element('line', { x1: LABELS, x2: WIDTH - TIMES, y1: y, y2: y, class: 'grid', 'stroke-dasharray': '1 4' }),
    textElement(LABELS - 14, y + 4.5, label, { class: 'ink', 'text-anchor': 'end' }),
  ];
  // cfs is drawn last, above the others
  for (const style of [...SYSTEMS].reverse()) {
    const { system, name, isOurs } = style;
    const ratio = ratios.get(system) as number;
    const hint = element('title', {}, escapeXml(`${label}, ${name}: ${ratio.toPrecision(3)} × overlayfs`));
    parts.push(element('g', {}, hint + markOf(style, at(system), y)));
    if (!isOurs) {
      const small = { class: 'soft halo', 'font-size': 11, 'text-anchor': 'middle' };
      parts.push(textElement(at(system), y + 18, ratioText(ratio), small));
    }
  }
  const strong = { class: 'number halo', 'font-size': 12, 'font-weight': 600 };
  const [mine, tint] = ['cfs', 'cfs-read'].map((system) => ratios.get(system) as number) as [number, number];
  const [left, right] = mine <= tint ? [mine, tint] : [tint, mine];
  if (x(right) - x(left) > 30) {
    for (const ratio of [left, right]) {
      parts.push(textElement(x(ratio), y - 10, ratioText(ratio), { ...strong, 'text-anchor': 'middle' }));
    }
  } else {
    // too near for two numbers: that of the default
    parts.push(textElement(x(mine), y - 10, ratioText(mine), { ...strong, 'text-anchor': 'middle' }));
  }
  parts.push(
    textElement(WIDTH - 86, y + 4.5, formatTime(ours), { ...strong, 'text-anchor': 'end' }),
    textElement(WIDTH - 16, y + 4.5, formatTime(reference), { class: 'soft', 'font-size': 12, 'text-anchor': 'end' }),
  );
  return parts.join('\n');
}
