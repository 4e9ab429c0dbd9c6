/**
 * The tools under the newest supported version of node, beside the one that runs the tests and that fs-ext was compiled
 * for. `make test-node NODE=22` runs all unit tests and the suite of both drivers under another one.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { VersionReport } from '../../tools/version.ts';
import { useScratch } from './harness.ts';
import { OWN_TOOLS, Place, succeed } from './run.ts';

const scratch = useScratch();
const NEWEST = 26;
const OWN = Number.parseInt(process.versions.node, 10);
const source = scratch.directory('source');
let place: Place;

/** Expects that the tool writes nothing on standard error: node warns there of what is deprecated. */
async function quietly(tool: string, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await scratch.tool(tool, args, place);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

beforeAll(async () => {
  const node = (await succeed([join(import.meta.dirname, '../../scripts/other-node'), `${NEWEST}`])).trim();
  place = new Place(`node ${NEWEST}`, [], { node, dist: OWN_TOOLS.dist });
  writeFileSync(join(source, 'large'), 'content '.repeat(100_000));
  writeFileSync(join(source, 'small'), 'small');
});

test('it is another one, and takes locks without a compiled fs-ext', async () => {
  const report = JSON.parse(await quietly('cfs-info', 'version', '--json')) as VersionReport;
  expect(report.node).toMatch(new RegExp(`^${NEWEST}\\.`));
  if (OWN !== NEWEST) expect(report.flock).toBe('koffi');
  expect(report).toMatchObject({ drivers: ['kernel', 'fuse-native'], blake3: '@napi-rs/blake-hash' });
});

describe.each(['blake3', 'fsverity-sha256'])('with %s', (hash) => {
  const store = scratch.at(`store-${hash}`);
  const image = scratch.at(`${hash}.cfs`);

  test('it packs the same image as the node of the tests', async () => {
    await quietly('cfs-mkimage', '--quiet', '--store', store, '--hash', hash, source, image);
    const own = await scratch.pack(source, { store: scratch.at(`own-${hash}`), args: ['--hash', hash] });
    expect(readFileSync(image).equals(readFileSync(own.image))).toBe(true);
    await quietly('cfs-repo', 'fsck', store);
    await quietly('cfs-repo', 'gc', store);
  });

  test.each([['verify=open'], ['verify=read'], ['driver=fuse-native']])('it mounts with -o %s', async (word) => {
    const mounted = await scratch.mount(image, { place, repos: [store], words: [word] });
    expect(readFileSync(mounted.at('large'), 'utf8')).toBe('content '.repeat(100_000));
    expect(readFileSync(mounted.at('small'), 'utf8')).toBe('small');
    expect(await quietly('cfs-info', 'log', mounted.path)).toBe('');
    await mounted.unmount();
  });

  test('a server that is killed is replaced', async () => {
    const mounted = await scratch.mount(image, { place, repos: [store] });
    process.kill(mounted.pid, 'SIGKILL');
    expect(readFileSync(mounted.at('large'), 'utf8')).toBe('content '.repeat(100_000));
    await mounted.unmount();
  });
});
