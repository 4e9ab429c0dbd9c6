/** The state of a repository now: what is left over, and the problems that mounts of this machine have seen. */
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { oneLine, printable } from '../../../src/base/bytes.ts';
import { isErrno } from '../../../src/base/errno.ts';
import { usersOfObjects } from '../../../src/image/object-users.ts';
import type { Problem } from '../../../src/mount/problem-memory.ts';
import { checkRepository } from '../../../src/store/check/fsck.ts';
import { lastRun, type Run } from '../../../src/store/last-runs.ts';
import type { LocalRepository } from '../../../src/store/local-repository.ts';
import { askMounts } from '../../info/mounts.ts';
import { privateXattr } from '../../info/private-xattr.ts';
import { warn } from '../repository.ts';

export interface MountHealth {
  readonly mountpoint: string;
  /** Its id. */
  readonly image: string;
  /** The last problems since the server started. */
  readonly problems: readonly Pick<Problem, 'time' | 'message'>[];
  /** Why the problems are unknown. */
  readonly note?: string;
}

export interface Health {
  /** The number of damaged objects that fsck moved away. */
  readonly quarantined: number;
  /** The number of files in tmp/. */
  readonly unfinished: number;
  readonly mounts: readonly MountHealth[];
  /** The last runs that changed the repository, if they are recorded. */
  readonly lastFsck: Run<'fsck'> | undefined;
  readonly lastGc: Run<'gc'> | undefined;
  /** The result of reading all contents; undefined if that was not requested. */
  readonly check:
    | {
        readonly objects: number;
        readonly bytes: number;
        readonly damaged: readonly {
          readonly object: string;
          readonly problem: string;
          readonly users: readonly string[];
        }[];
      }
    | undefined;
}

const MOST_THREADS = 8;
/** Damaged objects in the page. */
const MOST_DAMAGED = 200;

/**
 * @param images paths of readable images, in which damaged objects are looked for
 * @param fsck whether to read all contents; nothing is changed
 * @throws CfsError (store) if the repository cannot be read; the reason of the signal
 */
export async function healthOf(
  repository: LocalRepository,
  images: readonly string[],
  fsck: boolean,
  signal: AbortSignal,
): Promise<Health> {
  const mounts = await mountsOf(repository);
  const quarantined = repository.names('quarantine').length;
  const unfinished = repository.names('tmp').length;
  const lastFsck = lastRun(repository, 'fsck');
  const lastGc = lastRun(repository, 'gc');
  const now = { quarantined, unfinished, mounts, lastFsck, lastGc };
  if (!fsck) return { ...now, check: undefined };
  const threads = Math.min(MOST_THREADS, availableParallelism());
  const { objects, bytes, damaged } = await checkRepository(repository, {
    sources: [],
    threads,
    dryRun: true,
    signal,
    onWait: warn,
  });
  const shown = damaged.slice(0, MOST_DAMAGED);
  const users = usersOfObjects(
    shown.map(({ object }) => object),
    images,
  );
  return {
    ...now,
    check: {
      objects,
      bytes,
      damaged: shown.map(({ object, problem }) => ({
        object,
        problem: oneLine(problem),
        users: (users.get(object)?.first ?? []).map(
          ({ image, file }) => `${oneLine(basename(image))}:${printable(file)}`,
        ),
      })),
    },
  };
}

/** A daemon that does not answer is not asked for its problems. */
async function mountsOf({ uuid }: LocalRepository): Promise<MountHealth[]> {
  const { entries, answers } = await askMounts();
  return entries.flatMap(({ mountpointBytes }, i): MountHealth[] => {
    const answer = answers[i];
    if (answer?.state !== 'mounted') return [];
    const uses = answer.sources.sources.some(({ kind, id }) => kind === 'repository' && id === uuid);
    if (!uses) return [];
    const about = { mountpoint: printable(mountpointBytes), image: answer.imageId };
    const problems = problemsOf(mountpointBytes);
    return [
      problems === undefined
        ? { ...about, problems: [], note: 'only root may query its problems' }
        : { ...about, problems },
    ];
  });
}

function problemsOf(mountpoint: Uint8Array): Problem[] | undefined {
  const value = privateXattr(mountpoint, 'log');
  return isErrno(value) ? undefined : (JSON.parse(value) as Problem[]);
}
