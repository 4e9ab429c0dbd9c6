import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Results } from '../../bench/collected.ts';
import { EXPERIMENTS } from '../../bench/experiments.ts';
import { SYSTEMS } from '../../bench/systems.ts';
import { WORKLOADS } from '../../bench/workloads.ts';
import { WRITE_LINES } from '../../bench/write-lines.ts';
import { WRITERS } from '../../bench/writers.ts';
import { EACH_STEP, sample } from '../support/sample.ts';
import { hasProgram } from './cli.ts';
import { useScratch } from './harness.ts';
import { HERE, run } from './run.ts';

const scratch = useScratch();

/** Takes a fraction of a second for each figure: the figures mean nothing, but every step is done and checked. */
const TINY = ['--large-size', '8388608', '--checkout-files', '20', '--scale-files', '500', '--shared-size', '2000000'];
const TINY_WRITES = ['--write-files', '20'];

const benchOptions = (output: string, ...args: readonly string[]): string[] => [
  ...['--source', scratch.at('tree'), '--scratch', scratch.temporary, '--output', output, '--rounds', '1'],
  ...[...TINY, ...args],
];

/** Every sixth, and the last; all in the long run. */
const someOf = <T>(all: readonly T[]): T[] => sample(all.length, 6).map((i) => all[i] as T);

const readResults = (file: string): Results => JSON.parse(readFileSync(file, 'utf8')) as Results;

const failures = ({ omissions }: Results): string[] =>
  omissions.filter(({ failed }) => failed).map(({ what, why }) => `${what}: ${why}`);

/** Expects that no mount, no directory and no daemon is left. */
function expectClean(): void {
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(`${scratch.path}/`);
  expect(readdirSync(scratch.temporary).filter((name) => name.startsWith('cfs-bench-'))).toEqual([]);
  const commands = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && existsSync(`/proc/${name}/cmdline`))
    .map((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'latin1');
      } catch {
        return '';
      }
    });
  expect(commands.filter((command) => command.includes(`${scratch.temporary}/cfs-bench-`))).toEqual([]);
}

/** A program that needs no libraries, for the workloads that run a program of the tree. */
async function writeProgram(path: string): Promise<void> {
  const source = scratch.at('program.c');
  writeFileSync(source, '#include <stdio.h>\nint main(void) { puts("12"); return 0; }\n');
  await run(['gcc', '-static', '-O1', '-o', path, source]);
}

beforeAll(async () => {
  const tree = scratch.at('tree');
  mkdirSync(`${tree}/usr/bin`, { recursive: true });
  mkdirSync(`${tree}/odd names`);
  for (let i = 0; i < 20; i++) writeFileSync(`${tree}/file${i}`, `content ${i} `.repeat(i * 40));
  writeFileSync(`${tree}/odd names/a b\\c=\u00fc`, 'x'.repeat(1000));
  writeFileSync(`${tree}/setuid`, 'y'.repeat(500));
  chmodSync(`${tree}/setuid`, 0o4755);
  linkSync(`${tree}/file9`, `${tree}/odd names/hard link`);
  symlinkSync('file9', `${tree}/symlink`);
  if (hasProgram('gcc')) {
    await writeProgram(`${tree}/usr/bin/python3`);
    if (existsSync(`${tree}/usr/bin/python3`)) linkSync(`${tree}/usr/bin/python3`, `${tree}/usr/bin/gcc`);
  }
});

describe('cfs-bench', () => {
  test('measures every system of this machine, and lists the missing ones', async () => {
    const output = scratch.at('systems.json');
    const args = benchOptions(output, '--systems', 'all', '--workloads', 'tar');
    const { status, stdout, stderr } = await run(HERE.tool('cfs-bench', args), { timeoutMs: 300_000 });
    const results = readResults(output);
    expect({ status, failures: failures(results) }).toEqual({ status: 0, failures: [] });
    expect(stderr).toMatch(/^\d+:\d\d tar of everything, source tree, cold$/m);
    expect(results.complete).toBe(true);
    for (const { name } of SYSTEMS) {
      const states = results.results.filter(({ system }) => system === name).map(({ state }) => state);
      if (results.omissions.some(({ what }) => what === name)) expect(stdout).toContain(`- ${name}: `);
      else expect({ name, states }).toEqual({ name, states: ['cold', 'warm'] });
    }
    expect(results.results.filter(({ daemon }) => daemon !== undefined).map(({ system }) => system)).toContain('cfs');
    const kernel = results.results.filter(({ system }) => ['source', 'overlayfs', 'erofs'].includes(system));
    expect(kernel.filter(({ daemon }) => daemon !== undefined)).toEqual([]);
    expectClean();
  });

  test('runs workloads and experiments, and writes a report', async () => {
    const output = scratch.at('workloads.json');
    const workloads = someOf(WORKLOADS);
    const others = EXPERIMENTS.filter(({ name }) => name !== 'remote');
    const chosen = [...workloads, ...others].map(({ name }) => name).join(',');
    const args = benchOptions(output, '--systems', 'overlayfs,cfs', '--workloads', chosen);
    const { status, stdout } = await run(HERE.tool('cfs-bench', args), { timeoutMs: 300_000 });
    const results = readResults(output);
    expect({ status, failures: failures(results) }).toEqual({ status: 0, failures: [] });
    for (const { name, title, states } of workloads) {
      const left = results.omissions.some(({ what }) => what.startsWith(title));
      const measured = new Set(results.results.filter(({ workload }) => workload === name).map(({ state }) => state));
      expect({ name, states: left ? [...states] : [...measured] }).toEqual({ name, states: [...states] });
    }
    if (EACH_STEP) expect(results.trees.map(({ name }) => name)).toEqual(['source', 'checkout', 'large']);
    expect(results.results.map(({ system }) => system)).toEqual(expect.arrayContaining(['cfs-mkimage', 'tar']));
    const figures = Object.keys(results.figures);
    expect(figures).toEqual(expect.arrayContaining(['scale_rss_bytes', 'shared_both_cfs_bytes']));
    const report = readFileSync(scratch.at('workloads', 'report.md'), 'utf8');
    for (const [, chart = ''] of report.matchAll(/\]\((\S+\.svg)\)/g)) {
      expect(existsSync(scratch.at('workloads', chart))).toBe(true);
    }
    expect(report.match(/\.svg\)/g)?.length).toBeGreaterThanOrEqual(EACH_STEP ? 4 : 2);
    expect(stdout).toContain(`charts are in ${scratch.at('workloads', 'report.md')}`);
    expectClean();
  });

  test('measures remote repositories, without other programs', async () => {
    const output = scratch.at('remote.json');
    const few = ['--small-files', '100', '--rounds', '1', '--rtt', '5', '--peers', 'none', '--workloads', 'remote'];
    const args = ['--quick', ...few, '--scratch', scratch.temporary, '--output', output];
    const { status, stdout } = await run(HERE.tool('cfs-bench', args), { timeoutMs: 300_000 });
    const { figures, omissions, results } = readResults(output);
    expect({ status, failed: omissions.filter(({ failed }) => failed) }).toEqual({ status: 0, failed: [] });
    expect(results.map(({ workload, system }) => `${workload} ${system}`)).toEqual([
      ...['remote-pull cfs', 'remote-pull cfs, fsync', 'remote-first-use cfs'],
      ...['remote-cached-open cfs, cache', 'remote-cached-open cfs, local repository'],
      ...['remote-cached-tar cfs, cache', 'remote-cached-tar cfs, local repository'],
      ...['remote-readers cfs', 'remote-readers cfs, threads=10'],
    ]);
    expect(figures).toMatchObject({ 'remote_cached_requests_small-100': 0 });
    expect(figures).toHaveProperty(['remote_mirror_killed_stall_seconds_small-100']);
    expect(figures).toHaveProperty(['remote_server_kills_small-100']);
    expect(stdout).toMatch(/^remote, small-100 tree, requests of a full pull of \d+ .*: reached$/m);
    expectClean();
  });

  test('measures lines of writing, without a source', async () => {
    const output = scratch.at('writing.json');
    const own = ['--scratch', scratch.temporary, '--output', output, '--rounds', '1', ...TINY, ...TINY_WRITES];
    const lines = someOf(WRITE_LINES);
    const chosen = EACH_STEP ? 'write' : lines.map(({ name }) => name).join(',');
    const args = ['--workloads', chosen, '--systems', 'overlayfs,cfs,cfs-read', '--write-to', 'tmpfs', ...own];
    const { status, stdout } = await run(HERE.tool('cfs-bench', args), { timeoutMs: 600_000 });
    const { results, omissions, trees } = readResults(output);
    expect({ status, failed: omissions.filter(({ failed }) => failed), trees }).toEqual({
      status: 0,
      failed: [],
      trees: [],
    });
    for (const { name, title, lower } of lines) {
      const rows = results.filter(({ workload }) => workload === name);
      const systems = lower === 'reads' ? ['overlayfs', 'cfs', 'cfs-read'] : ['overlayfs', 'cfs'];
      const left = omissions.some(({ what }) => what.startsWith(title));
      const measured = left ? systems : rows.map(({ system }) => system);
      expect({ name, measured }).toEqual({ name, measured: systems });
    }
    expect(new Set(results.map(({ tree }) => tree))).toEqual(new Set(['write']));
    const report = readFileSync(scratch.at('writing', 'report.md'), 'utf8');
    expect(report).toContain('(write.svg)');
    expect(existsSync(scratch.at('writing', 'write.svg'))).toBe(true);
    expect(stdout).toContain(`${lines[0]?.title}, tmpfs`);
    expectClean();
  });

  test('measures writing with every system, on every kind of file system', async () => {
    const output = scratch.at('writers.json');
    const own = ['--scratch', scratch.temporary, '--output', output, '--rounds', '1', ...TINY, ...TINY_WRITES];
    const args = ['--workloads', 'write-rename', ...own];
    const { status } = await run(HERE.tool('cfs-bench', args), { timeoutMs: 300_000 });
    const { results, omissions } = readResults(output);
    expect({ status, failed: omissions.filter(({ failed }) => failed) }).toEqual({ status: 0, failed: [] });
    for (const { name, readOnly } of WRITERS) {
      if (readOnly === true || omissions.some(({ what }) => what === `writing with ${name}`)) continue;
      const states = results.filter(({ system }) => system === name).map(({ state }) => state);
      expect({ name, states }).toEqual({ name, states: ['ext4', 'tmpfs'] });
    }
    expectClean();
  });

  test('writes the results so far when it is interrupted, and cleans up', async () => {
    const output = scratch.at('interrupted.json');
    const args = benchOptions(output, '--systems', 'overlayfs,cfs', '--workloads', 'find,stat');
    const [program, ...rest] = HERE.tool('cfs-bench', args) as [string, ...string[]];
    const child: ChildProcess = spawn(program, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr?.on('data', (piece: Buffer) => {
      stderr += piece.toString();
      if (stderr.includes('lstat by path') && !child.killed) child.kill('SIGINT'); // once
    });
    const [status] = (await once(child, 'close')) as [number | null];
    expect(status).toBe(130);
    expect(stderr).toContain(`the results so far are in ${output}`);
    const results = readResults(output);
    expect(results).toMatchObject({ complete: false, interrupted: 'interrupted by SIGINT' });
    expect(new Set(results.results.map(({ workload }) => workload))).toEqual(new Set(['find']));
    expect(readFileSync(scratch.at('interrupted', 'report.md'), 'utf8')).toContain('The run did not finish');
    expectClean();
  });

  test('continues with other systems and trees if a system fails, and ends with status 2', async () => {
    const output = scratch.at('failed.json');
    // overlayfs accepts no lower layer with a colon in its path
    const odd = scratch.at('odd:scratch');
    mkdirSync(odd);
    const only = ['--systems', 'source,overlayfs', '--workloads', 'find', '--small-files', '10,20'];
    const args = benchOptions(output, ...only, '--scratch', odd);
    const { status, stdout } = await run(HERE.tool('cfs-bench', args));
    expect(status).toBe(2);
    expect(stdout).toContain('- overlayfs of the source tree: failed: Cannot mount overlay at ');
    const { trees, results } = readResults(output);
    expect(trees.map(({ name }) => name)).toEqual(['source', 'small-10', 'small-20']);
    expect(results.map(({ system }) => system)).toEqual(Array(6).fill('source'));
    expectClean();
  });

  test('measures the systems that an ordinary user can mount, and unmounts all of them', async () => {
    const output = join(scratch.temporary, 'user.json');
    const own = ['--systems', 'source,overlayfs,fuse-overlayfs,squashfuse,cfs,cfs-read', '--workloads', 'find'];
    const args = [...benchOptions(output, ...own)];
    const { status, stdout, stderr } = await run(scratch.nobody().tool('cfs-bench', args), { timeoutMs: 300_000 });
    const { results, omissions } = readResults(output);
    expect({ status, failed: omissions.filter(({ failed }) => failed) }).toEqual({ status: 0, failed: [] });
    const measured = results.map(({ system, state }) => `${system} ${state}`);
    expect(measured).toEqual(expect.arrayContaining(['source warm', 'cfs warm', 'cfs-read warm']));
    expect(stdout).toMatch(/^- overlayfs: only root /m);
    expect(stdout).toContain('; 1 round\n');
    expect(stderr).not.toContain('Cannot');
    expectClean();
    for (const made of [output, join(scratch.temporary, 'user')]) rmSync(made, { recursive: true });
  });

  test('ends with status 2 if nothing could be measured', async () => {
    const output = join(scratch.temporary, 'nothing.json');
    const args = benchOptions(output, '--systems', 'overlayfs', '--workloads', 'find');
    const { status, stdout, stderr } = await run(scratch.nobody().tool('cfs-bench', args));
    expect(status).toBe(2);
    expect(stderr).toContain('cfs-bench: nothing was measured; "Not compared" says why\n');
    expect(stdout).toContain('- overlayfs: only root ');
    expectClean();
    for (const made of [output, join(scratch.temporary, 'nothing')]) rmSync(made, { recursive: true });
  });

  test('measures nothing without an argument that says what to measure', async () => {
    const { status, stdout, stderr } = await run(HERE.tool('cfs-bench', []));
    expect(status).toBe(1);
    expect(stdout).toContain('Usage: cfs-bench');
    expect(stderr).toMatch(/^cfs-bench: --source DIR, .* takes about \d+ minutes for .*\n$/);
  });

  test('reports only the error of a wrong source', async () => {
    const { status, stdout, stderr } = await run(HERE.tool('cfs-bench', ['--source', '/nosuch']));
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toBe(
      'cfs-bench: Cannot measure /nosuch: no such file or directory. Choose a directory with --source.\n',
    );
  });

  test('runs quickly with generated files', async () => {
    const output = scratch.at('quick.json');
    const few = ['--small-files', '20', '--rounds', '1', '--systems', 'source', '--workloads', 'ls'];
    const args = ['--quick', ...few, '--scratch', scratch.temporary, '--output', output];
    const { status, stderr } = await run(HERE.tool('cfs-bench', args));
    expect(status).toBe(0);
    expect(stderr).toMatch(/^\d+:\d\d the small-20 tree, 22 entries: about a minute$/m);
    expect(readResults(output).trees.map(({ name }) => name)).toEqual(['small-20']);
    expectClean();
  });
});
