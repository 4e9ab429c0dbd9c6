/** `cfs-info stats`: statistics of a mount since its server started. */
import { closeSync, constants, openSync } from 'node:fs';
import { oneLine } from '../../src/base/bytes.ts';
import { isErrno } from '../../src/base/errno.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { jsonOf } from '../../src/base/json-text.ts';
import { pathBytes, pathText } from '../../src/base/path-text.ts';
import type { FetchStatistics, PrefetchStatistics } from '../../src/mount/fetch-counters.ts';
import type { MountStatistics, RepositoryStatistics } from '../../src/mount/mount-statistics.ts';
import { mountOfFd } from '../../src/mount-info/open-path.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { listMounts } from '../../src/system/mount-table.ts';
import { getXattr } from '../../src/system/xattrs.ts';
import { formatBytes, formatCount, formatCounted } from '../format.ts';
import type { Output } from './output.ts';

const XATTRS: readonly string[] = ['user.cfs.statistics', 'trusted.cfs.statistics'];

export type StatsForm = 'text' | 'json' | 'prometheus';

/**
 * @param path any path in the mount
 * @throws CfsError (usage) if it is not in a mount of cfs
 */
export function showStats(path: string, form: StatsForm, out: Output): void {
  const mountpoint = mountpointOrPath(path);
  const stats = statisticsAt(mountpoint, path);
  const shown = pathText(mountpoint);
  if (form === 'json') out.text(`${jsonOf({ mountpoint: shown, ...stats })}\n`);
  else out.text(form === 'prometheus' ? prometheusOf([{ mountpoint: shown, stats }]) : textOf(shown, stats));
}

/**
 * The mount point of the mount that `path` is in, or `path` itself.
 * @throws CfsError (usage) if there is no such path
 */
export function mountpointOrPath(path: string): Buffer {
  let fd: number;
  try {
    fd = openSync(path, O_PATH | constants.O_NOFOLLOW);
  } catch (error) {
    throw new CfsError('usage', `Cannot find ${path}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    return Buffer.from(mountOfFd(fd, listMounts())?.mountpointBytes ?? pathBytes(path));
  } finally {
    closeSync(fd);
  }
}

function statisticsAt(mountpoint: Buffer, path: string): MountStatistics {
  for (const name of XATTRS) {
    const value = getXattr(mountpoint, name);
    if (!isErrno(value)) return JSON.parse(Buffer.from(value).toString()) as MountStatistics;
  }
  throw new CfsError('usage', `${path} is not in a mount of cfs, or it has statistics for root only`);
}

/** Lines of "key: value", with room for the names of requests. */
const formatLines = (lines: readonly (readonly [key: string, value: string])[]): string =>
  lines.map(([key, value]) => `${`${key}:`.padEnd(18)}${oneLine(value)}\n`).join('');

const sum = (values: Readonly<Record<string, number>>): number => Object.values(values).reduce((a, b) => a + b, 0);

function textOf(mountpoint: string, stats: MountStatistics): string {
  const byCount = Object.entries(stats.requests).sort(([, a], [, b]) => b - a);
  const lines: [key: string, value: string][] = [
    ['mount', mountpoint],
    ['restarts', formatCount(stats.restarts)],
    ['requests', formatCount(sum(stats.requests))],
    ...byCount.map(([name, n]): [string, string] => [`  ${name}`, formatCount(n)]),
    ['errors', formatCount(sum(stats.errors))],
    ...Object.entries(stats.errors).map(([name, n]): [string, string] => [`  ${name}`, formatCount(n)]),
    ['read', `${formatBytes(stats.bytesRead)} through the server`],
    [
      'problems',
      `${formatCount(stats.problems)}${stats.problems > 0 ? "; 'cfs-info log' shows the last of them" : ''}`,
    ],
    ['slow', `${formatCounted(stats.slow, 'request')} took more than 1 s`],
  ];
  const fetched = stats.fetched === undefined ? '' : textOfFetched(stats.fetched);
  return formatLines(lines) + stats.repositories.map(textOfRepository).join('') + fetched;
}

// servers of other versions count less
const textOfFetched = ({ objects, bytes, failed, hits = 0, prefetch, servers }: FetchStatistics): string =>
  formatLines([
    ['fetched', `${formatCounted(objects, 'object')}, ${formatBytes(bytes)}`],
    ['  failed', formatCounted(failed, 'request')],
    ['  hits', `${formatCount(hits)} in the cache`],
    ...(prefetch === undefined ? [] : linesOfPrefetch(prefetch)),
    ...servers.flatMap((server): [string, string][] => [
      ['server', server.url],
      ['  answered', `${formatCounted(server.requests, 'request')}, ${formatBytes(server.bytes)}`],
      ['  fetched', `${formatCounted(server.objects ?? 0, 'object')}, ${formatBytes(server.objectBytes ?? 0)}`],
      ['  failed', formatCount(server.failures)],
      ['  retries', formatCount(server.retries ?? 0)],
      ['  failovers', formatCount(server.failovers)],
    ]),
  ]);

const linesOfPrefetch = (prefetch: PrefetchStatistics): [string, string][] => {
  const { mode, state, objects, bytes, allObjects, allBytes } = prefetch;
  return [
    ['prefetch', `${mode}, ${state}`],
    ['  objects', `${formatCount(objects)} of ${formatCount(allObjects)}`],
    ['  bytes', `${formatBytes(bytes)} of ${formatBytes(allBytes)}`],
  ];
};

const textOfRepository = (
  { path, verify, served, missing, damaged, failed }: RepositoryStatistics,
  i: number,
): string =>
  formatLines([
    [`repository ${i + 1}`, path],
    ['  verify', verify],
    ['  served', formatCount(served)],
    ['  missing', formatCount(missing)],
    ['  damaged', formatCount(damaged)],
    ['  failed', formatCount(failed)],
  ]);

/** A mount for Prometheus. */
export interface MeasuredMount {
  readonly mountpoint: string;
  /** Undefined if its server did not answer. */
  readonly stats: MountStatistics | undefined;
}

type Labels = Readonly<Record<string, string>>;

type Metric = (
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  rowsOf: (stats: MountStatistics) => readonly (readonly [Labels, number])[],
) => string;

const OF_SERVERS = [
  ['cfs_fetch_requests_total', 'Requests that a server of a remote repository answered as expected.', 'requests'],
  ['cfs_fetch_bytes_total', 'Bytes of these answers.', 'bytes'],
  ['cfs_fetch_failures_total', 'Requests that a server of a remote repository did not answer.', 'failures'],
  ['cfs_fetch_failovers_total', 'Requests that a server answered after another one had failed.', 'failovers'],
  ['cfs_fetch_retries_total', 'Requests that were made again, because they had failed at all servers.', 'retries'],
  ['cfs_fetch_objects_total', 'Objects that came from a server of a remote repository.', 'objects'],
  ['cfs_fetch_object_bytes_total', 'Bytes of these objects.', 'objectBytes'],
] as const;

const OF_PREFETCH = [
  ['cfs_prefetch_objects', 'Objects that are there, of those that are fetched before someone opens them.', 'objects'],
  ['cfs_prefetch_bytes', 'Bytes of these objects.', 'bytes'],
  ['cfs_prefetch_all_objects', 'Objects that are fetched before someone opens them.', 'allObjects'],
  ['cfs_prefetch_all_bytes', 'Bytes of these objects.', 'allBytes'],
] as const;

const prefetchMetrics = (metric: Metric): string[] => [
  ...OF_PREFETCH.map(([name, help, key]) =>
    metric(name, 'gauge', help, ({ fetched }) =>
      fetched?.prefetch === undefined ? [] : [[{}, fetched.prefetch[key]]],
    ),
  ),
  metric('cfs_prefetch_state', 'gauge', 'The state of fetching objects before someone opens them: 1.', ({ fetched }) =>
    fetched?.prefetch === undefined ? [] : [[{ mode: fetched.prefetch.mode, state: fetched.prefetch.state }, 1]],
  ),
];

const fetchedMetrics = (metric: Metric): string[] => [
  metric('cfs_fetched_objects_total', 'counter', 'Objects that came from remote repositories.', ({ fetched }) =>
    fetched === undefined ? [] : [[{}, fetched.objects]],
  ),
  metric('cfs_fetched_bytes_total', 'counter', 'Bytes of these objects.', ({ fetched }) =>
    fetched === undefined ? [] : [[{}, fetched.bytes]],
  ),
  metric(
    'cfs_cache_hits_total',
    'counter',
    'Times that the cache served an object, and nobody waited.',
    ({ fetched }) => (fetched === undefined ? [] : [[{}, fetched.hits ?? 0]]),
  ),
  ...OF_SERVERS.map(([name, help, key]) =>
    metric(name, 'counter', help, ({ fetched }) =>
      (fetched?.servers ?? []).map((server) => [{ server: server.url }, server[key] ?? 0] as const),
    ),
  ),
];

/** The text format of Prometheus, version 0.0.4. */
export function prometheusOf(mounts: readonly MeasuredMount[]): string {
  const label = (labels: Labels): string =>
    Object.entries(labels)
      .map(([name, value]) => `${name}="${oneLine(value).replace(/[\\"]/g, '\\$&')}"`)
      .join(',');
  const metric: Metric = (name, type, help, rowsOf) => {
    const rows = mounts.flatMap(({ mountpoint, stats }) =>
      stats === undefined ? [] : rowsOf(stats).map(([labels, n]) => [{ mountpoint, ...labels }, n] as const),
    );
    return head(name, type, help) + rows.map(([labels, n]) => `${name}{${label(labels)}} ${n}\n`).join('');
  };
  const head = (name: string, type: 'counter' | 'gauge', help: string): string =>
    `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
  const outcomes = ['served', 'missing', 'damaged', 'failed'] as const;
  return [
    head('cfs_up', 'gauge', 'Whether the server of the mount answered.'),
    ...mounts.map(({ mountpoint, stats }) => `cfs_up{${label({ mountpoint })}} ${stats === undefined ? 0 : 1}\n`),
    metric('cfs_server_restarts_total', 'counter', 'Servers that died.', ({ restarts }) => [[{}, restarts]]),
    metric('cfs_requests_total', 'counter', 'Requests of the kernel.', ({ requests }) =>
      Object.entries(requests).map(([opcode, n]) => [{ opcode }, n]),
    ),
    metric(
      'cfs_errors_total',
      'counter',
      'Requests that failed, except those for names that do not exist and for operations that are not implemented.',
      // with EIO from the beginning: the first one would else be no increase
      ({ errors }) => Object.entries({ EIO: 0, ...errors }).map(([errno, n]) => [{ errno }, n]),
    ),
    metric('cfs_read_bytes_total', 'counter', 'Bytes that were read through the server.', ({ bytesRead }) => [
      [{}, bytesRead],
    ]),
    metric('cfs_slow_requests_total', 'counter', 'Requests that took more than a second.', ({ slow }) => [[{}, slow]]),
    metric('cfs_problems_total', 'counter', 'Problems that were logged.', ({ problems }) => [[{}, problems]]),
    metric(
      'cfs_repository_objects_total',
      'counter',
      'Outcomes of looking for an object in a repository.',
      ({ repositories }) =>
        repositories.flatMap((repository) =>
          outcomes.map((outcome) => [{ repository: repository.path, outcome }, repository[outcome]] as const),
        ),
    ),
    ...(mounts.some(({ stats }) => stats?.fetched !== undefined) ? fetchedMetrics(metric) : []),
    ...(mounts.some(({ stats }) => stats?.fetched?.prefetch !== undefined) ? prefetchMetrics(metric) : []),
  ].join('');
}
