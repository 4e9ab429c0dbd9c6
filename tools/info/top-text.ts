/** `cfs-info top` for people: a line, or a screen. Pure. */
import { oneLine } from '../../src/base/bytes.ts';
import { shownText } from '../../src/base/path-text.ts';
import type { Problem } from '../../src/mount/problem-memory.ts';
import { formatBytes, formatCount, formatCounted } from '../format.ts';
import { limitOf, type Rates, sum } from './mount-activity.ts';

const BAR_WIDTH = 24;
const MOST_REQUESTS = 12;
const MOST_PROBLEMS = 5;

/** "1,234", or "0.5" if it is small. */
const rate = (n: number): string => (n > 0 && n < 9.95 ? n.toFixed(1) : formatCount(Math.round(n)));
const total = (rates: Readonly<Record<string, number>>): number => sum(Object.values(rates));

/** "8 µs", "2.0 ms", "1.0 s" */
export function formatMicroseconds(microseconds: number): string {
  if (microseconds < 1_000) return `${microseconds} µs`;
  if (microseconds < 1_000_000) return `${(microseconds / 1_000).toFixed(1)} ms`;
  return `${(microseconds / 1_000_000).toFixed(1)} s`;
}

const quantiles = ({ median, slowest }: Rates): string =>
  median === undefined || slowest === undefined
    ? 'none'
    : `50 % < ${formatMicroseconds(median)}, 99 % < ${formatMicroseconds(slowest)}`;

const hitsOf = ({ hits }: Rates): string => (hits === undefined ? '' : `, ${Math.round(hits * 100)} % hits`);

/** One line for the time between two looks. */
export function lineOf(rates: Rates, time: string): string {
  const { requests, errors, opens, bytesRead, verifiedObjects, verifiedBytes, problems, fetched } = rates;
  return [
    time,
    `${rate(total(requests))} requests/s`,
    `${rate(opens)} opens/s${hitsOf(rates)}`,
    `read ${formatBytes(bytesRead)}/s`,
    `verified ${rate(verifiedObjects)}/s, ${formatBytes(verifiedBytes)}/s`,
    ...(fetched === undefined ? [] : [`fetched ${rate(fetched.objects)}/s, ${formatBytes(fetched.bytes)}/s`]),
    `${rate(total(errors))} errors/s`,
    formatCounted(problems, 'problem'),
    quantiles(rates),
  ].join('  ');
}

/** The parts of a screen. */
export interface ScreenContent {
  readonly mountpoint: string;
  readonly time: string;
  readonly rates: Rates;
  readonly lastProblems: readonly Problem[];
}

/** The lines of a screen of this size, none of them longer than `columns`. */
export function screenOf(content: ScreenContent, { columns, rows }: { columns: number; rows: number }): string[] {
  const { mountpoint, time, rates, lastProblems } = content;
  const lines = [
    `cfs-info top  ${mountpoint}  ${time}  every ${rates.seconds.toFixed(1)} s  (q quits)`,
    '',
    ...summaryOf(rates),
    '',
    ...repositoriesOf(rates),
    ...section(fetchHead(rates), serversOf(rates)),
    '',
    ...beside(requestsOf(rates), latencyOf(rates)),
    ...section('most opened since this began', openedOf(rates)),
    ...section('last problems', problemsOf(lastProblems)),
  ];
  return lines.slice(0, Math.max(rows - 1, 1)).map((line) => cut(line, columns));
}

const section = (head: string, lines: readonly string[]): string[] => (lines.length === 0 ? [] : ['', head, ...lines]);

/** Characters that take two columns are rare in paths: such a line may wrap. */
function cut(line: string, columns: number): string {
  const shown = [...oneLine(shownText(line))];
  return shown.length <= columns ? shown.join('') : `${shown.slice(0, Math.max(columns - 1, 0)).join('')}…`;
}

function summaryOf(rates: Rates): string[] {
  const { requests, errors, opens, bytesRead, verifiedObjects, verifiedBytes, verified, objects } = rates;
  const failed = Object.entries(errors).map(([name, n]) => `${name} ${rate(n)}/s`);
  return [
    `requests  ${rate(total(requests))}/s; ${quantiles(rates)}`,
    `opens     ${rate(opens)}/s${hitsOf(rates)}`,
    `read      ${formatBytes(bytesRead)}/s through the server`,
    `verified  ${rate(verifiedObjects)} objects/s, ${formatBytes(verifiedBytes)}/s; ${formatCount(verified)} of ${formatCounted(objects, 'object')}`,
    `errors    ${failed.length === 0 ? 'none' : failed.join(', ')}; ${formatCounted(rates.problems, 'problem')}, ${formatCounted(rates.restarts, 'restart')}`,
  ];
}

function requestsOf({ requests }: Rates): string[] {
  const most = Object.entries(requests).sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
  const rest = most.slice(MOST_REQUESTS);
  const shown =
    rest.length === 0 ? most : [...most.slice(0, MOST_REQUESTS), ['others', sum(rest.map(([, n]) => n))] as const];
  return [
    `${'request'.padEnd(14)}${'each second'.padStart(12)}`,
    ...shown.map(([name, n]) => name.padEnd(14) + rate(n).padStart(12)),
  ];
}

/** Times of which there were none are left out. */
function latencyOf({ latency }: Rates): string[] {
  const most = Math.max(...latency);
  if (most === 0) return [];
  const rowOf = (n: number, bucket: number): string => {
    const isLast = bucket === latency.length - 1;
    const limit = isLast ? `>= ${formatMicroseconds(limitOf(bucket - 1))}` : `< ${formatMicroseconds(limitOf(bucket))}`;
    const bar = '#'.repeat(Math.ceil((n / most) * BAR_WIDTH));
    return `${limit.padStart(11)} ${formatCount(n).padStart(9)}  ${bar}`;
  };
  return [
    `${'answered in'.padStart(11)} ${'requests'.padStart(9)}`,
    ...latency.flatMap((n, bucket) => (n > 0 ? [rowOf(n, bucket)] : [])),
  ];
}

/** Two columns of lines. */
function beside(left: readonly string[], right: readonly string[]): string[] {
  const width = Math.max(...left.map((line) => line.length)) + 4;
  const rows = Math.max(left.length, right.length);
  return Array.from({ length: rows }, (_, i) => `${(left[i] ?? '').padEnd(width)}${right[i] ?? ''}`.trimEnd());
}

function repositoriesOf({ repositories }: Rates): string[] {
  const cells = (...words: readonly string[]): string => words.map((word) => word.padStart(10)).join('');
  return [
    `${cells('served/s', 'missing/s', 'damaged/s', 'failed/s')}  repository`,
    ...repositories.map(
      ({ path, served, missing, damaged, failed }) =>
        `${cells(rate(served), rate(missing), rate(damaged), rate(failed))}  ${path}`,
    ),
  ];
}

const fetchHead = ({ fetched }: Rates): string => {
  const { objects = 0, bytes = 0, hits = 0, failed = 0 } = fetched ?? {};
  return `fetched ${rate(objects)} objects/s, ${formatBytes(bytes)}/s; ${rate(hits)} hits/s, ${rate(failed)} failed/s`;
};

function serversOf({ fetched }: Rates): string[] {
  if (fetched === undefined) return [];
  const cells = (...words: readonly string[]): string => words.map((word) => word.padStart(12)).join('');
  return [
    `${cells('answered/s', 'objects/s', 'bytes/s', 'failed/s', 'retries/s', 'failovers/s')}  server`,
    ...fetched.servers.map(({ url, requests, objects, bytes, failures, retries, failovers }) => {
      const counts = [rate(requests), rate(objects), formatBytes(bytes), rate(failures), rate(retries)];
      return `${cells(...counts, rate(failovers))}  ${url}`;
    }),
  ];
}

const openedOf = ({ opened }: Rates): string[] =>
  opened.map(({ ino, opens, path }) => `${formatCount(opens).padStart(10)}  ${path ?? `inode ${ino}`}`);

const problemsOf = (problems: readonly Problem[]): string[] =>
  problems.slice(-MOST_PROBLEMS).map(({ time, severity, message }) => `${time} ${severity}: ${message}`);
