/** inotify(7) in the process of the test: to see who opens files, and to have watches. */
import { closeSync, readSync } from 'node:fs';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const inotifyInitFn = libc.func('int inotify_init1(int flags)');
const addWatchFn = libc.func('int inotify_add_watch(int fd, const char *path, uint32_t mask)');
const fanotifyInitFn = libc.func('int fanotify_init(unsigned int flags, unsigned int eventFlags)');
const fanotifyMarkFn = libc.func(
  'int fanotify_mark(int fd, unsigned int flags, uint64_t mask, int directory, const char *path)',
);

const IN_MODIFY = 0x2;
const IN_OPEN = 0x20;
const NONBLOCK_CLOEXEC = 0o2004000;
const AT_FDCWD = -100;
const FAN_MARK_ADD = 1;
const FAN_CLOSE_WRITE = 8;
/** FAN_CLOEXEC, FAN_REPORT_FID: without it a group may watch no inode by its handle. */
const FAN_FLAGS = 0x1 | 0x200;

function opened(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: errno ${koffi.errno()}`);
  return result;
}

/** A descriptor of an inotify instance that watches these paths. */
export function watchByInotify(paths: readonly string[], mask: number = IN_MODIFY): number {
  const fd = opened(inotifyInitFn(NONBLOCK_CLOEXEC) as number, 'inotify_init1');
  for (const path of paths) opened(addWatchFn(fd, path, mask) as number, `inotify_add_watch ${path}`);
  return fd;
}

/** A descriptor of a fanotify group that watches the inodes of these paths. */
export function watchByFanotify(paths: readonly string[]): number {
  const fd = opened(fanotifyInitFn(FAN_FLAGS, 0) as number, 'fanotify_init');
  for (const path of paths) {
    opened(fanotifyMarkFn(fd, FAN_MARK_ADD, FAN_CLOSE_WRITE, AT_FDCWD, path) as number, `fanotify_mark ${path}`);
  }
  return fd;
}

/** Counts the opens of files. */
export class OpensOf {
  readonly #fd: number;

  constructor(paths: readonly string[]) {
    this.#fd = watchByInotify(paths, IN_OPEN);
  }

  /** Events since the last call, equal ones after another as one. */
  count(): number {
    const events = Buffer.alloc(4096);
    try {
      // struct inotify_event without a name
      return readSync(this.#fd, events) / 16;
    } catch {
      return 0; // EAGAIN
    }
  }

  end(): void {
    closeSync(this.#fd);
  }
}
