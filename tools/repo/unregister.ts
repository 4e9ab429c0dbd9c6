/** `cfs-repo unregister`: removes paths of registered images, and images with their last path. */
import { CfsError } from '../../src/base/error.ts';
import { type FoundPath, ImageFinder, isGone, placeToRegister } from '../../src/image/registered-image.ts';
import { addPath, forgetPaths, unregisterImage } from '../../src/store/gc/register.ts';
import { isRootLocked, listRoots, registeredPaths } from '../../src/store/gc/roots.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { lockForDeleting } from '../../src/store/lock.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { idForTable } from '../image-id.ts';
import { printResult } from '../quiet.ts';
import { namedImages } from './image-ids.ts';
import { registeredPathText, shown } from './registered-path.ts';
import { type FailedOperand, failedOperand, repositoryAt, warn } from './repository.ts';

/** The result for an examined image. */
interface Outcome {
  readonly id: string;
  readonly unregistered: boolean;
  /** Paths that were removed. */
  readonly forgotten: readonly string[];
  /** Paths that were replaced by the current path of the image. */
  readonly moved: readonly { readonly from: string; readonly to: string }[];
  /** Why it stays registered. */
  readonly stays?: string;
}

export async function unregister(
  dir: string,
  words: readonly string[],
  { gone, json }: { readonly gone: boolean; readonly json: boolean },
): Promise<ExitStatus> {
  if (gone === words.length > 0) throw new CfsError('usage', 'unregister takes images or their ids, or --gone');
  const repository = repositoryAt(dir);
  const results: (Outcome | FailedOperand)[] = [];
  let status: ExitStatus = EXIT.ok;
  const tell = (outcome: Outcome): void => {
    results.push(outcome);
    if (!json) printResult(lineOf(outcome));
  };
  // a slow check, before others are locked out
  const candidates = gone ? candidatesOf(repository) : [];
  // exclusively: a concurrent packing may write to a path that is about to be removed
  const lock = await lockForDeleting(repository, { onWait: warn });
  try {
    for (const candidate of candidates) {
      const outcome = await takeOffGone(repository, candidate);
      if (outcome !== undefined) tell(outcome);
    }
    for (const word of words) {
      try {
        for (const { id, path } of namedImages(repository, word)) {
          tell(path === undefined ? takeOff(repository, id) : await takeOffPath(repository, id, path));
        }
      } catch (error) {
        // the others are unregistered nevertheless
        const failed = failedOperand(word, words.length, error);
        results.push(failed);
        if (status === EXIT.ok) status = failed.error.status;
      }
    }
  } finally {
    lock.release();
  }
  if (json) printJson(results);
  return status;
}

function lineOf({ id, unregistered, forgotten, moved, stays }: Outcome): string {
  if (unregistered)
    return `${idForTable(id)}  unregistered${forgotten.length > 1 ? ` (${forgotten.map(shown).join(', ')})` : ''}\n`;
  const parts = [
    'stays registered',
    ...moved.map(({ from, to }) => `moved from ${shown(from)} to ${shown(to)}`),
    ...forgotten.map((path) => `not at ${shown(path)} any more`),
    ...(stays === undefined ? [] : [stays]),
  ];
  return `${idForTable(id)}  ${parts.join('; ')}\n`;
}

function takeOff(repository: LocalRepository, id: string): Outcome {
  const forgotten = registeredPaths(repository, id).paths.map(({ path }) => path);
  unregisterImage(repository, id);
  return { id, unregistered: true, forgotten, moved: [] };
}

/** Removes a path, and the image if it has no other path. */
async function takeOffPath(repository: LocalRepository, id: string, path: string): Promise<Outcome> {
  const { paths, malformedPaths } = registeredPaths(repository, id);
  const others = new ImageFinder().look(paths, id).filter((other) => other.path !== path);
  // one that was moved to the named path is not another one
  const living = others.filter((found) => !isGone(found) && found.now !== path);
  if (living.length === 0 && malformedPaths.length === 0) return takeOff(repository, id);
  if (!paths.some((known) => known.path === path)) {
    throw new CfsError(
      'usage',
      `image ${id} is not registered with path ${shown(path)} but with ${living.map(registeredPathText).join(', ') || 'one that cannot be read'}. Name one of these, or the id.`,
    );
  }
  await forgetPaths(repository, id, [path]);
  return { id, unregistered: false, forgotten: [path], moved: [], stays: stayText(living, malformedPaths) };
}

function stayText(living: readonly FoundPath[], malformed: readonly string[]): string {
  if (living.length === 0) return malformed.join('; ');
  return `it is at ${living.map(registeredPathText).join(', ')}`;
}

/** A registered image, and the state of its paths. */
interface Candidate {
  readonly id: string;
  readonly found: readonly FoundPath[];
}

const isElsewhere = (path: FoundPath): boolean => isGone(path) || path.state === 'moved';

/** Images with a path that no longer has them, or all of whose paths cannot be examined. */
function candidatesOf(repository: LocalRepository): Candidate[] {
  const finder = new ImageFinder();
  return listRoots(repository)
    .filter(({ header }) => header !== undefined)
    .map(({ image, paths }) => ({ id: image, found: finder.look(paths, image) }))
    .filter(({ found }) => found.some(isElsewhere) || isNowhere(found));
}

/** A disk may have to be mounted. */
const isNowhere = (found: readonly FoundPath[]): boolean =>
  found.length > 0 && found.every(({ path, state }) => path !== '' && state === 'unknown');

/** Removes the paths of an image that still do not have it. Does nothing if there are none any more. */
async function takeOffGone(repository: LocalRepository, { id, found }: Candidate): Promise<Outcome | undefined> {
  const { paths, malformedPaths } = registeredPaths(repository, id);
  const isStillGone = (path: string): boolean =>
    paths.some((known) => known.path === path && ImageFinder.isStillGone(known, id));
  const elsewhere = found.filter((each) => isElsewhere(each) && isStillGone(each.path));
  const moved = elsewhere.flatMap(({ path, now }) => (now === undefined ? [] : [{ from: path, to: now }]));
  const gone = elsewhere.filter(isGone).map(({ path }) => path);
  const left = paths.filter(({ path }) => !elsewhere.some((each) => each.path === path));
  const stays = (reason: string): Outcome => ({ id, unregistered: false, forgotten: [], moved: [], stays: reason });
  if (elsewhere.length === 0) return isNowhere(found) ? stays(found.map(registeredPathText).join(', ')) : undefined;
  if (left.length + moved.length + malformedPaths.length === 0) {
    // the image may have been moved to an unknown place: the next run removes it
    if (isRootLocked(repository, id)) return stays(`it is mounted, and not at ${gone.map(shown).join(', ')} any more`);
    return takeOff(repository, id);
  }
  for (const { to } of moved) addPath(repository, id, placeToRegister(to));
  await forgetPaths(
    repository,
    id,
    elsewhere.map(({ path }) => path),
  );
  const unlooked = found.filter(({ state, path }) => state !== 'there' && left.some((each) => each.path === path));
  const others = [...unlooked.map(registeredPathText), ...malformedPaths].join(', ');
  return { id, unregistered: false, forgotten: gone, moved, ...(others === '' ? {} : { stays: others }) };
}
