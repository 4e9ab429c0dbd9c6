/** `cfs-info top`: lines, JSON, and a terminal, which is as it was afterwards. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { useScratch } from './harness.ts';
import { HERE, run } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
const PTY = join(import.meta.dirname, 'terminal.py');

let image: string;

interface Line {
  readonly requests: Readonly<Record<string, number>>;
  readonly latency: readonly number[];
  readonly opens: number;
  readonly verified: number;
  readonly opened: readonly { readonly opens: number; readonly path?: string }[];
  readonly errors: Readonly<Record<string, number>>;
  readonly lastProblems: readonly { readonly message: string }[];
}

beforeAll(async () => {
  const source = scratch.directory('source');
  for (const name of ['often', 'once']) writeFileSync(join(source, name), `${name} `.repeat(1_000));
  image = (await scratch.pack(source)).image;
});

function openTimes(path: string, times: number): void {
  for (let i = 0; i < times; i++) closeSync(openSync(path, 'r'));
}

const top = (...args: readonly string[]) => scratch.tool('cfs-info', ['top', '--interval', '0.1', ...args]);

test('reports a line each time, or an object with --json', async () => {
  const mounted = await scratch.mount(image);
  const { stdout, stderr, status } = await top('--count', '2', mounted.path);
  expect({ stderr, status }).toEqual({ stderr: '', status: EXIT.ok });
  expect(stdout).toMatch(/^(?:\d\d:\d\d:\d\d {2}[\d.,]+ requests\/s {2}.* 0 problems {2}.*\n){2}$/);
  const json = await top('--count', '2', '--json', mounted.path);
  expect(json.stdout.trim().split('\n')).toHaveLength(2);
});

test('counts times and opens from the first look on', async () => {
  const mounted = await scratch.mount(image);
  openTimes(mounted.at('once'), 50);
  // from now on the mount is watched
  await top('--count', '1', mounted.path);
  openTimes(mounted.at('often'), 20);
  openTimes(mounted.at('once'), 1);
  const { stdout } = await top('--count', '1', '--json', mounted.path);
  const { opened, latency, verified } = JSON.parse(stdout) as Line;
  expect(opened).toEqual([
    { ino: expect.any(Number), opens: 20, path: '/often' },
    { ino: expect.any(Number), opens: 1, path: '/once' },
  ]);
  expect(verified).toBe(2);
  expect(latency.length).toBe(25);
});

test('shows the rates of what happens meanwhile', async () => {
  const empty = scratch.directory('empty');
  expect((await scratch.tool('cfs-repo', ['init', empty])).status).toBe(EXIT.ok);
  const mounted = await scratch.mount(image, { repos: [empty] });
  const lines: Line[] = [];
  // the reader goes on until a line has seen it
  const reader = { isDone: false };
  const reading = (async () => {
    while (!reader.isDone) {
      expect(() => readFileSync(mounted.at('once'))).toThrow('EIO');
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const isSeen = ({ errors, opens, latency }: Line): boolean =>
    errors['EIO'] !== undefined && opens > 0 && latency.some((n) => n > 0);
  try {
    await until('a line shows the reads', async () => {
      const { stdout } = await top('--count', '1', '--json', mounted.path);
      lines.push(JSON.parse(stdout) as Line);
      return lines.some(isSeen);
    });
  } finally {
    reader.isDone = true;
    await reading;
  }
  expect(lines.at(-1)?.lastProblems.at(-1)?.message).toContain('/once');
});

test('another user learns no paths of a mount for all', async () => {
  const mounted = await scratch.mount(image);
  await top('--count', '1', mounted.path);
  openTimes(mounted.at('often'), 3);
  const place = scratch.nobody();
  const { stdout, stderr } = await run(
    place.tool('cfs-info', ['top', '--json', '--interval', '0.1', '--count', '1', mounted.path]),
  );
  expect(stderr).toBe('');
  const { opened, lastProblems } = JSON.parse(stdout) as Line;
  expect(opened).toEqual([{ ino: expect.any(Number), opens: 3 }]);
  expect(lastProblems).toEqual([]);
});

test('watches a writable mount, with the names that files have now', async () => {
  const words = [`upperdir=${scratch.directory('upper')}`, `workdir=${scratch.directory('work')}`];
  const mounted = await scratch.mount(image, { words });
  await top('--count', '1', mounted.path);
  writeFileSync(mounted.at('new'), 'x');
  openTimes(mounted.at('new'), 9);
  const { stdout } = await top('--count', '1', '--json', mounted.path);
  expect((JSON.parse(stdout) as Line).opened[0]).toMatchObject({ path: '/new', opens: 9 });
});

test('refuses other paths, and wrong options', async () => {
  const mounted = await scratch.mount(image);
  const failure = async (...args: readonly string[]) => {
    const { status, stderr } = await scratch.tool('cfs-info', ['top', ...args]);
    return { status, stderr };
  };
  expect(await failure(scratch.path)).toEqual({
    status: EXIT.usage,
    stderr: `cfs-info: ${scratch.path} is not in a mount of cfs\n`,
  });
  for (const interval of ['0', '31', '-1', '1e1', 'x']) {
    const { status, stderr } = await failure(`--interval=${interval}`, mounted.path);
    expect({ status, stderr }).toMatchObject({ status: EXIT.usage });
    expect(stderr).toContain(`--interval takes seconds from 0.1 to 30, not "${interval}"`);
  }
});

test('ends with an error if the mount ends', async () => {
  const mounted = await scratch.mount(image);
  const command = HERE.tool('cfs-info', ['top', '--interval', '0.1', mounted.path], scratch.environment);
  const script = '"$@" 2>&1 | { read -r line; umount "$0"; cat; }';
  const { stdout } = await run(['sh', '-c', script, mounted.path, ...command]);
  expect(stdout.trim().split('\n').at(-1)).toContain(`${mounted.path} does not answer any more`);
  await mounted.expectGone();
});

/** Runs top on a terminal, under the control of a script. */
async function onTerminal(mounted: { readonly path: string }, ...steps: readonly string[]) {
  const command = HERE.tool('cfs-info', ['top', '--interval', '0.1', mounted.path], scratch.environment);
  const { stdout, stderr } = await run(['python3', PTY, ...steps, '--', ...command]);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as { readonly output: string; readonly status: number; readonly restored: boolean };
}

const ENTER = '\x1b[?1049h';
const LEAVE = '\x1b[?1049l';
const count = (text: string, part: string): number => text.split(part).length - 1;

test.each([
  ['the key q', ['wait:quits', 'send:q'], EXIT.ok],
  ['the key Ctrl-C', ['wait:quits', 'send:\x03'], 130],
  ['SIGINT', ['wait:quits', 'signal:INT'], 130],
  ['SIGTERM', ['wait:quits', 'signal:TERM'], 143],
])('%s ends it, and the terminal is as it was', async (_, steps, status) => {
  const mounted = await scratch.mount(image);
  const ended = await onTerminal(mounted, ...steps);
  expect(ended).toMatchObject({ status, restored: true });
  expect(count(ended.output, ENTER)).toBe(1);
  expect(count(ended.output, LEAVE)).toBe(1);
  expect(ended.output).toContain(mounted.path);
  // no flicker: the screen is never cleared before it is drawn
  expect(ended.output).not.toContain('\x1b[2J');
});

test.each([
  ['the key Ctrl-Z', 'send:\x1a'],
  ['SIGTSTP', 'signal:TSTP'],
])('%s stops it with the terminal as it was, and the shell continues it', async (_, step) => {
  const mounted = await scratch.mount(image);
  const ended = await onTerminal(mounted, 'wait:quits', step, 'stopped', 'continue', 'wait:quits', 'send:q');
  expect(ended).toMatchObject({ status: EXIT.ok, restored: true });
  expect(count(ended.output, ENTER)).toBe(2);
  expect(count(ended.output, LEAVE)).toBe(2);
});
