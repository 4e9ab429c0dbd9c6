/** An NFS server in user space exports a mount: its clients' handles outlive the mount and the server. */
import {
  appendFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { NF4DIR, NF4REG, NFS_STATUS, type NfsClient, NfsError } from '../support/nfs-client.ts';
import { Random } from '../support/random.ts';
import { mountTmpfs } from './cli.ts';
import { type ExportSettings, Ganesha } from './ganesha.ts';
import { type Mounted, useScratch } from './harness.ts';

const scratch = useScratch();

const PSEUDO = 'cfs';
/** With this, handles stay valid: of st_dev they have only the major number, which is 0 for every mount. */
const LASTING = { fsidType: 'Major64' };
/** Names in the image; '' is its root. */
const FILES = ['large', 'small', 'empty', 'directory/below/file'];
const DIRECTORIES = ['', 'directory', 'directory/below'];

const images: string[] = [];

function writeSource(source: string, version: 1 | 2): void {
  mkdirSync(join(source, 'directory/below'), { recursive: true });
  const write = (name: string, content: string | Uint8Array): void => writeFileSync(join(source, name), content);
  write('large', new Random(77).bytes(300_000));
  write('small', 'small and in every version');
  write('empty', '');
  write('directory/below/file', 'below');
  write('changed', `version ${version}`);
  write(version === 1 ? 'removed' : 'directory/new', 'in one version only');
}

beforeAll(async () => {
  for (const version of [1, 2] as const) {
    const source = scratch.directory('source');
    writeSource(source, version);
    images.push((await scratch.pack(source)).image);
  }
});

const servers: Ganesha[] = [];
// a server keeps the mount busy, so it is ended first
afterEach(endServers);

async function endServers(): Promise<void> {
  for (const server of servers.splice(0)) await server.end();
}

async function serve(path: string, settings: Partial<ExportSettings> = LASTING): Promise<NfsClient> {
  const state = scratch.directory('ganesha');
  const server = await Ganesha.start({ path, pseudo: `/${PSEUDO}`, id: 77, state, ...settings });
  servers.push(server);
  return server.client;
}

const deviceOf = (mounted: Mounted): bigint => statSync(mounted.path, { bigint: true }).dev;

/** Unmounts, and mounts an image at the same place so that it has another st_dev. @param words for -o */
async function remount(mounted: Mounted, image: string, words: readonly string[] = []): Promise<Mounted> {
  const before = deviceOf(mounted);
  await mounted.unmount();
  for (;;) {
    // the kernel assigns the lowest free number: this mount takes the one that has just become free
    await mountTmpfs(scratch.directory('another'));
    const again = await scratch.mount(image, { at: mounted.path, words });
    if (deviceOf(again) !== before) return again;
    await again.unmount(); // another mount had the number in the meantime, and has released it
  }
}

const lookup = (client: NfsClient, name: string): Promise<Buffer> =>
  client.lookup([PSEUDO, ...name.split('/').filter((part) => part !== '')]);

async function handlesOf(client: NfsClient, names: readonly string[]): Promise<Map<string, Buffer>> {
  const handles = new Map<string, Buffer>();
  for (const name of names) handles.set(name, await lookup(client, name));
  return handles;
}

/** Expects that handles lead to the mount's files of these names: the same inodes with the same content. */
async function expectLead(client: NfsClient, handles: ReadonlyMap<string, Buffer>, mounted: Mounted): Promise<void> {
  for (const [name, handle] of handles) {
    const stat = statSync(mounted.at(name), { bigint: true });
    const type = stat.isDirectory() ? NF4DIR : NF4REG;
    expect({ name, ...(await client.getattr(handle)) }).toEqual({ name, type, fileid: stat.ino });
    if (type === NF4REG) expect((await client.read(handle)).equals(readFileSync(mounted.at(name))), name).toBe(true);
  }
}

async function statusOf(call: Promise<unknown>): Promise<number> {
  try {
    await call;
    return NFS_STATUS.ok;
  } catch (error) {
    if (error instanceof NfsError) return error.status;
    throw error;
  }
}

test('a handle opens the same file after unmount and mount, with another st_dev, and a restart of the server', async () => {
  const first = await scratch.mount(images[0] as string);
  const before = await serve(first.path);
  const handles = await handlesOf(before, [...FILES, ...DIRECTORIES, 'changed', 'removed']);
  await expectLead(before, handles, first);
  await endServers();
  const device = deviceOf(first);
  const second = await remount(first, images[0] as string);
  expect(deviceOf(second)).not.toBe(device);
  const after = await serve(second.path);
  // no name was looked up yet: neither the server nor the mount has the inodes in memory
  await expectLead(after, handles, second);
  expect(await handlesOf(after, [...handles.keys()])).toEqual(handles);
});

test('a handle opens an unchanged file of the next version of the image; else it is stale', async () => {
  const first = await scratch.mount(images[0] as string);
  const before = await serve(first.path);
  const unchanged = await handlesOf(before, [...FILES, ...DIRECTORIES]);
  const others = await handlesOf(before, ['changed', 'removed']);
  await endServers();
  const device = deviceOf(first);
  const second = await remount(first, images[1] as string);
  expect(deviceOf(second)).not.toBe(device);
  const after = await serve(second.path);
  await expectLead(after, unchanged, second);
  for (const [name, handle] of others) {
    expect(await statusOf(after.getattr(handle)), name).toBe(NFS_STATUS.stale);
    expect(await statusOf(after.read(handle)), name).toBe(NFS_STATUS.stale);
  }
  // the handle of a directory shows its present entries
  const root = unchanged.get('') as Buffer;
  expect(await statusOf(after.lookup(['removed'], root))).toBe(NFS_STATUS.noent);
  const changed = await after.lookup(['changed'], root);
  expect((await after.read(changed)).toString()).toBe('version 2');
  const added = await after.lookup(['new'], unchanged.get('directory') as Buffer);
  await expectLead(after, new Map([['directory/new', added]]), second);
});

test('a handle opens the same file of a writable mount: new, changed, renamed, linked and removed ones', async () => {
  const words = [`upperdir=${scratch.directory('upper')}`, `workdir=${scratch.directory('work')}`];
  const first = await scratch.mount(images[0] as string, { words });
  writeFileSync(first.at('new'), 'new');
  mkdirSync(first.at('made'));
  const before = await serve(first.path);
  const handles = await handlesOf(before, [
    '',
    'new',
    'made',
    'small',
    'large',
    'changed',
    'directory/below',
    'removed',
  ]);
  const handle = (name: string): Buffer => handles.get(name) as Buffer;
  appendFileSync(first.at('small'), ', and more');
  truncateSync(first.at('large'), 1000);
  renameSync(first.at('changed'), first.at('made/renamed'));
  renameSync(first.at('directory/below'), first.at('made/below'));
  linkSync(first.at('new'), first.at('directory/link'));
  unlinkSync(first.at('new'));
  unlinkSync(first.at('removed'));
  const now = new Map(
    Object.entries({
      '': '',
      new: 'directory/link',
      made: 'made',
      small: 'small',
      large: 'large',
      changed: 'made/renamed',
      'directory/below': 'made/below',
    }).map(([name, later]) => [later, handle(name)]),
  );
  await expectLead(before, now, first);
  process.kill(first.pid, 'SIGKILL');
  await expectLead(before, now, first);
  await endServers();
  const second = await remount(first, images[0] as string, words);
  const after = await serve(second.path);
  await expectLead(after, now, second);
  expect(await statusOf(after.getattr(handle('removed')))).toBe(NFS_STATUS.stale);
  expect(await handlesOf(after, [...now.keys()])).toEqual(now);
});

test('clients continue to read when the server of the mount is killed', async () => {
  const mounted = await scratch.mount(images[0] as string);
  const client = await serve(mounted.path);
  const handles = await handlesOf(client, ['directory/below/file', 'directory']);
  process.kill(mounted.pid, 'SIGKILL');
  await expectLead(client, handles, mounted);
  // the next server also finds files that were not looked up before
  await expectLead(client, await handlesOf(client, FILES), mounted);
});

test('with the default fsid_type of the server, a handle is stale once st_dev differs', async () => {
  const first = await scratch.mount(images[0] as string);
  const handle = await lookup(await serve(first.path, {}), 'small');
  await endServers();
  // a restart without a new st_dev changes nothing
  const restarted = await serve(first.path, {});
  expect((await restarted.read(handle)).toString()).toBe('small and in every version');
  await endServers();
  const second = await remount(first, images[0] as string);
  const after = await serve(second.path, {});
  expect(await statusOf(after.getattr(handle))).toBe(NFS_STATUS.stale);
  expect(await lookup(after, 'small')).not.toEqual(handle);
});

test('with another Export_Id a handle is stale', async () => {
  const mounted = await scratch.mount(images[0] as string);
  const handle = await lookup(await serve(mounted.path), 'small');
  await endServers();
  const after = await serve(mounted.path, { ...LASTING, id: 78 });
  expect(await statusOf(after.getattr(handle))).toBe(NFS_STATUS.stale);
});

test('a second mount needs a second server', async () => {
  const mounts = [await scratch.mount(images[0] as string), await scratch.mount(images[1] as string)];
  for (const mounted of mounts) {
    const client = await serve(mounted.path);
    await expectLead(client, await handlesOf(client, ['changed']), mounted);
  }
});
