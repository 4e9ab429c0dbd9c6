/** Results as text for a terminal of 100 columns. No I/O. */
import type { Results } from './collected.ts';
import type { Omission } from './contract.ts';
import {
  formatRange,
  formatRate,
  formatRatio,
  formatTime,
  isNoisy,
  labels,
  limitedCells,
  renderSubject,
} from './figures.ts';
import { type Groups, NOISY, rowKey, type Summary, systemsIn } from './statistics.ts';
import { REFERENCES, WRITE_REFERENCES } from './systems.ts';

const WIDTH = 100;
const GAP = '  ';

/** Lines of equally wide columns: the first `left` of them to the left, the others to the right. */
function alignColumns(rows: readonly (readonly string[])[], left = 1): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, i) => (i < left ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
      .join(GAP)
      .trimEnd(),
  );
}

const heading = (text: string): string => `${text}\n${'─'.repeat(Math.min(text.length, WIDTH))}`;

/**
 * System × workload: in each cell the median, its ratio to that of `reference`, if there is one, and below it a rate,
 * if the workload has one. As many systems side by side as fit, the rest in a second table.
 */
export function renderMatrix(summaries: readonly Summary[], reference: string | undefined): string {
  if (summaries.length === 0) return '';
  const systems = systemsIn(summaries);
  const label = labels(summaries);
  const byRow = new Map<string, Map<string, Summary>>();
  for (const one of summaries) {
    const row = byRow.get(rowKey(one)) ?? new Map<string, Summary>();
    byRow.set(rowKey(one), row.set(one.system, one));
  }
  const block = (names: readonly string[]): string[] => {
    const rows = [...byRow.values()].flatMap((row) => matrixRows(row, names, reference, label));
    return alignColumns([['', ...names], ...rows]);
  };
  return [
    heading(`Time of one pass${reference === undefined ? '' : `, and its ratio to ${reference}`} (lower is better)`),
    ...chunksThatFit(systems, block).map((lines) => lines.join('\n')),
    ...(summaries.some((one) => isNoisy(one))
      ? [`~ the samples spread by more than ${NOISY * 100} % of their median; --details shows them`]
      : []),
  ].join('\n\n');
}

/** Puts as many systems in each block as keep it in WIDTH columns, one at least. */
function chunksThatFit(systems: readonly string[], block: (names: readonly string[]) => string[]): string[][] {
  const blocks: string[][] = [];
  for (let from = 0; from < systems.length; ) {
    let to = systems.length;
    let lines = block(systems.slice(from, to));
    while (to - from > 1 && lines.some((line) => line.length > WIDTH)) lines = block(systems.slice(from, --to));
    blocks.push(lines);
    from = to;
  }
  return blocks;
}

function matrixRows(
  row: Map<string, Summary>,
  names: readonly string[],
  reference: string | undefined,
  label: (one: Summary) => string,
): string[][] {
  const any = [...row.values()][0] as Summary;
  const cells = (text: (one: Summary) => string, none: string): string[] =>
    names.map((name) => {
      const one = row.get(name);
      return one === undefined ? none : text(one);
    });
  const times = [label(any), ...cells((one) => timeCell(one, reference), `–${BEHIND_TIME}`)];
  const rate = any.rates?.[0];
  if (rate === undefined) return [times];
  return [times, ['', ...cells((one) => formatRate(one, rate), '')]];
}

/** The room for the text that timeCell adds to the time: "  0.56×" and a mark. */
const BEHIND_TIME = ' '.repeat(8);

function timeCell(one: Summary, reference: string | undefined): string {
  const ratio = reference === undefined ? undefined : one.ratios[reference];
  const text = ratio === undefined ? '' : formatRatio(ratio);
  return `${formatTime(one.median)}${text.padStart(BEHIND_TIME.length - 1)}${isNoisy(one) ? '~' : ' '}`;
}

/** One line for each result: median, spread, rates and all ratios. */
export function renderDetails(title: string, summaries: readonly Summary[]): string {
  if (summaries.length === 0) return '';
  const label = labels(summaries);
  const references = [...new Set(summaries.flatMap(({ ratios }) => Object.keys(ratios)))];
  const rows = summaries.map((one, i) => {
    const before = summaries[i - 1];
    const repeated = before !== undefined && rowKey(before) === rowKey(one);
    return [
      repeated ? '' : label(one),
      one.system,
      formatTime(one.median),
      formatRange(one.min, one.max),
      (one.rates ?? []).map((rate) => formatRate(one, rate)).join(', '),
      ...references.map((name) => one.ratios[name]?.toFixed(2) ?? ''),
    ];
  });
  const head = ['', '', 'median', 'min – max', '', ...references.map((name) => `×${name}`)];
  return [heading(title), '', ...alignColumns([head, ...rows], 2)].join('\n');
}

export function renderOmissions(omissions: readonly Omission[]): string {
  if (omissions.length === 0) return '';
  const lines = omissions.map(({ what, why, failed }) => `- ${what}: ${failed ? 'failed: ' : ''}${why}`);
  return [heading('Not compared'), ...lines].join('\n');
}

/** The whole output of a run on the terminal. */
export function renderTables(results: Results, { readings, writings }: Groups, details: boolean): string {
  const isReading = (one: Summary): boolean => readings.includes(one.workload);
  const isWriting = (one: Summary): boolean => writings.includes(one.workload);
  const read = results.results.filter(isReading);
  const written = results.results.filter(isWriting);
  const limited = limitedCells([...read, ...written]);
  return [
    renderSubject(results),
    renderMatrix(read, referenceIn(read, REFERENCES)),
    details ? renderDetails('Every figure', read) : '',
    renderMatrix(written, referenceIn(written, WRITE_REFERENCES)),
    details ? renderDetails('Every figure of writing', written) : '',
    renderDetails(
      'Packing, mounting and remote repositories',
      results.results.filter((one) => !isReading(one) && !isWriting(one)),
    ),
    results.notes.join('\n'),
    limited.length === 0 ? '' : [heading('Fewer samples'), ...limited.map((line) => `- ${line}`)].join('\n'),
    renderOmissions(results.omissions),
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

const referenceIn = (summaries: readonly Summary[], references: readonly string[]): string | undefined =>
  references.find((name) => summaries.some(({ system }) => system === name));
