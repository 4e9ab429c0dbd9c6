/** Mounts that fetch objects when they are opened: the first program in a new mount, and reading from the cache. */
import { lstatSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CfsError } from '../src/base/error.ts';
import { type MountedImage, mountImage, unmountImage } from './cfs-daemon.ts';
import type { Bench, PathList, Tree } from './contract.ts';
import { missingProgram, run } from './process.ts';
import { seeded, shuffle } from './random.ts';
import { COMPRESSIONS, imageName, type Registry } from './registry.ts';
import { PACKS, REF } from './remote-inputs.ts';
import { CFS, onNewExt4, podmanIn, podmanPull } from './remote-pulls.ts';
import {
  type Contender,
  type Found,
  type Judged,
  type RemoteRun,
  type Row,
  ratioOf,
  takeTurns,
} from './remote-terms.ts';
import { timeProbe } from './run-probe.ts';
import { SMALL_FILE_LIMIT } from './trees.ts';

const SEED = 20;
const LOCAL = 'cfs, local repository';
const CACHED = 'cfs, cache';

/**
 * Mounts with an empty cache, lets `use` work, unmounts, and removes the cache.
 * @param repository an address; undefined if `image` is one
 */
export async function withLazyMount<T>(
  { bench }: Pick<RemoteRun, 'bench'>,
  repository: string | undefined,
  image: string,
  words: readonly string[],
  use: (mountpoint: string, mounted: MountedImage) => Promise<T>,
): Promise<T> {
  const cache = bench.scratch.directory('remote-cache');
  const mountpoint = bench.scratch.directory('mnt-remote');
  let pid: number | undefined;
  try {
    const mounted = await mountImage(repository, image, mountpoint, [`cache=${cache}`, ...words], bench.signal);
    pid = mounted.pid;
    return await use(mountpoint, mounted);
  } finally {
    await unmountImage(mountpoint, pid);
    rmSync(cache, { recursive: true, force: true });
  }
}

/** A list of `count` regular files of at most 64 KiB, chosen by a fixed seed; all of them if there are fewer. */
export async function someFiles(tree: Tree, count: number, { inputs, bench }: RemoteRun): Promise<PathList> {
  const { stdout } = await run(['cat', tree.small.file], bench.signal, 'collect');
  const all = stdout.toString('latin1').split('\0').slice(0, -1);
  const chosen = shuffle(all, seeded(SEED)).slice(0, count);
  const file = join(inputs.directory, `some-${count}.list`);
  writeFileSync(file, chosen.map((path) => `${path}\0`).join(''), 'latin1');
  const size = (path: string): number =>
    lstatSync(Buffer.concat([Buffer.from(`${tree.path}/`), Buffer.from(path, 'latin1')])).size;
  return { file, count: chosen.length, bytes: chosen.reduce((sum, path) => sum + size(path), 0) };
}

/** Opens, reads and closes the files of a list below `root`. @returns nanoseconds */
export const readFiles = (root: string, list: PathList, threads: number, bench: Bench): Promise<number> =>
  timeProbe(
    'open',
    { count: list.count, unit: 'files', bytes: list.bytes },
    [root, list.file, String(SMALL_FILE_LIMIT), String(threads)],
    bench,
  );

/** Some work below a directory that shows the tree; returns its nanoseconds. */
interface FirstUse {
  readonly title: string;
  run(root: string, bench: Bench): Promise<number>;
}

const PYTHON = '/usr/bin/python3';
const FIRST_FILES = 300;

/** python3 of the tree with the tree as its root directory, or reading files if it has none. */
async function firstUse(remote: RemoteRun): Promise<FirstUse> {
  const { tree, bench } = remote;
  if (statSync(join(tree.path, 'usr/bin'), { throwIfNoEntry: false }) !== undefined) {
    const command = [PYTHON, '-B', '-I', '-c', 'import ssl; print(ssl.OPENSSL_VERSION)'];
    const python = async (root: string, { signal }: Bench): Promise<number> => {
      const { ns, stdout } = await run(['chroot', root, ...command], signal, 'collect');
      if (stdout.toString().startsWith('OpenSSL')) return ns;
      throw new CfsError('system', `python3 in ${root} printed "${stdout.toString().trim()}"`);
    };
    const works = await python(tree.path, bench).then(
      () => true,
      () => false,
    );
    bench.signal.throwIfAborted();
    if (works) return { title: 'python3, import ssl', run: python };
  }
  const list = await someFiles(tree, FIRST_FILES, remote);
  return { title: `${list.count} files`, run: (root, limited) => readFiles(root, list, 1, limited) };
}

/** Mounting with nothing of the tree here, and its first use, against pulling all of it. */
export async function measureFirstUse(remote: RemoteRun, registry: Registry | undefined): Promise<Found> {
  const { bench, tree, web } = remote;
  const first = await firstUse(remote);
  const lazy: Contender = {
    name: CFS,
    turn: (limited) =>
      withLazyMount({ bench: limited }, undefined, `${web.url(PACKS)}#${REF}`, [], async (root, { ns }) => {
        return ns + (await first.run(root, limited));
      }),
  };
  const podman = COMPRESSIONS.map((compression) =>
    onNewExt4(podmanPull(compression), remote, async (directory, limited) => {
      const name = imageName(registry as Registry, tree.name, compression);
      const pull = podmanIn(directory, bench, 'pull', '-q', '--tls-verify=false', `docker://${name}`);
      const pulled = await run(pull, limited.signal);
      const mounted = await run(podmanIn(directory, bench, 'image', 'mount', name), limited.signal, 'collect');
      try {
        return pulled.ns + mounted.ns + (await first.run(mounted.stdout.toString().trim(), limited));
      } finally {
        await run(podmanIn(directory, bench, 'image', 'unmount', '--all'), bench.signal);
        await run(podmanIn(directory, bench, 'rmi', '--all', '--force'), bench.signal);
      }
    }),
  );
  const withPodman =
    registry !== undefined && bench.peers.includes('podman') && missingProgram('podman', '') === undefined;
  const row: Row = {
    ...{ name: 'first-use', title: `mount and ${first.title}`, state: 'cold' },
    work: { count: 1, unit: 'runs', bytes: 0 },
  };
  await web.traffic();
  await lazy.turn(bench);
  const { requests, bytes } = await web.traffic();
  const results = await takeTurns(row, [lazy, ...(withPodman ? podman : [])], remote);
  const judged = COMPRESSIONS.flatMap((compression): Judged[] => {
    const value = ratioOf(results, CFS, podmanPull(compression));
    if (value === undefined) return [];
    return [
      {
        figure: `first_use_ratio_podman_${compression}`,
        text: `${row.title}, ratio to ${podmanPull(compression)} and the same`,
        value,
        ...(tree.kind === 'source' ? { goal: { kind: 'at most', limit: 0.3 } } : {}),
      },
    ];
  });
  const traffic: Judged[] = [
    { figure: 'first_use_requests', text: `${row.title}, requests`, value: requests },
    { figure: 'first_use_bytes', text: `${row.title}, bytes`, value: bytes },
  ];
  return { results, judged: [...judged, ...traffic] };
}

/** Reading from a cache that has everything, against the same from a local repository. */
export async function measureCached(remote: RemoteRun): Promise<Found> {
  const { bench, tree, inputs, web } = remote;
  const address = web.url(PACKS);
  const local = bench.scratch.directory('mnt-remote-local');
  let localPid: number | undefined;
  try {
    localPid = (await mountImage(inputs.store, inputs.image, local, [], bench.signal)).pid;
    return await withLazyMount(remote, address, inputs.image, [], async (lazy) => {
      bench.progress(`filling the cache, ${tree.name} tree`);
      await run(tarOf(lazy), bench.signal);
      await web.traffic();
      const rows: [Row, (root: string, limited: Bench) => Promise<number>][] = [
        [
          { name: 'cached-open', title: 'open+read+close from the cache', state: 'warm', work: smallWork(tree) },
          (root, limited) => readFiles(root, tree.small, 1, limited),
        ],
        [
          { name: 'cached-tar', title: 'tar from the cache', state: 'warm', work: allWork(tree) },
          async (root, limited) => (await run(tarOf(root), limited.signal)).ns,
        ],
      ];
      const found: Found[] = [];
      for (const [row, turn] of rows) {
        const contenders = [
          { name: CACHED, turn: (limited: Bench) => turn(lazy, limited) },
          { name: LOCAL, turn: (limited: Bench) => turn(local, limited) },
        ];
        const results = await takeTurns(row, contenders, remote);
        const value = ratioOf(results, CACHED, LOCAL);
        const text = `${row.title}, ratio to a local repository`;
        const figure = `${row.name.replaceAll('-', '_')}_ratio_local`;
        found.push({
          results,
          judged: value === undefined ? [] : [{ figure, text, value, goal: { kind: 'at most', limit: 1.05 } }],
        });
      }
      const { requests } = await web.traffic();
      const asked: Judged = {
        ...{ figure: 'cached_requests', text: 'requests while everything is in the cache', value: requests },
        goal: { kind: 'at most', limit: 0 },
      };
      return {
        results: found.flatMap(({ results }) => results),
        judged: [...found.flatMap(({ judged }) => judged), asked],
      };
    });
  } finally {
    await unmountImage(local, localPid);
  }
}

const smallWork = ({ small }: Tree): Row['work'] => ({ count: small.count, unit: 'files', bytes: small.bytes });
const allWork = ({ entries, bytes }: Tree): Row['work'] => ({ count: entries, unit: 'entries', bytes });

/** An archive of everything, which nobody keeps; tar does not read if its output is /dev/null. */
const tarOf = (root: string): [string, ...string[]] => ['bash', '-c', TAR, 'tar', root];
const TAR = 'set -o pipefail; tar --create --file=- --directory="$1" . | wc --bytes';
