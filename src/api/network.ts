/** Servers as arguments of functions. */
import type { HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { isRemote } from '../remote/remote-url.ts';
import type { RemoteSource } from '../transfer/remote-objects.ts';
import { given, pathGiven } from './arguments.ts';

/**
 * Options of all work with servers.
 * @example
 * import { type NetworkOptions, pullImage } from '@cfs-images/cfs/transfer';
 *
 * const network: NetworkOptions = { connections: 4 };
 * const address = 'https://example.org/images#rootfs';
 * await pullImage('/srv/pulled', address, { ...network, image: '/srv/pulled.cfs' });
 */
export interface NetworkOptions {
  /** Requests at the same time, 1 to 64; default: 8. */
  readonly connections?: number;
  /** Permit `http://` to another machine: contents are verified, but others on the network learn which. */
  readonly insecure?: boolean;
  /** A file of certificates in PEM to trust beside those of node. */
  readonly cacert?: string;
}

const CONNECTIONS = 8;
const MOST_CONNECTIONS = 64;

/** @throws CfsError (usage) */
export function within(what: string, value: number, most: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new CfsError('usage', `${what} is a number from 1 to ${most}, not ${String(value)}`);
}

export const httpOf = ({
  connections = CONNECTIONS,
  cacert,
}: NetworkOptions): { readonly connections: number; readonly cacert?: string } => ({
  connections: within('connections', connections, MOST_CONNECTIONS),
  ...given({ cacert: cacert === undefined ? undefined : pathGiven('cacert', cacert) }),
});

/** Whether a repository is given by its URL. */
export const isUrl = (repository: unknown): repository is string =>
  typeof repository === 'string' && isRemote(repository);

/**
 * Opens remote repositories for `work`, and closes them.
 * @throws CfsError: `usage`, `store`; the reason of the signal
 */
export async function withRemotes<T>(
  words: readonly string[],
  hash: HashAlgorithm,
  options: NetworkOptions & { readonly signal?: AbortSignal },
  work: (remotes: readonly RemoteSource[]) => Promise<T>,
): Promise<T> {
  if (words.length === 0) return await work([]);
  const { closeSources, openRemoteSources } = await import('../transfer/open-source.ts');
  const { insecure = false, signal } = options;
  const remotes = await openRemoteSources(words, hash, { ...httpOf(options), insecure }, signal);
  try {
    return await work(remotes);
  } finally {
    await closeSources(remotes);
  }
}
