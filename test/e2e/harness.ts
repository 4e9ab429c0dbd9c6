/**
 * A scratch directory for each test file, with images, stores and mounts in it. All mounts of a test are unmounted
 * after it. Then nothing may be left: no mount, no process, no temporary file.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect } from 'vitest';
import type { MountedImage } from '../../src/mount/mounted-image.ts';
import type { PackedImage } from '../../src/pack/pack-image.ts';
import { EXIT } from '../../tools/cli.ts';
import type { ComparedField, CompareResult } from '../../tools/compare/compare.ts';
import { problemsOfRun } from '../support/json-outputs.ts';
import { removeTree } from '../support/tree-generator.ts';
import { everybodysTools } from './everybodys-tools.ts';
import { asUser, HERE, NOBODY, type Outcome, OWN_TOOLS, Place, run, type Tools, userNamespace } from './run.ts';
import {
  isAlive,
  loopDevicesOn,
  type MountLine,
  mountedAt,
  mountsBelow,
  mountTable,
  processesNaming,
  sessionMembers,
  unmountBy,
  until,
} from './system.ts';

/** The output of `cfs-mount --json`. */
export type MountReport = Omit<
  MountedImage,
  'unmount' | 'tellParked' | 'tellWritten' | 'ending' | 'ended' | 'parked'
> & { readonly pid: number };

/** The output of `cfs-mkimage --json`. */
export type Packed = PackedImage & { readonly image: string };

export interface MountSettings {
  readonly place?: Place;
  /** Repositories; the scratch's own store by default. */
  readonly repos?: readonly string[];
  /** Words for -o. */
  readonly words?: readonly string[];
  /** Further arguments. */
  readonly args?: readonly string[];
  /** The mount point; a new directory by default. */
  readonly at?: string;
  /** Mounted by fusermount3, and therefore unmounted by it. */
  readonly helper?: boolean;
}

/** One mount and its daemon. */
export class Mounted {
  readonly report: MountReport;
  readonly path: string;
  readonly pid: number;
  readonly place: Place;
  readonly #helper: boolean;
  readonly #device: string | undefined;
  #isGone = false;

  constructor(report: MountReport, settings: MountSettings) {
    this.report = report;
    this.path = report.mountpoint;
    this.pid = report.pid;
    this.place = settings.place ?? HERE;
    this.#helper = settings.helper ?? false;
    this.#device = mountedAt(this.path, this.place.witness)?.device;
    expect(this.#device, `${this.path} is mounted`).toBeDefined();
  }

  at(...names: readonly string[]): string {
    return join(this.path, ...names);
  }

  /** True while the mount is in the tree, even if another one is mounted over it. */
  get isMounted(): boolean {
    const isThis = (line: MountLine): boolean => line.device === this.#device && line.mountpoint === this.path;
    return !this.#isGone && mountTable(this.place.witness).some(isThis);
  }

  /** umount(8) or fusermount3 -u, which must succeed; then expects that nothing is left. */
  async unmount(): Promise<void> {
    const command = this.#helper ? ['fusermount3', '-u', this.path] : ['umount', this.path];
    await unmountBy(this.place.command(...command));
    await this.expectGone();
  }

  /** Waits until the mount is gone, and the daemon with all processes that it started. */
  async expectGone(): Promise<void> {
    const { path, pid } = this;
    await until(`${path} is unmounted`, () => !this.isMounted);
    await until(`the daemon ${pid} of ${path} ends`, () => !isAlive(pid));
    await until(`no process of the daemon ${pid} is left`, () => sessionMembers(pid).length === 0);
    this.#isGone = true; // a later mount may get the same device number
  }

  /** As `unmount`, in any state. */
  async end(): Promise<void> {
    if (this.isMounted) {
      const command = this.#helper ? ['fusermount3', '-uz', this.path] : ['umount', '-l', this.path];
      await run(this.place.command(...command));
    }
    await this.expectGone();
  }
}

/** The numbers of mounts and namespaces at some time. */
interface Mark {
  readonly mounts: number;
  readonly namespaces: number;
}

const NOTHING: Mark = { mounts: 0, namespaces: 0 };

/** Not /tmp, which may be a tmpfs: the tests need a file system on a disk. */
const SCRATCH = '/var/tmp/cfs-test.';

export class Scratch {
  readonly path: string;
  readonly #stores = new Set<string>();
  readonly #namespaces: { end(): void }[] = [];
  #mounts: Mounted[] = [];
  #everybodysTools: Tools | undefined;
  #counter = 0;

  constructor() {
    this.path = mkdtempSync(SCRATCH);
    chmodSync(this.path, 0o755);
    mkdirSync(this.temporary, 0o777);
    chmodSync(this.temporary, 0o1777);
  }

  get temporary(): string {
    return join(this.path, 'tmp');
  }

  /** The store of tests that name none. */
  get store(): string {
    return join(this.path, 'store');
  }

  /** Variables of the tools: the places of temporary files and of the default store. They also mark the processes. */
  get environment(): Readonly<Record<string, string>> {
    return { TMPDIR: this.temporary, CFS_STORE: this.store };
  }

  at(...names: readonly string[]): string {
    return join(this.path, ...names);
  }

  /** A new empty directory. */
  directory(name = 'directory'): string {
    const path = this.at(`${name}-${++this.#counter}`);
    mkdirSync(path);
    return path;
  }

  /** Runs one of the project's tools. What it prints with --json must be as its schema says. */
  async tool(name: string, args: readonly string[], place: Place = HERE): Promise<Outcome> {
    const outcome = await run(place.tool(name, args, this.environment));
    expect(problemsOfRun(name, args, outcome.stdout, outcome.status === 0), 'problems of --json').toEqual([]);
    return outcome;
  }

  /** Packs `source`, without fsync: no test of a mount is about a crash of the machine. */
  async pack(
    source: string,
    settings: { store?: string; image?: string; args?: readonly string[] } = {},
  ): Promise<Packed> {
    const store = settings.store ?? this.store;
    const image = settings.image ?? this.at(`image-${++this.#counter}.cfs`);
    this.#stores.add(store);
    const args = ['--json', '--no-fsync', '--store', store, ...(settings.args ?? []), source, image];
    const { status, stdout, stderr } = await this.tool('cfs-mkimage', args);
    if (status !== 0) throw new Error(`cfs-mkimage: status ${status}: ${stderr}`);
    return JSON.parse(stdout) as Packed;
  }

  /** Runs `cfs-mount --json`, which may fail. */
  tryMount(image: string, settings: MountSettings = {}): Promise<Outcome> {
    const repos = (settings.repos ?? [this.store]).flatMap((repo) => ['--repo', repo]);
    const words = settings.words === undefined ? [] : ['-o', settings.words.join(',')];
    const at = settings.at ?? this.directory('mnt');
    return this.tool('cfs-mount', ['--json', ...repos, ...words, ...(settings.args ?? []), image, at], settings.place);
  }

  /** Mounts an image until the end of the test, or of the test file if no test runs yet. */
  async mount(image: string, settings: MountSettings = {}): Promise<Mounted> {
    const { status, stdout, stderr } = await this.tryMount(image, settings);
    if (status !== 0) throw new Error(`cfs-mount: status ${status}: ${stderr}`);
    expect(stderr).toBe('');
    return this.adopt(JSON.parse(stdout) as MountReport, settings);
  }

  /** Registers a mount that a test made, so that it is ended. */
  adopt(report: MountReport, settings: MountSettings = {}): Mounted {
    const mounted = new Mounted(report, settings);
    this.#mounts.push(mounted);
    return mounted;
  }

  /** Starts `cfs-mount -f`, and waits until it is mounted. */
  async mountInForeground(image: string, settings: MountSettings = {}) {
    const at = settings.at ?? this.directory('mnt');
    const words = settings.words === undefined ? [] : ['-o', settings.words.join(',')];
    const command = HERE.tool('cfs-mount', ['-f', '--json', ...words, image, at], this.environment);
    const [program, ...args] = command as [string, ...string[]];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    let log = '';
    child.stderr.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const mounted = this.adopt(JSON.parse(line.toString()) as MountReport, settings);
    return { mounted, child, ended, log: () => log };
  }

  /** The place of an ordinary user, who mounts through fusermount3. */
  nobody(): Place {
    return new Place('nobody', asUser(NOBODY), this.#toolsForEverybody());
  }

  /**
   * A new user namespace of the user of `prefix`, until the end of the test, or of the test file if no test runs yet.
   */
  async namespace(name: string, prefix: readonly string[] = []): Promise<Place> {
    const tools = prefix.length === 0 ? OWN_TOOLS : this.#toolsForEverybody();
    const namespace = await userNamespace(name, prefix, tools, this.#mountsOfOthers());
    this.#namespaces.push(namespace);
    return namespace.place;
  }

  /** Mount points of tests that run at the same time. */
  #mountsOfOthers(): string[] {
    return mountsBelow(dirname(SCRATCH)).filter(
      (path) => path.startsWith(SCRATCH) && !path.startsWith(`${this.path}/`),
    );
  }

  namespaceOfNobody(): Promise<Place> {
    return this.namespace('namespace of nobody', asUser(NOBODY));
  }

  #toolsForEverybody(): Tools {
    this.#everybodysTools ??= everybodysTools(this.path);
    return this.#everybodysTools;
  }

  /** The present state, for `endSince`. */
  get mark(): Mark {
    return { mounts: this.#mounts.length, namespaces: this.#namespaces.length };
  }

  /** Ends the mounts and namespaces that are newer than the mark, and expects that they leave nothing. */
  async endSince({ mounts, namespaces }: Mark): Promise<void> {
    const ending = this.#mounts.splice(mounts).reverse();
    // a namespace has copies of all earlier mounts, also of other tests: it must end before those can
    for (const mounted of ending.filter(({ place }) => place.inNamespace)) await mounted.end();
    for (const namespace of this.#namespaces.splice(namespaces)) namespace.end();
    for (const mounted of ending.filter(({ place }) => !place.inNamespace)) await mounted.end();
    this.expectNoTemporaryFiles();
  }

  expectNoTemporaryFiles(): void {
    expect(readdirSync(this.temporary), 'files in TMPDIR').toEqual([]);
    for (const store of this.#stores) {
      if (existsSync(join(store, 'tmp'))) expect(readdirSync(join(store, 'tmp')), `unfinished in ${store}`).toEqual([]);
    }
    const names = readdirSync(this.path).filter((name) => name.endsWith('.tmp'));
    expect(names, 'unfinished images').toEqual([]);
  }

  /** Removes everything by force: at the end, and if the test process dies. */
  remove(): void {
    for (const namespace of this.#namespaces) namespace.end();
    for (const mountpoint of mountsBelow(this.path)) spawnSync('umount', ['-l', mountpoint], { stdio: 'inherit' });
    // only processes that were started here have the name of the scratch directory in command line or environment
    for (const pid of processesNaming(this.path)) process.kill(pid, 'SIGKILL');
    for (const device of loopDevicesOn(this.path)) spawnSync('losetup', ['-d', device], { stdio: 'inherit' });
    if (mountsBelow(this.path).length === 0) removeTree(this.path);
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A scratch directory for the tests of this file. To be called at the top level of the file. */
export function useScratch(): Scratch {
  const scratch = new Scratch();
  const onExit = (): void => scratch.remove();
  process.once('exit', onExit);
  // who interrupts the tests ends this process by a signal
  const onSignal = (): void => process.exit(1);
  for (const signal of SIGNALS) process.once(signal, onSignal);
  let before: Mark = NOTHING;
  beforeEach(() => {
    before = scratch.mark;
  });
  afterEach(() => scratch.endSince(before));
  afterAll(async () => {
    try {
      await scratch.endSince(NOTHING);
    } finally {
      process.off('exit', onExit);
      for (const signal of SIGNALS) process.off(signal, onSignal);
      scratch.remove();
    }
  });
  return scratch;
}

export interface CompareSettings {
  readonly ignore?: readonly ComparedField[];
  readonly skipNonUtf8?: boolean;
  readonly place?: Place;
}

/** Compares two trees in a separate process: a mount that hangs must not block the tests. */
export async function compare(left: string, right: string, settings: CompareSettings = {}): Promise<CompareResult> {
  const fields = settings.ignore ?? [];
  const ignore = fields.length === 0 ? [] : ['--ignore', fields.join(',')];
  const skip = settings.skipNonUtf8 === true ? ['--skip-non-utf8'] : [];
  const command = (settings.place ?? HERE).tool('compare-trees', ['--json', ...ignore, ...skip, left, right]);
  const { status, stdout, stderr } = await run(command, { timeoutMs: 540_000 });
  if (status !== EXIT.ok && status !== EXIT.found) throw new Error(`compare-trees: status ${status}: ${stderr}`);
  return JSON.parse(stdout) as CompareResult;
}

/** Expects no difference; returns the numbers of what was compared. */
export async function expectEqual(left: string, right: string, settings: CompareSettings = {}): Promise<CompareResult> {
  const result = await compare(left, right, settings);
  expect(result.differences.slice(0, 10)).toEqual([]);
  expect(result.differenceCount).toBe(0);
  return result;
}
