/** Runs the shell commands of docs/recipes.md: those of CI in a new directory for each job, as a CI service does. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { useScratch } from './harness.ts';
import { OWN_TOOLS, run } from './run.ts';
import { mountedAt, unmountBy } from './system.ts';

const scratch = useScratch();
const PAGE = readFileSync(join(import.meta.dirname, '../../docs/recipes.md'), 'utf8');

/** A section, from its heading to the next one. */
const section = (heading: string): string => PAGE.split(/^#+ /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';

const blocks = (text: string, language: string): string[] =>
  [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].flatMap(([, name, code = '']) =>
    name === language ? [code] : [],
  );

/** The shell scripts in YAML: each `run: |`, and each list of a key that ends in "script"; in their order. */
function scriptsOf(yaml: string): string[] {
  const scripts: string[][] = [];
  let indent = -1;
  for (const line of yaml.split('\n')) {
    const depth = line.search(/\S/);
    const list = /^\s*(?:- run: \||\w*script:)$/.test(line);
    const short = /^\s*- run: ([^|].*)$/.exec(line)?.[1];
    if (short !== undefined) scripts.push([short]);
    else if (list) scripts.push([]);
    else if (indent >= 0 && depth > indent) scripts.at(-1)?.push(line.trim().replace(/^- /, ''));
    if (list) indent = depth;
    else if (depth <= indent) indent = -1;
  }
  return scripts.map((lines) => lines.join('\n'));
}

/** Runs a script as CI services do: it ends at the first command that fails. */
async function shell(script: string, directory: string): Promise<{ status: number | null; stdout: string }> {
  const { status, stdout, stderr } = await run(['bash', '-eo', 'pipefail', '-c', script], {
    cwd: directory,
    env: { ...process.env, ...scratch.environment, PATH: `${scratch.at('bin')}:${process.env['PATH']}` },
  });
  const noLog = /^cfs-mount: neither a journal nor syslog is here: .*\n/;
  expect(stderr.replace(noLog, '')).toBe('');
  return { status, stdout };
}

beforeAll(() => {
  mkdirSync(scratch.at('bin'));
  for (const tool of ['cfs-mkimage', 'cfs-mount', 'cfs-info', 'cfs-repo']) {
    symlinkSync(`${OWN_TOOLS.dist}/tools/${tool}.js`, scratch.at('bin', tool));
  }
  // it fills the cache that is in the arguments: with a file for this run, and one that stays as it is
  const npm =
    '#!/bin/sh\ntest "$1 $2" = "ci --cache" || exit 9\ncd "$3" && test -e kept || seq 9999 > kept; seq $$ > run-$$';
  writeFileSync(scratch.at('bin/npm'), npm, { mode: 0o755 });
});

beforeEach(() => rmSync(scratch.at('srv'), { recursive: true, force: true }));

const contentsOf = (directory: string): Map<string, string> =>
  new Map(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'utf8')]));

test.each(['GitHub', 'GitLab'])('the cache of %s has what the job before it left', async (service) => {
  const [yaml = ''] = blocks(section(service), 'yaml');
  const scripts = scriptsOf(yaml);
  expect(scripts).toHaveLength(3);
  expect(yaml.trimEnd().split('\n').length).toBeLessThanOrEqual(12);
  let kept = '';
  let before = new Map<string, string>();
  for (const job of [1, 2, 3]) {
    const directory = scratch.directory(`${service}-${job}`);
    if (kept !== '') copyFileSync(kept, join(directory, 'cache.export'));
    const [begin = '', work = '', end = ''] = scripts;
    expect(await shell(begin, directory)).toMatchObject({ status: 0 });
    expect(contentsOf(join(directory, '.cache'))).toEqual(before);
    expect(await shell(work, directory)).toMatchObject({ status: 0 });
    expect(await shell(end, directory)).toMatchObject({ status: 0 });
    before = contentsOf(join(directory, '.cache'));
    expect(before.size).toBe(job + 1);
    kept = join(directory, 'cache.export');
  }
});

/** The commands with a directory of the test for /srv. */
const inScratch = (script: string): string => script.replace(/(?<![\w.])\/srv\b/g, scratch.at('srv'));

test("a runner of one's own mounts the image of the last job, and packs only the changes", async () => {
  mkdirSync(scratch.at('srv'));
  const [begin = '', end = ''] = blocks(section('On a runner of your own'), 'sh').map(inScratch);
  const [daily = ''] = /cfs-repo unregister --gone [^`]*/.exec(section('On a runner of your own')) ?? [];
  let before = new Map<string, string>();
  for (const job of [1, 2, 3]) {
    const directory = scratch.directory(`own-${job}`);
    const cache = join(directory, '.cache');
    try {
      expect(await shell(begin, directory)).toMatchObject({ status: 0 });
      expect(contentsOf(cache)).toEqual(before);
      expect(await shell('npm ci --cache .cache', directory)).toMatchObject({ status: 0 });
      before = contentsOf(cache);
      expect(before.size).toBe(job + 1);
      expect(await shell(end, directory)).toMatchObject({ status: 0 });
    } finally {
      if (mountedAt(cache) !== undefined) await unmountBy(['umount', cache]);
    }
    expect(await shell(inScratch(daily), directory)).toMatchObject({ status: 0 });
  }
  const { stdout } = await shell(inScratch('cfs-repo images --json /srv/store'), scratch.at('srv'));
  expect(JSON.parse(stdout)).toMatchObject([{ path: scratch.at('srv/deps.cfs'), complete: true }]);
});

test('a container changes its own layer, and not the image', async () => {
  const root = scratch.at('srv/rootfs');
  mkdirSync(join(root, 'bin'), { recursive: true });
  mkdirSync(join(root, 'etc'));
  copyFileSync('/bin/busybox', join(root, 'bin/sh'));
  const lines = blocks(section('Containers'), 'sh').map(inScratch).join('').trimEnd().split('\n');
  const mounted = scratch.at('srv/c1/root');
  try {
    for (const line of lines.slice(0, -1)) expect(await shell(line, scratch.path), line).toMatchObject({ status: 0 });
    expect(readFileSync(join(mounted, 'etc/motd'), 'utf8')).toBe('changed\n');
    expect(existsSync(join(root, 'etc/motd'))).toBe(false);
    const { status, stdout } = await shell(lines.at(-1) as string, scratch.path);
    expect(status).toBe(EXIT.found);
    expect(stdout).toContain('/etc/motd');
  } finally {
    if (mountedAt(mounted) !== undefined) await unmountBy(['umount', mounted]);
  }
});
