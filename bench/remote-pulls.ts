/** Full pulls onto a new ext4, and their requests and bytes. */
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CfsError } from '../src/base/error.ts';
import type { Bench, Peer, Result } from './contract.ts';
import { makePlace, removePlace } from './places.ts';
import { missingProgram, run, toolCommand } from './process.ts';
import {
  COMPRESSIONS,
  compress,
  imageName,
  type Registry,
  registryUnavailable,
  startRegistry,
  storeImage,
} from './registry.ts';
import { archiveOf, filesBelow, PACKS, PLAIN, REF } from './remote-inputs.ts';
import { type Contender, type Judged, type RemoteRun, type Row, ratioOf, takeTurns } from './remote-terms.ts';
import { Server } from './servers.ts';

export const CFS = 'cfs';
const SYNCED = 'cfs, fsync';
const GETS = 'one GET an object';
const RSYNC = 'rsync -aW';
const SKOPEO = 'skopeo copy';
export const podmanPull = (compression: string): string => `podman pull, ${compression}`;

/** Requests of a pull beside those for packs: meta.json, name, image, map. */
const OTHER_REQUESTS = 4;
/** As many requests at the same time as the most eager of the other programs make. */
const GET_CONNECTIONS = '64';

/** A pull into a directory on a new file system. */
type Pull = (directory: string, bench: Bench) => Promise<number>;

/** A contender that works in an empty directory each time. */
export const onNewExt4 = (name: string, { tree }: RemoteRun, pull: Pull): Contender => ({
  name,
  turn: async (bench) => {
    const place = `remote-${name.replaceAll(/\W+/g, '-')}`;
    const { path } = await makePlace('ext4', place, { ...bench, largeSize: 2 * tree.bytes });
    try {
      return await pull(path, bench);
    } finally {
      await removePlace(place, bench);
    }
  },
});

/** @param address of the image @param options of cfs-repo pull */
const cfsPull = (name: string, address: string, options: readonly string[], remote: RemoteRun): Contender =>
  onNewExt4(name, remote, async (directory, bench) => {
    const store = join(directory, 'store');
    const own = ['--quiet', '--output', join(directory, 'tree.cfs'), ...options];
    const { ns } = await run(toolCommand('cfs-repo', 'pull', ...own, address, store), bench.signal);
    const count = filesBelow(join(store, 'objects')).length;
    if (count === remote.inputs.objects) return ns;
    throw new CfsError('system', `${count} objects were pulled, and the image has ${remote.inputs.objects}`);
  });

/** rsync of the objects, from a daemon. */
async function rsyncPull(remote: RemoteRun): Promise<Contender | undefined> {
  const { bench, inputs } = remote;
  if (!isWanted('rsync', RSYNC, missingProgram('rsync', 'Debian: rsync'), bench)) return undefined;
  const file = join(inputs.directory, 'rsyncd.conf');
  writeFileSync(file, `use chroot = no\n[store]\npath = ${inputs.store}\nread only = yes\nuid = 0\ngid = 0\n`);
  const command = (port: number): [string, ...string[]] => {
    return ['rsync', '--daemon', '--no-detach', '--address=127.0.0.1', `--port=${port}`, `--config=${file}`];
  };
  const proxy = await (await Server.start('rsync', command, bench)).far(bench.rtt, bench);
  const source = `rsync://127.0.0.1:${proxy.port}/store/objects/`;
  return onNewExt4(RSYNC, remote, async (directory, limited) => {
    return (await run(['rsync', '-aW', source, join(directory, 'objects')], limited.signal)).ns;
  });
}

/** Where podman keeps what it pulls, as options. It accepts no directory of more than 50 characters for its state. */
export const podmanIn = (directory: string, bench: Bench, ...args: readonly string[]): [string, ...string[]] => {
  const places = ['--root', join(directory, 'root'), '--runroot', bench.scratch.directory('run')];
  return ['podman', ...places, '--storage-driver', 'overlay', ...args];
};

/** A registry with the tree, if a program that pulls from one is measured here. */
export async function registryWith(remote: RemoteRun): Promise<Registry | undefined> {
  const { bench, tree, inputs } = remote;
  const podman = isWanted('podman', 'podman', missingProgram('podman', 'Debian: podman'), bench);
  const skopeo = isWanted('skopeo', 'skopeo', missingProgram('skopeo', 'Debian: skopeo'), bench);
  if (!podman && !skopeo) return undefined;
  const why = registryUnavailable();
  if (why !== undefined) {
    bench.omit({ what: 'podman and skopeo', why, failed: false });
    return undefined;
  }
  const registry = await startRegistry(bench.rtt, bench);
  const archive = await archiveOf(tree, inputs, bench);
  for (const compression of COMPRESSIONS) {
    bench.progress(`storing the ${tree.name} tree as an image, ${compression}`);
    await storeImage(registry, tree.name, compression, archive, await compress(archive, compression, bench));
  }
  return registry;
}

/** Whether a peer is measured. @param why it cannot be; undefined if it can */
export function isWanted(peer: Peer, name: string, why: string | undefined, bench: Bench): boolean {
  if (!bench.peers.includes(peer)) return false;
  if (why !== undefined) bench.omit({ what: `remote, ${name}`, why, failed: false });
  return why === undefined;
}

function registryPulls(registry: Registry, remote: RemoteRun): Contender[] {
  const has = (name: 'podman' | 'skopeo'): boolean =>
    remote.bench.peers.includes(name) && missingProgram(name, '') === undefined;
  const podman = COMPRESSIONS.map((compression) =>
    onNewExt4(podmanPull(compression), remote, async (directory, bench) => {
      const image = `docker://${imageName(registry, remote.tree.name, compression)}`;
      const { ns } = await run(podmanIn(directory, bench, 'pull', '-q', '--tls-verify=false', image), bench.signal);
      await run(podmanIn(directory, bench, 'rmi', '--all', '--force'), bench.signal);
      return ns;
    }),
  );
  const skopeo = onNewExt4(SKOPEO, remote, async (directory, bench) => {
    const image = `docker://${imageName(registry, remote.tree.name, 'zstd')}`;
    const to = `oci:${join(directory, 'copy')}:tree`;
    mkdirSync(join(directory, 'copy'));
    const command = ['--insecure-policy', 'copy', '-q', '--src-tls-verify=false', image, to];
    return (await run(['skopeo', ...command], bench.signal)).ns;
  });
  return [...(has('podman') ? podman : []), ...(has('skopeo') ? [skopeo] : [])];
}

/** Measures full pulls. */
export async function measurePulls(
  remote: RemoteRun,
  registry: Registry | undefined,
): Promise<{ results: Result[]; judged: Judged[] }> {
  const { bench, tree, inputs, web } = remote;
  const pushed = `${web.url(PACKS)}#${REF}`;
  const gets = ['--no-fsync', '--connections', GET_CONNECTIONS];
  const rsync = await rsyncPull(remote);
  const contenders = [
    cfsPull(CFS, pushed, ['--no-fsync'], remote),
    cfsPull(SYNCED, pushed, [], remote),
    ...(bench.peers.includes('get') ? [cfsPull(GETS, `${web.url(PLAIN)}@${inputs.id}`, gets, remote)] : []),
    ...(rsync === undefined ? [] : [rsync]),
    ...(registry === undefined ? [] : registryPulls(registry, remote)),
  ];
  const work = { count: inputs.objects, unit: 'objects', bytes: tree.bytes };
  const row: Row = { name: 'pull', title: 'full pull', state: 'cold', work };
  const results = await takeTurns(row, contenders, remote);
  return { results, judged: [...ratios(results, remote), ...(await measureTraffic(remote))] };
}

/** The limit of the ratio to a peer; undefined if this tree has no goal for it. */
function limitOf(peer: string, { tree }: RemoteRun): number | undefined {
  if (peer.startsWith('podman')) return tree.kind === 'source' ? 0.3 : undefined;
  return peer === GETS ? 0.2 : peer === RSYNC ? 0.8 : undefined;
}

function ratios(results: readonly Result[], remote: RemoteRun): Judged[] {
  return results.flatMap(({ system }): Judged[] => {
    const value = ratioOf(results, CFS, system);
    if (system === CFS || value === undefined) return [];
    const limit = limitOf(system, remote);
    return [
      {
        figure: `pull_ratio_${system.replaceAll(/\W+/g, '_')}`,
        text: `full pull, ratio to ${system}`,
        value,
        ...(limit === undefined ? {} : { goal: { kind: 'at most', limit } }),
      },
    ];
  });
}

/** Requests and bytes of one more pull, which is not timed. */
async function measureTraffic(remote: RemoteRun): Promise<Judged[]> {
  const { bench, tree, inputs, web } = remote;
  await web.traffic();
  await cfsPull(CFS, `${web.url(PACKS)}#${REF}`, ['--no-fsync'], remote).turn(bench);
  const { requests, bytes } = await web.traffic();
  const allowed = inputs.packs + OTHER_REQUESTS;
  const figures: Judged[] = [
    {
      figure: 'pull_requests',
      text: `requests of a full pull of ${inputs.packs} packs and large objects`,
      value: requests,
      goal: { kind: 'at most', limit: allowed },
    },
    { figure: 'pull_bytes', text: 'bytes of a full pull, with the headers of answers', value: bytes },
  ];
  const missing = missingProgram('zstd', 'Debian: zstd');
  if (missing !== undefined) {
    bench.omit({ what: 'remote, bytes of one tar.zst', why: missing, failed: false });
    return figures;
  }
  const archive = statSync(await compress(await archiveOf(tree, inputs, bench), 'zstd', bench)).size;
  const ratio: Judged = {
    figure: 'pull_bytes_ratio_tar_zst',
    text: 'bytes of a full pull, ratio to one tar.zst (level 3)',
    value: bytes / archive,
    // generated files consist of the same bytes, which one archive has only once
    ...(tree.kind === 'source' ? { goal: { kind: 'at most', limit: 1 } } : {}),
  };
  return [...figures, ratio];
}
