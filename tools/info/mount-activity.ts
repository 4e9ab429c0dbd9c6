/** What a mount did between two looks: rates, of what its server counts. Pure. */
import type { FetchStatistics, ServerStatistics } from '../../src/mount/fetch-counters.ts';
import type { MountActivity } from '../../src/mount/mount-statistics.ts';

/** A number for each second between the looks, unless something else is said. */
export interface Rates {
  /** Seconds between the looks. */
  readonly seconds: number;
  readonly restarts: number;
  /** By the name of the request. */
  readonly requests: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly bytesRead: number;
  readonly opens: number;
  /** The part of the opens that no repository was needed for, from 0 to 1; undefined without opens. */
  readonly hits: number | undefined;
  readonly verifiedObjects: number;
  readonly verifiedBytes: number;
  /** Not a rate: of the `objects` of the image those that are verified. */
  readonly verified: number;
  readonly objects: number;
  /** Not rates: requests between the looks by the time until their answer. */
  readonly latency: readonly number[];
  /** Microseconds below which half of the requests were answered, and 99 of 100; undefined without requests. */
  readonly median: number | undefined;
  readonly slowest: number | undefined;
  readonly repositories: readonly RepositoryRates[];
  /** Undefined without remote repositories. */
  readonly fetched: FetchStatistics | undefined;
  /** Not rates: since watching began. */
  readonly opened: MountActivity['opened'];
  /** Not a rate: since the server started. */
  readonly problems: number;
}

export interface RepositoryRates {
  readonly path: string;
  readonly served: number;
  readonly missing: number;
  readonly damaged: number;
  readonly failed: number;
}

/** @param ms between the two looks */
export function ratesBetween(before: MountActivity, now: MountActivity, ms: number): Rates {
  const seconds = Math.max(ms, 1) / 1_000;
  // another server began at zero
  const old = before.restarts === now.restarts ? before : undefined;
  const rate = (count: number, earlier: number | undefined): number => Math.max(count - (earlier ?? 0), 0) / seconds;
  const rates = (counts: Readonly<Record<string, number>>, earlier: Readonly<Record<string, number>> | undefined) =>
    Object.fromEntries(
      Object.entries(counts).flatMap(([name, n]) => {
        const each = rate(n, earlier?.[name]);
        return each > 0 ? [[name, each]] : [];
      }),
    );
  const isSameWatch = old?.watch === now.watch;
  const latency = now.latency.map((n, i) => Math.max(n - ((isSameWatch ? old.latency[i] : 0) ?? 0), 0));
  const repositories = now.repositories.map(({ path, ...counts }, i) => {
    const earlier = old?.repositories[i];
    const of = (outcome: 'served' | 'missing' | 'damaged' | 'failed'): number =>
      rate(counts[outcome], earlier?.[outcome]);
    return { path, served: of('served'), missing: of('missing'), damaged: of('damaged'), failed: of('failed') };
  });
  const opens = rate(now.requests['OPEN'] ?? 0, old?.requests['OPEN']);
  const served = repositories.reduce((sum, repository) => sum + repository.served, 0);
  return {
    seconds,
    restarts: now.restarts,
    requests: rates(now.requests, old?.requests),
    errors: rates(now.errors, old?.errors),
    bytesRead: rate(now.bytesRead, old?.bytesRead),
    opens,
    hits: opens === 0 ? undefined : Math.max(opens - served, 0) / opens,
    verifiedObjects: rate(now.verified.objects, old?.verified.objects),
    verifiedBytes: rate(now.verified.bytes, old?.verified.bytes),
    verified: now.verified.objects,
    objects: now.objects,
    latency,
    median: quantile(latency, 0.5),
    slowest: quantile(latency, 0.99),
    repositories,
    fetched: now.fetched && fetchRates(now.fetched, old?.fetched, rate),
    opened: now.opened,
    problems: now.problems,
  };
}

type Rate = (count: number, earlier: number | undefined) => number;

// servers of other versions count less
function fetchRates(now: FetchStatistics, old: FetchStatistics | undefined, rate: Rate): FetchStatistics {
  const of = (key: 'objects' | 'bytes' | 'failed' | 'hits'): number => rate(now[key] ?? 0, old?.[key]);
  const servers = now.servers.map((server, i): ServerStatistics => {
    const of = (key: Exclude<keyof ServerStatistics, 'url'>): number => rate(server[key] ?? 0, old?.servers[i]?.[key]);
    return {
      url: server.url,
      requests: of('requests'),
      bytes: of('bytes'),
      failures: of('failures'),
      failovers: of('failovers'),
      retries: of('retries'),
      objects: of('objects'),
      objectBytes: of('objectBytes'),
    };
  });
  return { objects: of('objects'), bytes: of('bytes'), failed: of('failed'), hits: of('hits'), servers };
}

/** The upper limit of a bucket in microseconds; that of the last one is none, and twice the limit before it. */
export const limitOf = (bucket: number): number => 2 ** bucket;

function quantile(latency: readonly number[], part: number): number | undefined {
  const all = sum(latency);
  if (all === 0) return undefined;
  let seen = 0;
  const isReached = (n: number): boolean => {
    seen += n;
    return seen >= all * part;
  };
  return limitOf(latency.findIndex(isReached));
}

export const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
