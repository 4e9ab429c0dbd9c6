/** Options of the commands that use servers. */
import type { Command } from 'commander';
import type { HashAlgorithm } from '../src/base/digest.ts';
import type { RemoteSource } from '../src/transfer/remote-objects.ts';
import { integerOption } from './cli.ts';

export interface NetworkWords {
  readonly connections: number;
  readonly insecure: boolean;
  readonly cacert?: string;
}

const MAX_CONNECTIONS = 64;
const CONNECTIONS = 8;

/** Adds them. @param connections describes that option */
export const addNetworkOptions = (command: Command, connections = 'requests to a server at the same time'): Command =>
  command
    .option('--connections <N>', connections, integerOption('--connections', 1, MAX_CONNECTIONS), CONNECTIONS)
    .option('--insecure', 'permit http:// to another machine', false)
    .option('--cacert <FILE>', 'certificates in PEM to trust, too');

/**
 * The remote repositories of an option, by its words. The code for it is loaded if there are any.
 * @throws CfsError: as `openRemoteSources`
 */
export async function openRemotes(
  words: readonly string[],
  hash: HashAlgorithm,
  { connections, insecure, cacert }: NetworkWords,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, RemoteSource>> {
  if (words.length === 0) return new Map();
  const { openRemoteSources } = await import('../src/transfer/open-source.ts');
  const each = [...new Set(words)];
  const sources = await openRemoteSources(each, hash, { connections, insecure, cacert }, signal);
  return new Map(sources.map((source, i) => [each[i] as string, source] as const));
}

export async function closeRemotes(remotes: ReadonlyMap<string, RemoteSource>): Promise<void> {
  await Promise.all([...remotes.values()].map(({ remote }) => remote.close()));
}
