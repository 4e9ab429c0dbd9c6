/** Selects the charts of a report: one for each tree, one of mounting, one of writing. No I/O. */
import type { Results } from './collected.ts';
import { formatBytes } from './figures.ts';
import type { RatioChart, RatioRow } from './ratio-chart.ts';
import { type Groups, rowKey, type Summary, systemsIn } from './statistics.ts';
import { WRITE_REFERENCES } from './systems.ts';

export interface Section {
  /** Of the SVG file, without `.svg`. */
  readonly name: string;
  readonly heading: string;
  readonly summaries: readonly Summary[];
  /** The systems that the others are compared with; the first one is that of the chart. */
  readonly references: readonly string[];
  /** Undefined if there is nothing to compare with. */
  readonly chart: RatioChart | undefined;
}

/** The workloads whose time is that of a mount: their ratios are so large that no others could be seen beside them. */
const MOUNTING = 'mount';

const STATES: Readonly<Record<string, string>> = {
  cold: 'cold: just mounted, nothing cached',
  dropped: 'dropped: the mount continues, caches dropped',
  warm: 'warm',
  ext4: 'changes on ext4',
  tmpfs: 'changes on tmpfs',
};

/** @param reference the system of the ratios' denominator, of workloads that read */
export function sectionsOf(results: Results, { readings, writings }: Groups, reference: string): Section[] {
  const readingsOnly = results.results.filter(({ workload }) => readings.includes(workload));
  const references = [reference];
  const sections = results.trees.map(({ name, kind, path, entries, bytes }): Section => {
    const summaries = readingsOnly.filter(({ tree, workload }) => tree === name && workload !== MOUNTING);
    const size = `${entries.toLocaleString('en')} entries, ${formatBytes(bytes)}`;
    const heading = `${kind === 'source' ? path : `${name}, generated`}: ${size}`;
    return { name, heading, summaries, references, chart: chartOf(heading, summaries, reference, 'state') };
  });
  const mounting = readingsOnly.filter(({ workload }) => workload === MOUNTING);
  const mounts = 'Mounting, until the first answer';
  const mountChart = chartOf(mounts, mounting, reference, 'tree');
  sections.push({ name: 'mount', heading: mounts, summaries: mounting, references, chart: mountChart });
  const written = results.results.filter(({ workload }) => writings.includes(workload));
  const writes = 'Writing';
  const writeChart = chartOf(writes, written, WRITE_REFERENCES[0] ?? '', 'state');
  sections.push({
    name: 'write',
    heading: writes,
    summaries: written,
    references: WRITE_REFERENCES,
    chart: writeChart,
  });
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
