/** inotify and fanotify on a mount: events arrive, and the handles in events and in /proc can be opened. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { FileHandle } from '../../src/base/handle-format.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { mknod } from '../support/libc.ts';
import { closeAfterEach, handleOf, openedHandle } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import {
  FAN_ACCESS,
  FAN_CLOSE_NOWRITE,
  FAN_EVENT_ON_CHILD,
  FAN_MARK_FILESYSTEM,
  FAN_MARK_INODE,
  FAN_MARK_MOUNT,
  FAN_ONDIR,
  FAN_OPEN,
  FAN_REPORT_DFID_NAME,
  FAN_REPORT_FID,
  Fanotify,
  type FanotifyEvent,
  handlesInFdinfo,
  IN_ACCESS,
  IN_CLOSE_NOWRITE,
  IN_OPEN,
  Inotify,
} from './notify.ts';
import { dropCaches } from './system.ts';

const scratch = useScratch();
const closing: { close(): void }[] = [];
// a watch keeps a mount busy, so watches are closed first
afterEach(() => {
  for (const group of closing.splice(0)) group.close();
});
closeAfterEach();

function closed<T extends { close(): void }>(group: T): T {
  closing.push(group);
  return group;
}

const READ = [IN_OPEN, IN_ACCESS, IN_CLOSE_NOWRITE];
const ALL = IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE;

// an open without a request to the daemon must be reported, too
describe.each(['verify=open', 'verify=read'])('in a mount with %s', (word) => {
  let mounted: Mounted;
  let other: Mounted;

  beforeAll(async () => {
    const source = scratch.directory('source');
    mkdirSync(join(source, 'directory'));
    writeFileSync(join(source, 'file'), 'the file');
    writeFileSync(join(source, 'directory/below'), 'below');
    writeFileSync(join(source, 'large'), Buffer.alloc(100_000, 'large '));
    symlinkSync('file', join(source, 'link'));
    mknod(join(source, 'fifo'), 0o010644);
    const { image } = await scratch.pack(source);
    mounted = await scratch.mount(image, { words: [word] });
    other = await scratch.mount(image, { words: [word] });
  });

  /** Expects that the handle opens the file at `path`, here and in another mount of the image. */
  function expectOpens(handle: FileHandle, name: string): void {
    for (const { path } of [mounted, other]) {
      const { ino, mode } = fstatSync(openedHandle(path, handle, O_PATH));
      const named = lstatSync(join(path, name));
      expect({ ino, mode }).toEqual({ ino: named.ino, mode: named.mode });
    }
    expect(handle).toEqual(handleOf(mounted.at(name)));
  }

  describe('inotify', () => {
    test('reports events of a file and in a directory', () => {
      const inotify = closed(new Inotify());
      const file = inotify.watch(mounted.at('file'), ALL);
      const directory = inotify.watch(mounted.at('directory'), ALL);
      readFileSync(mounted.at('file'));
      readFileSync(mounted.at('directory/below'));
      const events = inotify.events();
      expect(events.filter(({ watch }) => watch === file).map(({ mask }) => mask)).toEqual(READ);
      const inside = events.filter(({ watch }) => watch === directory);
      expect(inside.map(({ mask, name }) => [mask, name])).toEqual(READ.map((mask) => [mask, 'below']));
    });

    test.each(['file', 'directory', 'large', 'fifo'])('shows a handle that opens in /proc/PID/fdinfo: %s', (name) => {
      const inotify = closed(new Inotify());
      inotify.watch(mounted.at(name), ALL);
      dropCaches();
      const [handle] = handlesInFdinfo(inotify.fd) as [FileHandle];
      const fd = openedHandle(mounted.path, handle, O_PATH);
      expect(handlesInFdinfo(inotify.fd, process.pid)).toEqual([handle]);
      expect(fstatSync(fd).ino).toBe(lstatSync(mounted.at(name)).ino);
      expectOpens(handle, name);
    });

    test('continues after caches are dropped, also for files opened by handle', () => {
      const inotify = closed(new Inotify());
      const handle = handleOf(mounted.at('file'));
      inotify.watch(mounted.at('file'), IN_OPEN);
      dropCaches();
      closeSync(openSync(mounted.at('file'), 'r'));
      expect(inotify.events().map(({ mask }) => mask)).toEqual([IN_OPEN]);
      dropCaches();
      openedHandle(mounted.path, handle, constants.O_RDONLY);
      expect(inotify.events().map(({ mask }) => mask)).toEqual([IN_OPEN]);
    });

    test('of another process: its handles in /proc open', async () => {
      const program = `
        import ctypes, sys
        libc = ctypes.CDLL(None)
        fd = libc.inotify_init1(0)
        libc.inotify_add_watch(fd, sys.argv[1].encode(), 0xfff)
        print(fd, flush=True)
        sys.stdin.read()`;
      const child = spawn('python3', ['-c', program.replace(/^ {8}/gm, ''), mounted.at('file')]);
      try {
        const [line] = (await once(child.stdout, 'data')) as [Buffer];
        dropCaches();
        const [handle] = handlesInFdinfo(Number(line.toString()), child.pid as number) as [FileHandle];
        expectOpens(handle, 'file');
      } finally {
        child.stdin.end();
        await once(child, 'exit');
      }
    });
  });

  describe('fanotify', () => {
    const MASK = FAN_OPEN | FAN_ACCESS | FAN_CLOSE_NOWRITE;

    function markedDirectory(report: number): Fanotify {
      const fanotify = closed(new Fanotify(report));
      const mask = MASK | FAN_ONDIR | FAN_EVENT_ON_CHILD;
      expect(fanotify.mark(mounted.at('directory'), FAN_MARK_INODE, mask)).toBe('ok');
      return fanotify;
    }

    test('reports the handle of the file that an event is about', () => {
      const fanotify = markedDirectory(FAN_REPORT_FID);
      readFileSync(mounted.at('directory/below'));
      const events = fanotify.events();
      expect(events.reduce((all, { mask }) => all | mask, 0)).toBe(MASK);
      for (const { fd, handle } of events) {
        expect(fd).toBe(-1);
        expect(handle).toEqual(handleOf(mounted.at('directory/below')));
      }
      dropCaches();
      expectOpens(events[0]?.handle as FileHandle, 'directory/below');
    });

    test('reports the handle of the directory and the name in it', () => {
      const fanotify = markedDirectory(FAN_REPORT_FID | FAN_REPORT_DFID_NAME);
      readFileSync(mounted.at('directory/below'));
      const { handle, directory } = fanotify.events()[0] as FanotifyEvent;
      dropCaches();
      expect(directory?.name).toBe('below');
      expectOpens(directory?.handle as FileHandle, 'directory');
      expectOpens(handle as FileHandle, 'directory/below');
      // the directory is connected to its path, and so is the name in it
      const fd = openedHandle(mounted.path, directory?.handle as FileHandle, constants.O_RDONLY);
      expect(readFileSync(`/proc/self/fd/${fd}/below`, 'utf8')).toBe('below');
    });

    test('reports the listing of a directory', () => {
      const fanotify = markedDirectory(FAN_REPORT_FID);
      readdirSync(mounted.at('directory'));
      const [first] = fanotify.events();
      expect((first as FanotifyEvent).mask & FAN_ONDIR).toBe(FAN_ONDIR);
      expect(first?.handle).toEqual(handleOf(mounted.at('directory')));
    });

    test('shows handles of its marks in /proc/PID/fdinfo', () => {
      const fanotify = markedDirectory(FAN_REPORT_FID);
      dropCaches();
      const [handle] = handlesInFdinfo(fanotify.fd) as [FileHandle];
      expectOpens(handle, 'directory');
    });

    test('of one descriptor reports handles of one mount', () => {
      const fanotify = markedDirectory(FAN_REPORT_FID);
      expect(fanotify.mark(mounted.at('file'), FAN_MARK_INODE, FAN_OPEN)).toBe('ok');
      expect(fanotify.mark(other.at('file'), FAN_MARK_INODE, FAN_OPEN)).toBe('EXDEV');
    });

    test.each([
      ['mount', FAN_MARK_MOUNT],
      ['file system', FAN_MARK_FILESYSTEM],
    ])('on the whole %s reports open files, not handles', (_, what) => {
      // FUSE has no f_fsid, with which events of several file systems name theirs (fanotify_test_fsid)
      const withHandles = closed(new Fanotify(FAN_REPORT_FID));
      expect(withHandles.mark(mounted.path, what, FAN_OPEN)).toBe('ENODEV');
      const fanotify = closed(new Fanotify(0));
      expect(fanotify.mark(mounted.path, what, FAN_OPEN)).toBe('ok');
      const fd = openSync(mounted.at('directory/below'), 'r');
      const [event] = fanotify.events() as [FanotifyEvent];
      expect(event.mask).toBe(FAN_OPEN);
      expect(fstatSync(event.fd).ino).toBe(fstatSync(fd).ino);
      closeSync(event.fd);
      closeSync(fd);
    });
  });
});
