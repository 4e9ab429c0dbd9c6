/** What mounts send to the journal, in a mount namespace with a journal of the test. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { GAVE_UP_ID, MESSAGE_IDS } from '../../src/mount/log-events.ts';
import { useScratch } from './harness.ts';
import { HERE, run } from './run.ts';

const scratch = useScratch();
const JOURNAL = join(import.meta.dirname, 'journal.py');

interface Entry {
  readonly [field: string]: readonly string[];
}

let image: string;
let id: string;
let empty: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'content '.repeat(1_000));
  ({ image, id } = await scratch.pack(source));
  empty = scratch.at('empty');
  expect((await scratch.tool('cfs-repo', ['init', empty])).status).toBe(0);
});

/** The entries while a script runs in a shell; $MOUNT is the command that mounts, up to the mount point. */
async function entriesOf(script: string, repos: readonly string[], ...words: readonly string[]): Promise<Entry[]> {
  const mount = HERE.tool('cfs-mount', [...repos.flatMap((repo) => ['--repo', repo]), ...words, image]);
  const at = scratch.directory('mnt');
  const environment = Object.entries(scratch.environment).map(([name, value]) => `${name}=${value}`);
  // each process that a mount starts ends with it
  const shell = `at=$1; shift; gone() { while pgrep -f "^cfs-mount .* $at|cfs-supervisor $at " >/dev/null; do sleep 0.1; done; }; ${script}`;
  const command = ['env', ...environment, 'python3', JOURNAL, 'bash', '-c', shell, 'bash', at, ...mount];
  const { stdout, stderr } = await run(command);
  const { status, entries } = JSON.parse(stdout) as { status: number; entries: Entry[] };
  expect({ status, stderr }).toMatchObject({ status: 0 });
  return entries;
}

/** Warnings first: the sample is looked for while the mount is used. */
const byPriority = (entries: readonly Entry[]): Entry[] =>
  entries.toSorted((a, b) => Number(b['PRIORITY']) - Number(a['PRIORITY']));

const READ = 'cat "$at/file"';

test('an object that no repository has is an error with its fields', async () => {
  const entries = await entriesOf(`"$@" "$at"; ${READ}; umount "$at"; gone`, [empty, scratch.store]);
  expect(entries).toEqual([]);
  const [object] = JSON.parse((await scratch.tool('cfs-info', ['objects', '--json', image])).stdout) as {
    digest: string;
  }[];
  const all = await entriesOf(`"$@" "$at"; ${READ}; umount "$at"; gone`, [empty]);
  expect(all).toHaveLength(2);
  const [sample, refused] = byPriority(all);
  expect(sample).toMatchObject({ PRIORITY: ['4'], MESSAGE_ID: [MESSAGE_IDS['objects-missing']] });
  expect(refused).toEqual({
    MESSAGE: [expect.stringMatching(/^\/file: object [0-9a-f]{64}: .*: it is missing: EIO$/)],
    PRIORITY: ['3'],
    SYSLOG_FACILITY: ['3'],
    SYSLOG_IDENTIFIER: ['cfs-mount'],
    SYSLOG_PID: [expect.stringMatching(/^\d+$/)],
    MESSAGE_ID: [MESSAGE_IDS['object-refused']],
    CFS_MOUNTPOINT: [expect.stringContaining('/mnt-')],
    CFS_IMAGE: [image],
    CFS_IMAGE_ID: [id],
    CFS_OBJECT: [object?.digest],
    CFS_REPOSITORY: [empty],
    CFS_OUTCOME: ['missing'],
  });
});

test('a damaged copy that a later repository replaces is a warning', async () => {
  const damaged = scratch.at('damaged');
  const script = `
    cp -r "$CFS_STORE" ${damaged}; object=$(find ${damaged}/objects -type f); chmod u+w "$object"; printf x >>"$object"
    "$@" "$at"; ${READ} >/dev/null; umount "$at"; gone`;
  const entries = await entriesOf(script, [damaged, scratch.store]);
  expect(entries).toMatchObject([
    {
      PRIORITY: ['4'],
      MESSAGE_ID: [MESSAGE_IDS['object-passed-over']],
      CFS_REPOSITORY: [damaged],
      CFS_OUTCOME: ['damaged'],
    },
  ]);
  rmSync(damaged, { recursive: true });
});

test('a server that takes over says so, with the fields of the mount', async () => {
  const script = `
    pid=$("$@" --json "$at" | sed 's/.*"pid":\\([0-9]*\\).*/\\1/'); kill -KILL $pid; ${READ} >/dev/null; umount "$at"; gone`;
  const entries = await entriesOf(script, [scratch.store]);
  expect(entries).toMatchObject([
    { PRIORITY: ['4'], MESSAGE_ID: [MESSAGE_IDS['server-took-over']], CFS_IMAGE: [image], CFS_IMAGE_ID: [id] },
  ]);
});

test('the supervisor logs by itself that it gave up', async () => {
  // a server that takes over, and cannot continue: its program is no program
  const dist = scratch.at('dist');
  const script = `
    cp -r ${HERE.tools.dist} ${dist}; ln -s ${HERE.tools.dist}/../node_modules ${dist}/../node_modules
    cp ${HERE.tools.dist}/../package.json ${dist}/..
    shift 3; pid=$(CFS_GIVE_UP_SECONDS=1 node ${dist}/tools/cfs-mount.js --json "$@" "$at" | sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
    echo 'process.exit(1)' >${dist}/libexec/cfs-serve.js
    kill -KILL $pid; gone`;
  const entries = await entriesOf(script, [scratch.store]);
  expect(entries.length).toBeGreaterThan(0);
  for (const entry of entries) {
    expect(entry).toMatchObject({
      PRIORITY: ['3'],
      SYSLOG_IDENTIFIER: ['cfs-supervisor'],
      MESSAGE_ID: [GAVE_UP_ID],
      CFS_MOUNTPOINT: [expect.stringContaining('/mnt-')],
    });
  }
  expect(entries.at(-1)?.['MESSAGE']?.[0]).toContain('given up');
});

test('standard error that leads to the journal gets fields, another one a priority', async () => {
  const script = (stderr: string, stream: string): string => `
    : >${stderr}; JOURNAL_STREAM=${stream} "$@" -f "$at" 2>${stderr} & server=$!
    until mountpoint -q "$at"; do sleep 0.1; done
    ${READ}; umount "$at"; wait $server; gone`;
  const file = scratch.at('stderr');
  const own = `$(stat -c %d:%i ${file})`;
  expect(byPriority(await entriesOf(script(file, own), [empty]))).toMatchObject([
    { PRIORITY: ['4'], MESSAGE_ID: [MESSAGE_IDS['objects-missing']] },
    { PRIORITY: ['3'], MESSAGE_ID: [MESSAGE_IDS['object-refused']], CFS_IMAGE: [image], CFS_IMAGE_ID: [id] },
  ]);
  expect(readFileSync(file, 'utf8')).toBe('');
  expect(await entriesOf(script(file, '1:1'), [empty])).toEqual([]);
  expect(readFileSync(file, 'utf8')).toMatch(/^<3>\S+ cfs-mount\[\d+\]: error: \/file: object /m);
});
