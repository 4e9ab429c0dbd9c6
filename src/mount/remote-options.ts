/** The words of `-o` for remote repositories. */
import { resolve } from 'node:path';
import { type DiskPart, formatDiskPart, parseByteSize, parseDiskPart } from '../base/byte-size.ts';
import { CfsError } from '../base/error.ts';
import { parseRemoteAddress } from '../remote/remote-url.ts';
import { defaultCache } from '../store/default-store.ts';
import { choice, escapedValue } from './option-list.ts';
import type { MountOptions, RemoteOptions } from './options.ts';

/** The words that were given so far. */
export interface NetworkWords {
  addresses: string[];
  insecure: boolean;
  cache?: string;
  cacheSize?: number;
  cacheMinFree?: DiskPart;
  cacert?: string;
  prefetch?: NonNullable<RemoteOptions['prefetch']>;
}

const usage = (message: string, hint?: string): CfsError => new CfsError('usage', message, { hint });

type Take = (words: { readonly network: NetworkWords }, value: string) => void;

/** Options with a value, beside addresses. */
export const REMOTE_VALUED: Readonly<Record<string, Take>> = {
  cache: ({ network }, value) => {
    if (value === '') throw usage('mount option cache= needs a directory');
    network.cache = resolve(value);
  },
  'cache-size': ({ network }, value) => {
    const bytes = parseByteSize(value);
    if (bytes === undefined) {
      throw usage(`mount option cache-size= takes bytes, with K, M, G or T for powers of 1024; not "${value}"`);
    }
    network.cacheSize = bytes;
  },
  'cache-min-free': ({ network }, value) => {
    const part = parseDiskPart(value);
    if (part === undefined) {
      throw usage(
        `mount option cache-min-free= takes bytes, with K, M, G or T for powers of 1024, or 1% to 99%; not "${value}"`,
      );
    }
    network.cacheMinFree = part;
  },
  cacert: ({ network }, value) => {
    if (value === '') throw usage('mount option cacert= needs a file of certificates');
    network.cacert = resolve(value);
  },
  prefetch: ({ network }, value) => {
    network.prefetch = choice('prefetch', ['off', 'hot', 'all'])(value);
  },
};

/** @throws CfsError (usage) for wrong addresses, and for options that need one */
export function remoteOptions({
  addresses,
  cache,
  cacheSize,
  cacheMinFree,
  insecure,
  cacert,
  prefetch,
}: NetworkWords): RemoteOptions | undefined {
  if (addresses.length === 0) {
    const [given] = Object.entries({
      cache,
      'cache-size': cacheSize,
      'cache-min-free': cacheMinFree,
      cacert,
      prefetch,
      insecure,
    }).filter(([, value]) => value !== undefined && value !== false);
    if (given !== undefined) throw usage(`mount option ${given[0]} needs a remote repository: repo=URL`);
    return undefined;
  }
  for (const word of addresses) {
    const { ref, id } = parseRemoteAddress(word, insecure);
    if (ref !== undefined || id !== undefined) {
      throw usage(`Cannot use ${word}: a repository is needed, without the name of an image`);
    }
  }
  return {
    addresses: [...new Set(addresses)],
    cache: cache ?? defaultCache(),
    ...(cacheSize === undefined ? {} : { cacheSize }),
    ...(cacheMinFree === undefined ? {} : { cacheMinFree }),
    insecure,
    ...(cacert === undefined ? {} : { cacert }),
    ...(prefetch === undefined ? {} : { prefetch }),
  };
}

/** @throws CfsError (usage) for options that a mount with remote repositories cannot have */
export function checkWithRemote(
  { driver, verify }: Pick<MountOptions, 'driver' | 'verify'>,
  isWritable: boolean,
): void {
  const refused = (option: string, reason: string): CfsError =>
    usage(`mount option ${option} and remote repositories exclude each other: ${reason}`, 'Pull the image before.');
  if (driver !== 'kernel') throw refused(`driver=${driver}`, 'only the kernel driver waits for the network');
  if (verify === 'fsverity') throw refused('verify=fsverity', 'what is fetched has no seal');
  if (isWritable) throw refused('upperdir=', 'a writable mount cannot wait for the network');
}

/** The options that yield these again. */
export function formatRemoteOptions({
  addresses,
  cache,
  cacheSize,
  cacheMinFree,
  insecure,
  cacert,
  prefetch,
}: RemoteOptions): string[] {
  return [
    ...addresses.map((address) => `repo=${escapedValue(address)}`),
    `cache=${escapedValue(cache)}`,
    ...(cacheSize === undefined ? [] : [`cache-size=${cacheSize}`]),
    ...(cacheMinFree === undefined ? [] : [`cache-min-free=${formatDiskPart(cacheMinFree)}`]),
    ...(insecure ? ['insecure'] : []),
    ...(cacert === undefined ? [] : [`cacert=${escapedValue(cacert)}`]),
    ...(prefetch === undefined ? [] : [`prefetch=${prefetch}`]),
  ];
}
