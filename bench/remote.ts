/** Remote repositories at a round-trip time: pulls and mounts, against other programs that bring a tree here. */
import { reasonOf } from '../src/base/error.ts';
import { cfsUnavailable } from './cfs-daemon.ts';
import type { Bench, Experiment, Outcome, Result, Tree } from './contract.ts';
import { placeUnavailable } from './places.ts';
import { makeInputs } from './remote-inputs.ts';
import { measurePulls, registryWith } from './remote-pulls.ts';
import { type Judged, outcomeOf, REMOTE, type RemoteRun } from './remote-terms.ts';
import { WebServer, webServerUnavailable } from './web-server.ts';

export const REMOTE_REPOSITORIES: Experiment = {
  name: REMOTE,
  title: 'remote repositories',
  systems: ['cfs'],
  trees: ['source', 'small'],
  available: () => cfsUnavailable() ?? placeUnavailable('ext4') ?? webServerUnavailable(),
  run: (bench, _systems, tree) => (tree === undefined ? Promise.resolve({ results: [] }) : measureRemote(tree, bench)),
};

interface Found {
  readonly results: readonly Result[];
  readonly judged: readonly Judged[];
}

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
  await registry?.proxy.end();
  await registry?.server.end();
  await web.end();
  return outcomeOf(tree, results, judged);
}
