/** Selects the charts of a report: one for each tree, and one of mounting. No I/O. */
import type { Results } from './collected.ts';
import { formatBytes } from './figures.ts';
import type { RatioChart, RatioRow } from './ratio-chart.ts';
import { rowKey, type Summary, systemsIn } from './statistics.ts';

export interface Section {
  /** Of the SVG file, without `.svg`. */
  readonly name: string;
  readonly heading: string;
  readonly summaries: readonly Summary[];
  /** Undefined if there is nothing to compare with. */
  readonly chart: RatioChart | undefined;
}

/** The workloads whose time is that of a mount: their ratios are so large that no others could be seen beside them. */
const MOUNTING = 'mount';

const STATES: Readonly<Record<string, string>> = {
  cold: 'cold: just mounted, nothing cached',
  dropped: 'dropped: the mount continues, caches dropped',
  warm: 'warm',
};

/** @param readings names of the workloads that read a tree @param reference the system of the ratios' denominator */
export function sectionsOf(results: Results, readings: readonly string[], reference: string): Section[] {
  const readingsOnly = results.results.filter(({ workload }) => readings.includes(workload));
  const sections = results.trees.map(({ name, kind, path, entries, bytes }): Section => {
    const summaries = readingsOnly.filter(({ tree, workload }) => tree === name && workload !== MOUNTING);
    const size = `${entries.toLocaleString('en')} entries, ${formatBytes(bytes)}`;
    const heading = `${kind === 'source' ? path : `${name}, generated`}: ${size}`;
    return { name, heading, summaries, chart: chartOf(heading, summaries, reference, 'state') };
  });
  const mounting = readingsOnly.filter(({ workload }) => workload === MOUNTING);
  const heading = 'Mounting, until the first answer';
  sections.push({ name: 'mount', heading, summaries: mounting, chart: chartOf(heading, mounting, reference, 'tree') });
  return sections.filter(({ summaries }) => summaries.length > 0);
}

function chartOf(
  title: string,
  summaries: readonly Summary[],
  reference: string,
  by: 'state' | 'tree',
): RatioChart | undefined {
  const compared = summaries.filter(({ system, ratios }) => system !== reference && ratios[reference] !== undefined);
  if (compared.length === 0) return undefined;
  const groups = [...new Set(compared.map((one) => one[by]))].map((group) => {
    const rows = new Map<string, { label: string; ratios: Map<string, number> }>();
    for (const one of compared.filter((other) => other[by] === group)) {
      const row = rows.get(rowKey(one)) ?? { label: one.title, ratios: new Map<string, number>() };
      row.ratios.set(one.system, one.ratios[reference] as number);
      rows.set(rowKey(one), row);
    }
    return { heading: STATES[group] ?? group, rows: [...rows.values()] satisfies RatioRow[] };
  });
  return { title, reference, systems: systemsIn(compared), groups };
}
