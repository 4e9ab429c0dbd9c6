/** Many readers of files that nobody has read: a request that needs the network holds no thread of the server. */
import type { MountedImage } from './cfs-daemon.ts';
import { usageOf } from './processes.ts';
import { PLAIN } from './remote-inputs.ts';
import { readFiles, someFiles, withLazyMount } from './remote-mounts.ts';
import { CFS } from './remote-pulls.ts';
import { type Found, type RemoteRun, type Row, takeTurns } from './remote-terms.ts';
import { median } from './statistics.ts';

const MOST_READERS = 64;
const FILES_PER_READER = 10;
const MAX_FILES = 4_000;

/**
 * Each file is a request, as the repository has no packs. Files a second are compared with one file for each reader in
 * a round-trip time, and the memory with that of a server with a thread for each reader.
 */
export async function measureCrowd(remote: RemoteRun): Promise<Found> {
  const { bench, tree, inputs, web } = remote;
  const list = await someFiles(tree, MAX_FILES, remote);
  const readers = Math.max(1, Math.min(MOST_READERS, Math.floor(list.count / FILES_PER_READER)));
  const many = `cfs, threads=${readers}`;
  const memory = new Map<string, number[]>();
  const contenders = [
    { name: CFS, words: [] },
    { name: many, words: [`threads=${readers}`] },
  ].map(({ name, words }) => ({
    name,
    turn: (limited: typeof bench) => {
      const read = async (root: string, { pid }: MountedImage): Promise<number> => {
        const ns = await readFiles(root, list, readers, limited);
        const bytes = usageOf(pid)?.rssBytes;
        if (bytes !== undefined) memory.set(name, [...(memory.get(name) ?? []), bytes]);
        return ns;
      };
      return withLazyMount({ bench: limited }, web.url(PLAIN), inputs.image, words, read);
    },
  }));
  const row: Row = {
    ...{ name: 'readers', title: `${readers} readers of small files`, state: 'cold' },
    work: { count: list.count, unit: 'files', bytes: list.bytes },
  };
  const results = await takeTurns(row, contenders, remote);
  const judged: Found['judged'][number][] = [];
  const samples = results.find(({ system }) => system === CFS)?.samples ?? [];
  if (samples.length > 0 && bench.rtt > 0) {
    const perSecond = list.count / (median(samples) / 1e9);
    const possible = readers / (bench.rtt / 1e3);
    const text = `${row.title}, files a second as a part of ${readers} in each round-trip time`;
    judged.push(
      { figure: 'readers_files_per_second', text: `${row.title}, files a second`, value: perSecond },
      { figure: 'readers_part', text, value: perSecond / possible, goal: { kind: 'at least', limit: 0.5 } },
    );
  }
  const [own, other] = [memory.get(CFS), memory.get(many)];
  if (own !== undefined && other !== undefined) {
    const value = median(own) / median(other);
    const text = `${row.title}, memory of the server (${megabytes(own)}), ratio to one with ${readers} threads`;
    judged.push({ figure: 'readers_memory_ratio', text, value, goal: { kind: 'at most', limit: 0.25 } });
  }
  return { results: results.map((one) => ({ ...one, rates: ['count'] })), judged };
}

const megabytes = (values: readonly number[]): string => `${Math.round(median(values) / 1e6)} MB`;
