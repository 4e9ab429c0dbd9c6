/** Writable mounts of ordinary users, in a user namespace: their layers have xattrs of `user.` only. */
import { chmodSync, chownSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { type Mounted, useScratch } from './harness.ts';
import { kernelBefore } from './overlay.ts';
import { NOBODY, type Place, succeed } from './run.ts';
import { isAlive, isSupervisor, sessionMembers, until } from './system.ts';

const scratch = useScratch();

const NAMES = [
  'file',
  'other',
  'gone',
  'attributes',
  'moved',
  'linked',
  'merged/file',
  'removed/file',
  'replaced/file',
];

let image: string;
let place: Place;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (const name of ['merged', 'removed', 'replaced']) mkdirSync(join(source, name));
  for (const name of NAMES) writeFileSync(join(source, name), `${name} of the image\n`);
  linkSync(join(source, 'linked'), join(source, 'linked too'));
  ({ image } = await scratch.pack(source));
  chmodSync(image, 0o644);
});

beforeEach(async () => {
  place = await scratch.namespaceOfNobody();
});

/** A directory of the user. */
function directory(name: string): string {
  const path = scratch.directory(name);
  chownSync(path, NOBODY, NOBODY);
  return path;
}

interface Layers {
  readonly upper: string;
  readonly work: string;
}

const newLayers = (): Layers => ({ upper: directory('upper'), work: directory('work') });

const mount = ({ upper, work }: Layers): Promise<Mounted> =>
  scratch.mount(image, { place, words: ['userxattr', `upperdir=${upper}`, `workdir=${work}`] });

/** Runs a script in the namespace, in a directory. */
const inside = (at: string, script: string): Promise<string> =>
  succeed(place.command('sh', '-ec', `cd "$1"; ${script}`, 'sh', at));

/** Changes in which both layers take part. */
const CHANGES = `
  echo more >> file; : > other; rm gone; chmod 600 attributes; mv moved merged/here; echo new > new; ln new 'new too'
  ln -s new link; mkfifo fifo; echo new > merged/new; mkdir directory
  rm -r removed; rm -r replaced; mkdir replaced; echo new > replaced/new; mv merged/file new`;

/**
 * More of them. Overlayfs keeps the names of a file of the lower layer together by its index, which it does not have in
 * a user namespace: it may not open handles there.
 */
const LINKS = 'ln linked third; echo more >> third';

const EXPECTED = [
  ['file', 'file of the image\nmore\n'],
  ['other', ''],
  ['merged/here', 'moved of the image\n'],
  ['new', 'merged/file of the image\n'],
  ['new too', 'new\n'],
  ['linked too', 'linked of the image\nmore\n'],
  ['merged/new', 'new\n'],
  ['replaced/new', 'new\n'],
] as const;

/** All that a user sees of a tree: names, types, modes, links, sizes, targets and contents. */
const view = (at: string): Promise<string> =>
  inside(
    at,
    `find . ! -type d -printf '%P %y %m %n %s %l\\n' | sort; find . -type d -printf '%P %m\\n' | sort
     find . -type f -print0 | sort -z | xargs -0 sha1sum`,
  );

/** The numbers of all inodes, and the handles of some. */
async function identities(mounted: Mounted): Promise<string> {
  const handles: string[] = [];
  for (const name of ['file', 'new too', 'third', 'merged/here', 'directory']) {
    const { stdout, stderr } = await scratch.tool('cfs-info', ['handle', mounted.at(name)], place);
    expect(stderr).toBe('');
    handles.push(stdout);
  }
  return `${await inside(mounted.path, "find . -printf '%P %i\\n' | sort")}${handles.join('')}`;
}

test('an ordinary user keeps changes in a layer, with inode numbers and handles', async () => {
  const layers = newLayers();
  const first = await mount(layers);
  await inside(first.path, `${CHANGES}; ${LINKS}`);
  for (const [name, content] of EXPECTED) expect(await inside(first.path, `cat '${name}'`)).toBe(content);
  const [tree, ids] = [await view(first.path), await identities(first)];
  expect(tree).toMatch(/^linked f 644 3 /m);
  await first.unmount();
  const second = await mount(layers);
  expect(await view(second.path)).toBe(tree);
  expect(await identities(second)).toBe(ids);
});

/** Mounts an overlayfs with these layers over a mount of the image, does `work` in it, and unmounts both. */
async function throughOverlay({ upper, work }: Layers, use: (at: string) => Promise<void>): Promise<void> {
  const lower = await scratch.mount(image, { place });
  const at = directory('overlay');
  const options = `userxattr,lowerdir=${lower.path},upperdir=${upper},workdir=${work}`;
  await succeed(place.command('mount', '-t', 'overlay', 'overlay', '-o', options, at));
  try {
    await use(at);
  } finally {
    await succeed(place.command('umount', at));
  }
  await lower.unmount();
}

test.skipIf(kernelBefore(5, 11))('overlayfs of the same user shows the same changes', async () => {
  const layers = newLayers();
  const mounted = await mount(layers);
  await inside(mounted.path, CHANGES);
  const tree = await view(mounted.path);
  await mounted.unmount();
  await throughOverlay(layers, async (at) => {
    expect(await view(at)).toBe(tree);
  });
});

test.skipIf(kernelBefore(5, 11))('changes that overlayfs of the same user made are read', async () => {
  const layers = newLayers();
  let tree = '';
  await throughOverlay(layers, async (at) => {
    await inside(at, `${CHANGES}; ${LINKS}`);
    tree = await view(at);
  });
  const mounted = await mount(layers);
  expect(await view(mounted.path)).toBe(tree);
  await inside(mounted.path, 'rm -r merged replaced; mkdir merged; echo more >> third; mv linked merged');
  const changed = await view(mounted.path);
  await mounted.unmount();
  await throughOverlay(layers, async (at) => {
    expect(await view(at)).toBe(changed);
  });
});

test('small writes of an ordinary user are collected, and are there after the server was killed', async () => {
  const mounted = await mount(newLayers());
  await inside(mounted.path, 'dd if=/dev/zero of=zeros bs=512 count=8192 conv=fsync status=none');
  const server = sessionMembers(mounted.pid).find((pid) => !isSupervisor(pid)) as number;
  const { stdout } = await scratch.tool('cfs-info', ['stats', '--json', mounted.path], place);
  const { requests } = JSON.parse(stdout) as { requests: Record<string, number> };
  expect(requests['WRITE']).toBeGreaterThan(0);
  expect(requests['WRITE']).toBeLessThan(100);
  await inside(
    mounted.path,
    `echo before > file; exec 3<> other; kill -KILL ${server}; echo after >&3; cat file other`,
  );
  await until('it has ended', () => !isAlive(server));
  expect(await inside(mounted.path, 'cat file; stat -c %s zeros')).toBe(`before\n${8192 * 512}\n`);
});

/** Files that are made and changed within one tick of the kernel's clock, in each way that a call can change them. */
const WITHIN_A_TICK = `import mmap, os, time
def of(i): return os.open(f"new {i}", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
def late(): time.sleep(0.002)
for i in range(120):
    fd = of(i)
    kind = i % 6
    if kind == 0: os.write(fd, b"written")
    elif kind == 1: os.write(fd, b"x" * 10000); os.fsync(fd); os.write(fd, b"more")
    elif kind == 2: os.posix_fallocate(fd, 0, 5000)
    elif kind == 3: os.close(fd); fd = os.open(f"new {i}", os.O_WRONLY | os.O_TRUNC); os.write(fd, b"again")
    elif kind == 4: os.copy_file_range(os.open("file", os.O_RDONLY), fd, 10)
    else: os.ftruncate(fd, 5000); mmap.mmap(fd, 5000)[0:4] = b"mapp"
    if i % 2 == 0: late()
    os.close(fd)
for name in ["file", "other"]:
    with open(name, "ab") as f: f.write(b"more")
os.utime("other", ns=(10**18 + 1, 10**18 + 1))
with open("new 0", "r+b") as f: f.write(b"W"); f.flush(); os.utime("new 0", ns=(10**18 + 2, 10**18 + 2))
`;

test('times of files that were written are after unmounting as the kernel showed them before', async () => {
  const layers = newLayers();
  const first = await mount(layers);
  const times = (at: string): Promise<string> => inside(at, "find . -type f -printf '%P %T@\\n' | sort");
  await succeed(place.command('sh', '-ec', 'cd "$1"; python3 -c "$2"', 'sh', first.path, WITHIN_A_TICK));
  const shown = await times(first.path);
  expect(shown).toMatch(/^other 1000000000\.0000000010$/m);
  expect(shown).toMatch(/^new 0 1000000000\.0000000020$/m);
  await first.unmount();
  const second = await mount(layers);
  expect(await times(second.path)).toBe(shown);
});
