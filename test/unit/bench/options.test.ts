import { describe, expect, test } from 'vitest';
import { PEERS } from '../../../bench/contract.ts';
import { choose, makePlan, numberList, parseOptions } from '../../../bench/options.ts';
import { SYSTEMS } from '../../../bench/systems.ts';
import { WORKLOADS } from '../../../bench/workloads.ts';
import { WRITE_LINES } from '../../../bench/write-lines.ts';
import { WRITERS } from '../../../bench/writers.ts';
import { CfsError } from '../../../src/base/error.ts';

const parse = (...args: readonly string[]): ReturnType<typeof parseOptions> =>
  parseOptions(['node', 'cfs-bench', ...args]);

describe('parseOptions()', () => {
  test('has defaults for everything', () => {
    const given = { source: '/usr', rounds: 5, timeLimit: 60, smallFiles: [], scratch: '/var/tmp' };
    expect(parse('--source', '/usr')).toMatchObject(given);
  });

  test('requires an argument that says what to measure', () => {
    expect(() => parse('--rounds', '3')).toThrow(/^--source DIR, --small-files N or --quick is missing\. /);
    expect(parse('--small-files', '10')).toMatchObject({ smallFiles: [10], rounds: 5 });
  });

  test('requires no tree for writing', () => {
    expect(parse('--workloads', 'write')).toMatchObject({ workloads: 'write', writeFiles: 5000 });
    expect(parse('--workloads', 'write-rm, write-link', '--write-files', '20')).toMatchObject({ writeFiles: 20 });
    expect(() => parse('--workloads', 'write,ls')).toThrow(/ is missing\. /);
  });

  test('accepts a quick run, with other options', () => {
    const quick = parse('--quick');
    expect(quick).toMatchObject({ rounds: 2, smallFiles: [1000], workloads: 'ls,open,tar' });
    expect(quick.source).toBeUndefined();
    expect(parse('--quick', '--rounds', '7')).toMatchObject({ rounds: 7, smallFiles: [1000] });
    expect(parse('--quick', '--source', '/srv', '--systems', 'cfs')).toMatchObject({ smallFiles: [], systems: 'cfs' });
  });

  test('accepts a list of small trees, each once, in the order of size', () => {
    expect(parse('--small-files', '100000,10000,10000').smallFiles).toEqual([10_000, 100_000]);
    expect(parse('--source', '/usr', '--small-files', '0').smallFiles).toEqual([]);
  });

  test.each(['x', '1,', '-5', '1.5', '10000001'])('refuses --small-files %s', (text) => {
    expect(() => numberList('--small-files', 1, 1e7)(text)).toThrow(CfsError);
  });
});

describe('makePlan()', () => {
  test('chooses the programs that remote repositories are compared with', () => {
    expect(makePlan({}).peers).toEqual(PEERS);
    expect(makePlan({ peers: 'rsync,podman' }).peers).toEqual(['podman', 'rsync']);
    expect(makePlan({ peers: 'none' }).peers).toEqual([]);
    expect(() => makePlan({ peers: 'curl' })).toThrow(/^--peers has no "curl"; there are podman, skopeo, rsync, get$/);
    expect(parse('--source', '/usr').rtt).toBe(20);
  });

  const systems = (list?: string): string[] =>
    makePlan(list === undefined ? {} : { systems: list }).systems.map(({ name }) => name);

  test('leaves out the portable driver by default; "all" includes it', () => {
    expect(systems()).toContain('cfs-read');
    expect(systems()).not.toContain('cfs-native');
    expect(systems('all')).toEqual(SYSTEMS.map(({ name }) => name));
  });

  test('selects the rows that a list names, in the order of the table', () => {
    expect(systems('cfs, source')).toEqual(['source', 'cfs']);
  });

  test('distinguishes workloads and experiments', () => {
    const plan = makePlan({ workloads: 'pack,ls' });
    expect(plan.workloads.map(({ name }) => name)).toEqual(['ls']);
    expect(plan.experiments.map(({ name }) => name)).toEqual(['pack']);
  });
});

describe('makePlan() of writing', () => {
  const lines = (workloads: string): string[] => makePlan({ workloads }).lines.map(({ name }) => name);

  test('has all lines of the group, or those that are named', () => {
    expect(lines('write')).toEqual(WRITE_LINES.map(({ name }) => name));
    expect(lines('write-rm,ls,write-create')).toEqual(['write-create', 'write-rm']);
    expect(lines('ls')).toEqual([]);
    expect(makePlan({}).lines).toHaveLength(WRITE_LINES.length);
  });

  test('has the writers that --systems names', () => {
    const { writers } = makePlan({ systems: 'fuse-overlayfs,source,erofs' });
    expect(writers.map(({ name }) => name)).toEqual(['source', 'fuse-overlayfs']);
  });

  test('has the kinds of file systems that --write-to names', () => {
    expect(makePlan({}).places).toEqual(['ext4', 'tmpfs']);
    expect(makePlan({ writeTo: 'tmpfs' }).places).toEqual(['tmpfs']);
    expect(() => makePlan({ writeTo: 'xfs' })).toThrow('--write-to has no "xfs"; there are ext4, tmpfs');
  });

  test('each writer is a system, and each line has a name of its own', () => {
    const systems = SYSTEMS.map(({ name }) => name);
    for (const { name } of WRITERS) expect(systems).toContain(name);
    const names = [...WORKLOADS, ...WRITE_LINES].map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

test('choose() lists the known names if a name is unknown', () => {
  expect(() => choose('--systems', 'a,x', [{ name: 'a' }, { name: 'b' }])).toThrow(
    '--systems has no "x"; there are a, b',
  );
});
