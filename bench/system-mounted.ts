/** The common part of all systems that mount something. */
import type { Bench, System, Tree } from './contract.ts';
import { unmountDaemon } from './fuse-daemon.ts';
import { unmount } from './mounts.ts';
import { findProgram, run } from './process.ts';
import { processWith } from './processes.ts';

/** A system that the kernel serves. */
export abstract class MountedSystem implements System {
  readonly name: string;
  readonly mounts = true;
  protected readonly tree: Tree;
  protected readonly bench: Bench;
  protected readonly mountpoint: string;

  constructor(name: string, tree: Tree, bench: Bench) {
    this.name = name;
    this.tree = tree;
    this.bench = bench;
    this.mountpoint = bench.scratch.directory(`mnt-${name}-${tree.name}`);
  }

  abstract available(): string | undefined;

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  async start(): Promise<string> {
    await this.mount();
    return this.mountpoint;
  }

  protected abstract mount(): Promise<void>;

  stop(): Promise<void> {
    return unmount(this.mountpoint);
  }

  daemon(): number | undefined {
    return undefined;
  }
}

/** A system that is served by a daemon of another project, which goes to the background by itself. */
export abstract class ForeignFuseSystem extends MountedSystem {
  /** Programs that serve it; the first installed one is used. */
  protected abstract readonly programs: readonly string[];
  #pid: number | undefined;

  protected program(): string | undefined {
    return findProgram(...this.programs);
  }

  /** The arguments of the program. */
  protected abstract arguments(): readonly string[];

  protected async mount(): Promise<void> {
    this.#pid = undefined;
    await run([this.program() ?? (this.programs[0] as string), ...this.arguments()], this.bench.signal);
  }

  override async stop(): Promise<void> {
    const pid = this.daemon();
    this.#pid = undefined;
    await unmountDaemon(this.mountpoint, pid, this.mountpoint);
  }

  /** Looked for at the first call, so that finding it is not part of the time to mount. */
  override daemon(): number | undefined {
    const program = this.program();
    if (program !== undefined) this.#pid ??= processWith(program, this.mountpoint);
    return this.#pid;
  }
}
