/** The report of a run for a web page: charts, and the exact values below them. No I/O. */
import { type Section, sectionsOf } from './charts.ts';
import type { Results } from './collected.ts';
import {
  formatRange,
  formatRate,
  formatRatio,
  formatTime,
  isNoisy,
  limitedCells,
  renderSubject,
  threeDigits,
} from './figures.ts';
import { escapeMarkdown, markdownList, markdownTable } from './markdown.ts';
import { renderRatioChart } from './ratio-chart.ts';
import { type Groups, median, NOISY, rowKey, type Summary, systemsIn } from './statistics.ts';
import { REFERENCES, WRITE_REFERENCES } from './systems.ts';
import { GROUP } from './writing.ts';

export interface ReportFile {
  readonly name: string;
  readonly text: string;
}

/**
 * `report.md` and the SVG files that it shows.
 * @param name of the results, for the title
 */
export function renderReport(results: Results, name: string, groups: Groups): ReportFile[] {
  const reference = REFERENCES.find((one) => results.results.some(({ system }) => system === one)) ?? '';
  const sections = sectionsOf(results, groups, reference);
  const compared = [...groups.readings, ...groups.writings];
  const others = results.results.filter(({ workload }) => !compared.includes(workload));
  const limited = limitedCells(results.results);
  const parts = [
    `# Benchmark: ${escapeMarkdown(name)}`,
    state(results),
    markdownList(renderSubject(results).split('\n')),
    reading(results, reference),
    markdownTable(
      ['system', ''],
      Object.entries(results.systems).map(([system, description]) => [system, escapeMarkdown(description)]),
      2,
    ),
    ...sections.flatMap(renderSection),
    ...titled('Daemons', renderDaemons(sections)),
    ...titled('Packing, remote repositories, sharing, a large image', renderOthers(others)),
    markdownList(results.notes),
    ...titled('Fewer samples', markdownList(limited)),
    ...titled(
      'Not compared',
      markdownList(results.omissions.map(({ what, why, failed }) => `${what}: ${failed ? 'failed: ' : ''}${why}`)),
    ),
    ...titled(
      'Measuring it again',
      `As root, in the project's directory:\n\n    npm run build\n    ${results.command}`,
    ),
  ];
  const report = `${parts.filter((part) => part !== '').join('\n\n')}\n`;
  const charts = sections.flatMap((section): ReportFile[] =>
    section.chart === undefined ? [] : [{ name: `${section.name}.svg`, text: renderRatioChart(section.chart) }],
  );
  return [{ name: 'report.md', text: report }, ...charts];
}

const titled = (title: string, text: string): string[] => (text === '' ? [] : [`## ${title}`, text]);

function state({ started, finished, complete, interrupted }: Results): string {
  const when = `Measured from ${started.slice(0, 16).replace('T', ' ')} to ${finished.slice(0, 16).replace('T', ' ')} UTC.`;
  return complete
    ? when
    : `${when} **The run did not finish** (${escapeMarkdown(interrupted ?? 'it may still run')}): these are the results so far.`;
}

function reading({ results, rounds, time_limit_seconds, large_file_reader }: Results, reference: string): string {
  return [
    reference === ''
      ? ''
      : `Charts show the time of each workload divided by that of ${reference}: left of the line at 1 is faster. Tables show the median of up to ${rounds} samples, and this ratio.`,
    `“~” marks figures whose samples spread by more than ${NOISY * 100} % of their median; “(n)” those of only n samples, because a turn took long compared to the limit of ${time_limit_seconds} s.`,
    results.some(({ tree }) => tree === GROUP)
      ? `Writing is into new upper directories on ext4 and tmpfs, and for the source into these file systems themselves; bold ratios are relative to ${WRITE_REFERENCES[0]}, the other ones name their system.`
      : '',
    "“cold”: just mounted, by a new daemon, nothing cached; “dropped”: mount and daemon continue, the kernel's caches were dropped; “warm”: the same was just done.",
    large_file_reader === 'fio'
      ? 'The large file is read by fio, from before it is opened.'
      : "The large file is read by the benchmark's own loop (fio is not installed), from before it is opened.",
    'How it is measured: docs/benchmark.md of the project.',
  ]
    .filter((line) => line !== '')
    .join(' ');
}

function renderSection({ name, heading, summaries, references, chart }: Section): string[] {
  const image = `![${escapeMarkdown(heading)}: time of each workload relative to ${references[0]}, on a logarithmic scale; exact values in the table](${name}.svg)`;
  return [`## ${escapeMarkdown(heading)}`, chart === undefined ? '' : image, renderTable(summaries, references)];
}

function rowsOf(summaries: readonly Summary[]): Summary[][] {
  const rows = new Map<string, Summary[]>();
  for (const one of summaries) rows.set(rowKey(one), [...(rows.get(rowKey(one)) ?? []), one]);
  return [...rows.values()];
}

/** A line for each workload and state, a column for each system. */
function renderTable(summaries: readonly Summary[], references: readonly string[]): string {
  const systems = systemsIn(summaries);
  const trees = new Set(summaries.map(({ tree }) => tree)).size > 1;
  const rows = rowsOf(summaries).map((row) => {
    const { title, state: cache, tree } = row[0] as Summary;
    const cells = systems.map((system) => {
      const one = row.find((other) => other.system === system);
      return one === undefined ? '–' : cell(one, references);
    });
    return [trees ? `${title}, ${tree}` : title, cache, ...cells];
  });
  return markdownTable(['', '', ...systems], rows, 2);
}

/** Time, its ratio to the first reference in bold, those to the others with their names, and a rate. */
function cell(one: Summary, references: readonly string[]): string {
  const ratios = references.flatMap((reference, place) => {
    const ratio = one.ratios[reference];
    if (ratio === undefined || one.system === reference) return [];
    return [place === 0 ? `**${formatRatio(ratio)}**` : `${formatRatio(ratio)} ${reference}`];
  });
  const rate = one.rates?.[0];
  const marks = `${isNoisy(one) ? ' ~' : ''}${one.limited === undefined ? '' : ` (${one.samples.length})`}`;
  return [`${formatTime(one.median)}${marks}`, ...ratios, ...(rate === undefined ? [] : [formatRate(one, rate)])].join(
    '<br>',
  );
}

/** CPU time and memory of the daemons, a line for each workload and state. */
function renderDaemons(sections: readonly Section[]): string {
  const summaries = sections.flatMap((section) => section.summaries).filter(({ daemon }) => daemon !== undefined);
  if (summaries.length === 0) return '';
  const systems = systemsIn(summaries);
  const rows = rowsOf(summaries).map((row) => {
    const { title, state: cache, tree } = row[0] as Summary;
    const cells = systems.map((system) => daemonCell(row.find((one) => one.system === system)));
    return [title, tree, cache, ...cells];
  });
  const words =
    'CPU time of the daemon in one sample, in steps of 10 ms, and its memory after it: resident, and with shared pages divided among the processes that share them (PSS). Medians. The kernel serves the other systems; this table does not include the cost of the kernel, for any system.';
  return `${words}\n\n${markdownTable(['', '', '', ...systems], rows, 3)}`;
}

function daemonCell(one: Summary | undefined): string {
  if (one?.daemon === undefined) return '–';
  const { cpu_ns, rss_bytes, pss_bytes } = one.daemon;
  const megabytes = (bytes: readonly number[]): string => `${threeDigits(median(bytes) / 1e6)} MB`;
  return `${formatTime(median(cpu_ns))}<br>${megabytes(rss_bytes)}<br>PSS ${megabytes(pss_bytes)}`;
}

/** The results of experiments, one line each. */
function renderOthers(summaries: readonly Summary[]): string {
  if (summaries.length === 0) return '';
  const rows = summaries.map((one) => [
    `${one.title}, ${one.tree}`,
    one.state,
    one.system,
    `${formatTime(one.median)}${isNoisy(one) ? ' ~' : ''}`,
    formatRange(one.min, one.max),
    (one.rates ?? []).map((rate) => formatRate(one, rate)).join(', '),
  ]);
  return markdownTable(['', '', '', 'median', 'min – max', 'rate'], rows, 3);
}
