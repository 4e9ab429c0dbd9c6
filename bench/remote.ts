/** Remote repositories at a round-trip time: pulls and mounts, against other programs that bring a tree here. */
import { reasonOf } from '../src/base/error.ts';
import { cfsUnavailable } from './cfs-daemon.ts';
import type { Bench, Experiment, Outcome, Result, Tree } from './contract.ts';
import { placeUnavailable } from './places.ts';
import { measureCrowd } from './remote-crowd.ts';
import { measureMirrorDeaths, measureServerDeaths } from './remote-failures.ts';
import { makeInputs } from './remote-inputs.ts';
import { measureCached, measureFirstUse } from './remote-mounts.ts';
import { measurePulls, registryWith } from './remote-pulls.ts';
import { type Found, type Judged, outcomeOf, REMOTE, type RemoteRun } from './remote-terms.ts';
import { WebServer, webServerUnavailable } from './web-server.ts';

export const REMOTE_REPOSITORIES: Experiment = {
  name: REMOTE,
  title: 'remote repositories',
  systems: ['cfs'],
  trees: ['source', 'small'],
  available: () => cfsUnavailable() ?? placeUnavailable('ext4') ?? webServerUnavailable(),
  run: (bench, _systems, tree) => (tree === undefined ? Promise.resolve({ results: [] }) : measureRemote(tree, bench)),
};

async function measureRemote(tree: Tree, bench: Bench): Promise<Outcome> {
  const inputs = await makeInputs(tree, bench);
  const web = await WebServer.start(`web-${tree.name}`, inputs.www, bench.rtt, bench);
  const run: RemoteRun = { bench, tree, inputs, web };
  const results: Result[] = [];
  const judged: Judged[] = [];
  const add = async (what: string, measure: () => Promise<Found>): Promise<void> => {
    try {
      const found = await measure();
      results.push(...found.results);
      judged.push(...found.judged);
    } catch (error) {
      bench.signal.throwIfAborted();
      bench.omit({ what: `${what}, ${tree.name} tree`, why: reasonOf(error), failed: true });
    }
  };
  const registry = await registryWith(run);
  await add('full pulls', () => measurePulls(run, registry));
  await add('first use of a mount', () => measureFirstUse(run, registry));
  await registry?.proxy.end();
  await registry?.server.end();
  await add('reading from the cache', () => measureCached(run));
  await add('many readers', () => measureCrowd(run));
  await add('a mirror that dies', () => measureMirrorDeaths(run));
  await add('a server that is killed', () => measureServerDeaths(run));
  await web.end();
  return outcomeOf(tree, results, judged);
}
