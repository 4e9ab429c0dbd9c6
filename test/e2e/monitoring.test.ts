/** Statistics for Prometheus: their format, and the files of contrib/ that use them. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { useScratch } from './harness.ts';
import { HERE, run } from './run.ts';
import { isAlive, unmountBy, until } from './system.ts';

const scratch = useScratch();
const CONTRIB = join(import.meta.dirname, '../../contrib');
const read = (path: string): string => readFileSync(join(CONTRIB, path), 'utf8');

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (let i = 0; i < 3; i++) writeFileSync(join(source, `file-${i}`), `content ${i} `.repeat(1_000));
  ({ image } = await scratch.pack(source));
});

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LABEL = /^([a-zA-Z_]\w*)="((?:[^"\\]|\\[\\n"])*)"(?:,|$)/;

/** Parses the text format of Prometheus, version 0.0.4, with the rules of `promtool check metrics`. */
function parseMetrics(text: string): Sample[] {
  expect(text.endsWith('\n')).toBe(true);
  const types = new Map<string, string>();
  const helps = new Set<string>();
  const seen = new Set<string>();
  let current = '';
  return text
    .slice(0, -1)
    .split('\n')
    .flatMap((line) => {
      const [, kind, of, rest] = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line) ?? [];
      if (kind === 'HELP') {
        expect(helps.has(of as string), `HELP of ${of} again`).toBe(false);
        helps.add(of as string);
        return [];
      }
      if (kind === 'TYPE') {
        expect(helps.has(of as string) && !types.has(of as string), line).toBe(true);
        expect(['counter', 'gauge']).toContain(rest);
        expect(/_total$/.test(of as string), `${of} is a ${rest}`).toBe(rest === 'counter');
        types.set(of as string, rest as string);
        current = of as string;
        return [];
      }
      const [, name = '', labelText = '', value = ''] = /^([a-z_]+)\{(.*)\} (\d+)$/.exec(line) ?? [];
      expect(name, line).toBe(current);
      expect(seen.has(`${name}{${labelText}}`), `${line} again`).toBe(false);
      seen.add(`${name}{${labelText}}`);
      const labels: Record<string, string> = {};
      for (let left = labelText; left !== ''; ) {
        const [all, label, labelValue] = LABEL.exec(left) as RegExpExecArray;
        labels[label as string] = (labelValue as string).replace(/\\(.)/g, (_, char) => (char === 'n' ? '\n' : char));
        left = left.slice(all.length);
      }
      return [{ name, labels, value: Number(value) }];
    });
}

const allStats = async (): Promise<Sample[]> => {
  const { status, stdout, stderr } = await scratch.tool('cfs-info', ['stats', '--prometheus', '--all']);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  return parseMetrics(stdout);
};

const of = (samples: readonly Sample[], mountpoint: string): Sample[] =>
  samples.filter(({ labels }) => labels['mountpoint'] === mountpoint);

const numberOf = (samples: readonly Sample[], name: string, mountpoint: string): number | undefined =>
  of(samples, mountpoint).find((sample) => sample.name === name)?.value;

test('all mounts are in one text, a dead one as down', async () => {
  const odd = scratch.at('a "mount\\ point"');
  mkdirSync(odd);
  const [one, two] = [await scratch.mount(image), await scratch.mount(image, { at: odd })];
  const dead = await scratch.mount(image, { words: ['restart=off'] });
  readFileSync(one.at('file-0'));
  process.kill(dead.pid, 'SIGKILL');
  await until('the server ends', () => !isAlive(dead.pid));
  const samples = await allStats();
  for (const mounted of [one, two]) expect(numberOf(samples, 'cfs_up', mounted.path)).toBe(1);
  expect(numberOf(samples, 'cfs_errors_total', two.path)).toBe(0);
  expect(of(samples, one.path).find(({ labels }) => labels['outcome'] === 'served')?.value).toBe(1);
  expect(of(samples, dead.path)).toEqual([{ name: 'cfs_up', labels: { mountpoint: dead.path }, value: 0 }]);
  await unmountBy(['umount', dead.path]);
});

test('errors are those that readers saw', async () => {
  const empty = scratch.at('empty');
  expect((await scratch.tool('cfs-repo', ['init', empty])).status).toBe(EXIT.ok);
  const mounted = await scratch.mount(image, { repos: [empty] });
  expect(() => readFileSync(mounted.at('none'))).toThrow('ENOENT');
  await run(['getfattr', '-n', 'user.none', mounted.path]);
  const errors = async (): Promise<Sample[]> =>
    of(await allStats(), mounted.path).filter(({ name }) => name === 'cfs_errors_total');
  const labels = { mountpoint: mounted.path, errno: 'EIO' };
  expect(await errors()).toEqual([{ name: 'cfs_errors_total', labels, value: 0 }]);
  expect(() => readFileSync(mounted.at('file-0'))).toThrow('EIO');
  expect(await errors()).toEqual([{ name: 'cfs_errors_total', labels, value: 1 }]);
});

test('--all refuses what it is not for', async () => {
  for (const args of [['--all'], ['--all', '--prometheus', scratch.path], []]) {
    const { status, stderr } = await scratch.tool('cfs-info', ['stats', ...args]);
    expect({ status, lines: stderr.split('\n').length }).toEqual({ status: EXIT.usage, lines: 2 });
  }
});

test('the units are what systemd expects', async () => {
  const units = scratch.directory('units');
  for (const name of readdirSync(join(CONTRIB, 'prometheus')).filter((file) => /\.(?:service|timer)$/.test(file))) {
    writeFileSync(join(units, name), read(`prometheus/${name}`));
  }
  const files = readdirSync(units).map((name) => join(units, name));
  expect(files).toHaveLength(2);
  const { status, stderr } = await run(['systemd-analyze', '--man=no', 'verify', ...files]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

test('the service writes the file of the collector, and keeps the last one if it fails', async () => {
  const mounted = await scratch.mount(image);
  const line = /^ExecStart=\/bin\/sh -c '(.*)'$/m.exec(read('prometheus/cfs-metrics.service'))?.[1] ?? '';
  const directory = scratch.directory('collector');
  const start = (tool: string) =>
    run(['env', `TEXTFILE_DIRECTORY=${directory}`, 'sh', '-c', line.replace('/usr/local/bin/cfs-info', tool)]);
  const tool = HERE.tool('cfs-info', [], scratch.environment).join(' ');
  expect(await start(tool)).toMatchObject({ status: 0, stdout: '', stderr: '' });
  const written = readFileSync(join(directory, 'cfs.prom'), 'utf8');
  expect(numberOf(parseMetrics(written), 'cfs_up', mounted.path)).toBe(1);
  expect((await start('false')).status).not.toBe(0);
  expect(readFileSync(join(directory, 'cfs.prom'), 'utf8')).toBe(written);
});

test('dashboard and alerts name only metrics that are exported, and labels that these have', async () => {
  const mounted = await scratch.mount(image);
  readFileSync(mounted.at('file-0'));
  const samples = of(await allStats(), mounted.path);
  const labelsOf = new Map(samples.map(({ name, labels }) => [name, Object.keys(labels)]));
  interface Panel {
    readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
  }
  const { panels, templating } = JSON.parse(read('grafana/cfs-mounts.json')) as {
    readonly panels: readonly Panel[];
    readonly templating: { readonly list: readonly { readonly query: { readonly query?: string } | string }[] };
  };
  const targets = panels.flatMap((panel) => panel.targets);
  const queries = templating.list.flatMap(({ query }) => (typeof query === 'string' ? [] : (query.query ?? [])));
  const rules = [...read('prometheus/cfs-rules.yml').matchAll(/^ *(?:expr|summary): (.*)$/gm)].map(
    ([, text = '']) => text,
  );
  const used = [...targets.map(({ expr }) => expr), ...queries, ...rules].join('\n').match(/\bcfs_\w+/g) ?? [];
  expect([...new Set(used)].sort()).toEqual([...labelsOf.keys()].sort());
  for (const { expr, legendFormat } of targets) {
    const [metric = ''] = expr.match(/\bcfs_\w+/) ?? [];
    const by = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(', ') ?? [];
    const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label as string);
    expect(labelsOf.get(metric), expr).toEqual(expect.arrayContaining(by));
    expect(by, legendFormat).toEqual(expect.arrayContaining(shown));
  }
});
