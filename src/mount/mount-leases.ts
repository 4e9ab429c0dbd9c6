/**
 * The leases of a mount: one in each of its repositories, which keeps its objects from being deleted during its life.
 */
import { fstat, fstatSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf, withHint } from '../base/error.ts';
import { endLease, isWritten, type Lease, takeLease, writeLease } from '../store/gc/lease.ts';
import { KEEP_HEADER_SIZE } from '../store/gc/object-list.ts';
import type { KeptImage } from '../store/gc/object-list-file.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockAgainstDeleting } from '../store/lock.ts';

/** A lease as handed from one server of the mount to the next; plain data. */
export interface MountLease extends Lease {
  /** The index of the repository among those of the mount. */
  readonly repository: number;
}

/**
 * How long a mount waits for a repository's lock: gc holds it for a fraction of a second, and others must not delay
 * mounts.
 */
const WAIT_MS = 3000;

interface Held extends MountLease {
  /** Lets others delete objects again; called when the list is written. */
  readonly release: () => void;
  /** The list needs no writing. */
  readonly isSettled: boolean;
}

export class MountLeases {
  readonly #repositories: readonly LocalRepository[];
  readonly #log: (line: string) => void;
  #held: readonly Held[];

  private constructor(repositories: readonly LocalRepository[], held: readonly Held[], log: (line: string) => void) {
    this.#repositories = repositories;
    this.#held = held;
    this.#log = log;
  }

  /**
   * Takes a lease in each repository, before the mount answers. Waits for seconds while objects are being deleted
   * there. A repository without a lease is mounted nevertheless, and the log says so.
   * @param image 64 hexadecimal digits
   */
  static async take(
    repositories: readonly LocalRepository[],
    image: string,
    log: (line: string) => void,
  ): Promise<MountLeases> {
    const held = repositories.map(async (repository, i): Promise<Held[]> => {
      // what is deleted there is fetched again
      if (repository.isCache) return [];
      try {
        return [
          {
            ...(await takeLease(repository, image, { onWait: log, limitMs: WAIT_MS })),
            repository: i,
            isSettled: false,
          },
        ];
      } catch (error) {
        log(withoutLease(repository, error));
        return [];
      }
    });
    return new MountLeases(repositories, (await Promise.all(held)).flat(), log);
  }

  /**
   * Continues with the leases of the previous server. `write` completes the lists that it could not finish.
   * @param leases undefined if that server was of a version without leases: they are then taken anew
   */
  static async resume(
    repositories: readonly LocalRepository[],
    leases: readonly MountLease[] | undefined,
    image: string,
    log: (line: string) => void,
  ): Promise<MountLeases> {
    if (leases === undefined) return MountLeases.take(repositories, image, log);
    const held = leases.map(async (lease): Promise<Held[]> => {
      const repository = repositories[lease.repository] as LocalRepository;
      // it is held in any case; an unreadable one was written, or gc refuses to continue until the mount has ended
      if (!(await canBeRead(lease.fd))) return [settled(lease)];
      if (fstatSync(lease.fd).nlink === 0) {
        log(withoutLease(repository, new Error('its list could not be written')));
        return [];
      }
      if (isWritten(lease)) return [settled(lease)];
      try {
        const lock = await lockAgainstDeleting(repository, { limitMs: WAIT_MS });
        return [{ ...lease, release: () => lock.release(), isSettled: false }];
      } catch {
        return [{ ...settled(lease), isSettled: false }]; // gc refuses to continue until the list is written
      }
    });
    return new MountLeases(repositories, (await Promise.all(held)).flat(), log);
  }

  /** The data for the next server. */
  get parked(): readonly MountLease[] {
    return this.#held.map(({ fd, name, repository }) => ({ fd, name, repository }));
  }

  /** Writes the lists that are not written yet; the mount answers already. Rejects only for a bug. */
  async write(image: KeptImage): Promise<void> {
    for (const held of this.#held) {
      try {
        if (!held.isSettled && !isWritten(held)) await writeLease(held, image);
      } catch (error) {
        if (errnoOf(error) === undefined) throw error;
        this.#giveUp(held, error);
      } finally {
        held.release();
      }
    }
  }

  /** An incomplete list must not block garbage collection. */
  #giveUp(lease: Held, error: unknown): void {
    const repository = this.#repositories[lease.repository] as LocalRepository;
    this.#held = this.#held.filter((other) => other !== lease);
    endLease(repository, lease);
    this.#log(withoutLease(repository, error));
  }

  /** The mount has ended. */
  end(): void {
    for (const lease of this.#held) {
      lease.release();
      endLease(this.#repositories[lease.repository] as LocalRepository, lease);
    }
    this.#held = [];
  }
}

const settled = (lease: MountLease): Held => ({ ...lease, release: () => undefined, isSettled: true });

/** Waits without blocking this thread if its file system does not answer: it also watches the others. */
async function canBeRead(fd: number): Promise<boolean> {
  try {
    await promisify(fstat)(fd);
    await promisify(read)(fd, Buffer.alloc(KEEP_HEADER_SIZE), 0, KEEP_HEADER_SIZE, 0);
    return true;
  } catch {
    return false;
  }
}

function withoutLease(repository: LocalRepository, error: unknown): string {
  const reason =
    error instanceof CfsError ? withHint(error.message, error.hint) : `${repository.path}: ${reasonOf(error)}`;
  return `no lease: garbage collection does not know that this mount needs objects of ${repository.path}. ${reason}`;
}
