import { describe, expect, test } from 'vitest';
import type { Results } from '../../../bench/collected.ts';
import type { Result } from '../../../bench/contract.ts';
import { renderTables } from '../../../bench/report.ts';
import { renderReport } from '../../../bench/report-markdown.ts';
import { summarize } from '../../../bench/statistics.ts';

const MS = 1e6;
const GROUPS = { readings: ['ls', 'open', 'mount'], writings: ['write-create'] };

function result(workload: string, system: string, samples: readonly number[], more: Partial<Result> = {}): Result {
  const work = { count: 100, unit: 'files', bytes: 1000 };
  return { workload, title: `the ${workload}`, tree: 'source', state: 'cold', system, work, samples, ...more };
}

function resultsOf(results: readonly Result[], more: Partial<Results> = {}): Results {
  return {
    format: 'cfs-bench',
    version: 2,
    command: 'node dist/bench/cfs-bench.js --source /srv',
    started: '2026-01-02T03:04:05.000Z',
    finished: '2026-01-02T04:04:05.000Z',
    complete: true,
    machine: {
      cpu: 'A processor',
      cores: 2,
      memory_bytes: 2 ** 33,
      kernel: '6.12',
      distribution: 'Debian',
      node: 'v20',
      source_file_system: 'ext4',
      scratch_file_system: 'ext4',
      load: 0.1,
    },
    rounds: 3,
    time_limit_seconds: 60,
    large_file_reader: 'fio',
    trees: [{ kind: 'source', name: 'source', path: '/srv', entries: 101, files: 100, bytes: 1000 }],
    systems: { overlayfs: 'the <usual> one', cfs: 'ours' },
    results: summarize(results, ['overlayfs', 'source']),
    figures: {},
    notes: ['A note.'],
    omissions: [{ what: 'composefs', why: 'not installed', failed: false }],
    ...more,
  };
}

const MEASURED = [
  result('ls', 'overlayfs', [10 * MS, 11 * MS, 12 * MS]),
  result('ls', 'cfs', [5 * MS, 5.5 * MS, 6 * MS], {
    daemon: { cpu_ns: [2e7, 2e7, 2e7], rss_bytes: [9e7, 9e7, 9e7], pss_bytes: [8e7, 8e7, 8e7] },
  }),
  result('open', 'overlayfs', [MS, MS, MS], { rates: ['count'] }),
  result('open', 'cfs', [4 * MS], { rates: ['count'], limited: 'only the warm-up turn: a turn took 70 s' }),
  result('mount', 'overlayfs', [MS, MS, MS]),
  result('mount', 'cfs', [600 * MS, 600 * MS, 600 * MS]),
  result('pack', 'tar', [MS], { state: 'first', rates: ['bytes'] }),
];

describe('renderReport()', () => {
  const files = renderReport(resultsOf(MEASURED), 'rootfs', GROUPS);
  const report = files.find(({ name }) => name === 'report.md')?.text ?? '';

  test('returns report.md and the charts that it shows', () => {
    expect(files.map(({ name }) => name)).toEqual(['report.md', 'source.svg', 'mount.svg']);
    const shown = [...report.matchAll(/!\[[^\]]+\]\(([^)]+)\)/g)].map((match) => match[1]);
    expect(shown).toEqual(['source.svg', 'mount.svg']);
  });

  test('has the exact values below the chart', () => {
    expect(report).toContain('| the ls | cold | 11.0 ms | 5.50 ms<br>**0.50×** |');
    expect(report).toContain('4.00 ms (1)<br>**4.00×**<br>25,000 files/s');
    expect(report.indexOf('source.svg')).toBeLessThan(report.indexOf('| the ls | cold |'));
  });

  test('has the daemons, the experiments, the notes, the missing parts, and the command', () => {
    expect(report).toContain('20.0 ms<br>90.0 MB<br>PSS 80.0 MB');
    expect(report).toContain('| the pack, source | first | tar | 1.00 ms |');
    expect(report).toContain('- A note.');
    expect(report).toContain('- the open, cold, cfs: only the warm-up turn: a turn took 70 s');
    expect(report).toContain('- composefs: not installed');
    expect(report).toContain('    node dist/bench/cfs-bench.js --source /srv');
    expect(report).toContain('the \\<usual\\> one');
  });

  test('reports that a run was interrupted', () => {
    const interrupted = resultsOf(MEASURED, { complete: false, interrupted: 'interrupted by SIGINT' });
    const text = renderReport(interrupted, 'x', GROUPS)[0]?.text;
    expect(text).toContain('**The run did not finish** (interrupted by SIGINT)');
  });

  test('works without a reference, and without results', () => {
    const alone = renderReport(resultsOf([result('ls', 'cfs', [MS])]), 'x', GROUPS);
    expect(alone.map(({ name }) => name)).toEqual(['report.md']);
    expect(renderReport(resultsOf([], { trees: [] }), 'x', GROUPS)).toHaveLength(1);
  });
});

describe('writing', () => {
  const line = (system: string, state: string, ms: number): Result =>
    result('write-create', system, [ms * MS], { tree: 'write', state });
  const written = [
    ...[line('overlayfs', 'ext4', 10), line('fuse-overlayfs', 'ext4', 80), line('cfs', 'ext4', 20)],
    ...[line('overlayfs', 'tmpfs', 5), line('cfs', 'tmpfs', 20)],
  ];
  const results = resultsOf([], { trees: [], results: summarize(written, ['overlayfs', 'fuse-overlayfs']) });

  test('has a section of the report, with a chart and the ratios to both references', () => {
    const files = renderReport(results, 'x', GROUPS);
    expect(files.map(({ name }) => name)).toEqual(['report.md', 'write.svg']);
    const [report, chart] = files.map(({ text }) => text);
    expect(report).toContain('| the write-create | ext4 | 10.0 ms<br>0.13× fuse-overlayfs | 80.0 ms<br>**8.00×** |');
    expect(report).toContain('20.0 ms<br>**2.00×**<br>0.25× fuse-overlayfs');
    expect(report).toContain('| the write-create | tmpfs | 5.00 ms | – | 20.0 ms<br>**4.00×** |');
    expect(chart).toContain('changes on ext4');
  });

  test('has a matrix of its own on the terminal, and details with both ratios', () => {
    const text = renderTables(results, GROUPS, true);
    expect(text).toMatch(/the write-create, ext4 +10\.0 ms {2}1\.00× +80\.0 ms {2}8\.00× +20\.0 ms {2}2\.00×/);
    expect(text).toMatch(/×overlayfs +×fuse-overlayfs/);
    expect(text).not.toContain('Packing and mounting');
  });
});

describe('renderTables()', () => {
  test('has at most 100 columns for any number of systems', () => {
    const systems = Array.from({ length: 13 }, (_, i) => `a-long-system-${i}`);
    const many = systems.map((system, i) => result('ls', system, [i * MS + MS]));
    const text = renderTables(resultsOf([...many, result('ls', 'overlayfs', [MS])]), GROUPS, false);
    for (const system of systems) expect(text).toContain(system);
    const matrix = text.slice(text.indexOf('Time of one pass'));
    expect(Math.max(...matrix.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(100);
  });

  test('lists cells with fewer samples, and systems that were not compared', () => {
    const text = renderTables(resultsOf(MEASURED), GROUPS, true);
    expect(text).toContain('- the open, cold, cfs: only the warm-up turn');
    expect(text).toContain('- composefs: not installed');
  });
});
