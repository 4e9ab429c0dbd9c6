/**
 * A rebase, as the next server of a mount carries it out before it serves: the parked mount is replaced by one of the
 * new image. Until that is decided, nothing is changed that is seen, and a server that is killed leaves the mount as it
 * was; afterwards each server first finishes what is left to do. docs/writable.md, "Rebase", has the steps.
 */
import { CfsError, reasonOf } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { endLease } from '../store/gc/lease.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { closeFd } from '../system/descriptors.ts';
import { upperFailPoints } from '../system/fail-points.ts';
import { type PreparedUpper, reopenUpper } from '../upper/prepare-upper.ts';
import { tryOpenPrivate } from '../upper/private-files.ts';
import { carryOutPlan, decidePlan, dropPlan, type RebasePlan, readPlan } from '../upper/rebase-plan.ts';
import { nameNextTable } from '../upper/table-file.ts';
import type { MountSource } from './mount-sources.ts';
import type { MountSettings } from './options.ts';
import { closeParked, lookAtParkedMount, type ParkedLayer, type ParkedMount } from './parked-mount.ts';
import { closeReopened, decideRebase } from './rebase-decision.ts';
import { hintFor, type RebaseRequest, sendAnswer, takeRequest } from './rebase-request.ts';
import type { LeftMount } from './session.ts';
import type { UpperOptions } from './upper-options.ts';

/**
 * Carries out a rebase that was asked for, or finishes one that an earlier server has decided on.
 * @param left the mount; its files are closed if another one is returned
 * @returns the mount to serve
 * @throws CfsError (mount) if what was decided cannot be finished: another server is to try it
 */
export async function rebased<Settings extends MountSettings>(
  left: LeftMount<Settings>,
  log: Log,
): Promise<LeftMount<Settings>> {
  const { layer } = left.mount;
  if (layer === undefined || layer.lock < 0) return left;
  const cfs = tryOpenPrivate(layer.base);
  if (cfs < 0) return left;
  try {
    finish(left.mount, layer, cfs);
    const request = takeRequest(cfs);
    return request === undefined ? left : await tryToRebase(left, layer, request, cfs, log);
  } finally {
    closeFd(cfs);
  }
}

/** What an earlier server decided on; a plan that it had not decided on when it was killed is removed. */
function finish({ settings }: ParkedMount<MountSettings>, layer: ParkedLayer, cfs: number): void {
  try {
    if (layer.plan !== undefined && nameOfNewPlan(cfs) === layer.plan) decidePlan(cfs);
    else dropPlan(cfs);
    const plan = readPlan(cfs);
    if (plan !== undefined) carryOut(layer, settings.upper as UpperOptions, plan, cfs);
  } catch (error) {
    throw new CfsError('mount', `Cannot finish the rebase of ${settings.mountpoint}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** Undefined if there is none, or a server was killed while it wrote it: it had decided nothing then. */
function nameOfNewPlan(cfs: number): string | undefined {
  try {
    return readPlan(cfs, true)?.name;
  } catch {
    return undefined;
  }
}

function carryOut(layer: ParkedLayer, options: UpperOptions, plan: RebasePlan, cfs: number): void {
  const opened: PreparedUpper = reopenUpper(layer, layer.features, options.index);
  try {
    nameNextTable(opened.work);
    carryOutPlan({ upper: opened.upper, index: opened.index, cfs }, plan, !options.volatile);
  } finally {
    closeReopened(opened);
  }
}

async function tryToRebase<Settings extends MountSettings>(
  left: LeftMount<Settings>,
  layer: ParkedLayer,
  request: RebaseRequest,
  cfs: number,
  log: Log,
): Promise<LeftMount<Settings>> {
  const { mountpoint } = left.mount.settings;
  let kept: number;
  try {
    if (request.fault !== undefined) upperFailPoints.failAt(request.fault);
    kept = await decideRebase(left, layer, request, cfs, log);
  } catch (error) {
    // the mount goes on as it is, whatever the reason
    dropPlan(cfs);
    const { message, hint } = error instanceof CfsError ? error : { message: reasonOf(error), hint: hintFor(error) };
    log(`${mountpoint}: not rebased on ${request.image}: ${message}`);
    sendAnswer(cfs, { error: message, ...(hint === undefined ? {} : { hint }) });
    return left;
  }
  const mount = lookAtParkedMount<Settings>(left.ends) as ParkedMount<Settings>;
  finish(mount, mount.layer as ParkedLayer, cfs);
  endOld(left.mount);
  sendAnswer(cfs, { kept });
  log(`${mountpoint}: rebased on ${request.image}; files that stay in the upper layer: ${kept}`, 'info');
  return { ...left, mount };
}

/** Closes the files of the mount of before. Its leases end: the mount has others for the new image. */
function endOld(mount: ParkedMount<MountSettings>): void {
  const { leases = [], sources } = mount;
  for (const lease of leases) {
    const { path, id, fd } = sources[lease.repository + 1] as MountSource;
    endLease(new LocalRepository(path, { hash: 'blake3', uuid: id }, fd), lease);
  }
  closeParked({ ...mount, leases: [] });
}
