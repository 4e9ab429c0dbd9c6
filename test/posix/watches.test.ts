/**
 * Events of inotify(7) and fanotify(7) for changes in a merged directory, and of files that are copied up: those of a
 * plain directory, in the same order.
 */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import * as notify from '../e2e/notify.ts';
import { dropCaches, until } from '../e2e/system.ts';
import * as calls from './calls.ts';
import { ok } from './cases.ts';
import { MAKE_SITE, type Site, TESTED } from './sites.ts';

const scratch = useScratch();

const FILES = ['file', 'moved', 'gone', 'replaced', 'linked', 'truncated'];

let lower: string;

beforeAll(() => {
  lower = scratch.directory('lower');
  mkdirSync(join(lower, 'merged/below'), { recursive: true });
  for (const name of FILES) writeFileSync(join(lower, 'merged', name), 'of the lower layer');
});

const closing: { close(): void }[] = [];
// a watch keeps a mount busy
afterEach(() => {
  for (const group of closing.splice(0)) group.close();
});

function closed<T extends { close(): void }>(group: T): T {
  closing.push(group);
  return group;
}

/** The words of a mask; `words` are those that count. */
const wordsOf = (mask: number, words: Readonly<Record<string, number>>): string =>
  Object.entries(words)
    .filter(([, bit]) => (mask & bit) !== 0)
    .map(([word]) => word)
    .join(' ');

const {
  IN_ATTRIB,
  IN_CLOSE_WRITE,
  IN_CREATE,
  IN_DELETE,
  IN_DELETE_SELF,
  IN_IGNORED,
  IN_ISDIR,
  IN_MODIFY,
  IN_MOVE_SELF,
  IN_MOVED_FROM,
  IN_MOVED_TO,
} = notify;
const IN: Readonly<Record<string, number>> = {
  attrib: IN_ATTRIB,
  'close after writing': IN_CLOSE_WRITE,
  create: IN_CREATE,
  delete: IN_DELETE,
  'delete itself': IN_DELETE_SELF,
  modify: IN_MODIFY,
  'move itself': IN_MOVE_SELF,
  'moved from': IN_MOVED_FROM,
  'moved to': IN_MOVED_TO,
  ignored: IN_IGNORED,
  directory: IN_ISDIR,
};
const IN_CHANGES = Object.values(IN).reduce((all, bit) => all | bit) & ~(IN_IGNORED | IN_ISDIR);

const { FAN_ATTRIB, FAN_CLOSE_WRITE, FAN_CREATE, FAN_DELETE, FAN_MODIFY, FAN_MOVED_FROM, FAN_MOVED_TO } = notify;
const FAN: Readonly<Record<string, number>> = {
  attrib: FAN_ATTRIB,
  'close after writing': FAN_CLOSE_WRITE,
  create: FAN_CREATE,
  delete: FAN_DELETE,
  modify: FAN_MODIFY,
  'moved from': FAN_MOVED_FROM,
  'moved to': FAN_MOVED_TO,
  directory: notify.FAN_ONDIR,
};

/** Changes in the merged directory `at`, and the events of it. */
const CHANGES: readonly (readonly [string, (at: (name: string) => string) => void, readonly string[]])[] = [
  ['a new file', (at) => writeFileSync(at('new'), 'new'), ['create: new', 'modify: new', 'close after writing: new']],
  [
    'a file of the lower layer is written',
    (at) => appendFileSync(at('file'), '!'),
    ['modify: file', 'close after writing: file'],
  ],
  ['it gets another mode', (at) => chmodSync(at('file'), 0o600), ['attrib: file']],
  ['a file is truncated', (at) => ok(calls.truncate(at('truncated'), 3)), ['modify: truncated']],
  ['a file is renamed', (at) => renameSync(at('moved'), at('renamed')), ['moved from: moved', 'moved to: renamed']],
  [
    'a file is renamed to another directory',
    (at) => renameSync(at('renamed'), at('below/renamed')),
    ['moved from: renamed'],
  ],
  ['a file is replaced', (at) => renameSync(at('new'), at('replaced')), ['moved from: new', 'moved to: replaced']],
  ['a file is removed', (at) => unlinkSync(at('gone')), ['delete: gone']],
  ['a new link', (at) => linkSync(at('linked'), at('link')), ['create: link']],
  ['a symbolic link', (at) => symlinkSync('target', at('symlink')), ['create: symlink']],
  ['a new directory', (at) => mkdirSync(at('directory')), ['create directory: directory']],
  ['it is removed', (at) => rmdirSync(at('directory')), ['delete directory: directory']],
];

describe.each(TESTED)('on %s', (siteName) => {
  let site: Site;
  beforeEach(async () => {
    site = await MAKE_SITE[siteName](scratch, lower);
  });
  afterEach(() => site.end());

  const at = (name: string): string => join(site.root, 'merged', name);

  /** The events since the last call, as "words: name". */
  const namesOf = (inotify: notify.Inotify): string[] =>
    inotify.events().map(({ mask, name }) => `${wordsOf(mask, IN)}: ${name}`);

  test('inotify reports all changes in a directory', () => {
    const inotify = closed(new notify.Inotify());
    inotify.watch(at(''), IN_CHANGES);
    for (const [what, change, expected] of CHANGES) {
      change(at);
      // a new link is a change of the file's attributes, too, which is reported if the directory is in memory
      const events = namesOf(inotify).filter((event) => what !== 'a new link' || !event.startsWith('attrib'));
      expect({ what, events }).toEqual({ what, events: expected });
    }
  });

  test('the two parts of a rename have one cookie', () => {
    const inotify = closed(new notify.Inotify());
    const [merged, below] = [inotify.watch(at(''), IN_CHANGES), inotify.watch(at('below'), IN_CHANGES)];
    renameSync(at('moved'), at('below/moved'));
    const [from, to] = inotify.events() as [notify.InotifyEvent, notify.InotifyEvent];
    expect([from.watch, from.mask, to.watch, to.mask]).toEqual([merged, IN_MOVED_FROM, below, IN_MOVED_TO]);
    expect(from.cookie).toBe(to.cookie);
    expect(from.cookie).not.toBe(0);
  });

  test('a watch of a file goes on when the file is copied up, renamed and removed', () => {
    const inotify = closed(new notify.Inotify());
    inotify.watch(at('file'), IN_CHANGES);
    readFileSync(at('file'));
    expect(namesOf(inotify)).toEqual([]);
    dropCaches();
    chmodSync(at('file'), 0o600);
    appendFileSync(at('file'), '!');
    expect(namesOf(inotify)).toEqual(['attrib: ', 'modify: ', 'close after writing: ']);
    renameSync(at('file'), at('below/file'));
    dropCaches();
    appendFileSync(at('below/file'), '!');
    expect(namesOf(inotify)).toEqual(['move itself: ', 'modify: ', 'close after writing: ']);
    unlinkSync(at('below/file'));
    expect(namesOf(inotify)).toEqual(['attrib: ', 'delete itself: ', 'ignored: ']);
  });

  test('fanotify reports all changes in a directory, with its handle and the names', () => {
    const { FAN_EVENT_ON_CHILD, FAN_MARK_INODE, FAN_ONDIR, FAN_REPORT_DFID_NAME, FAN_REPORT_FID } = notify;
    const fanotify = closed(new notify.Fanotify(FAN_REPORT_FID | FAN_REPORT_DFID_NAME));
    const mask = Object.values(FAN).reduce((all, bit) => all | bit) | FAN_ONDIR | FAN_EVENT_ON_CHILD;
    expect(fanotify.mark(at(''), FAN_MARK_INODE, mask)).toBe('ok');
    for (const [what, change, expected] of CHANGES) {
      change(at);
      // events of one file that were not read yet are one event
      const events = fanotify.events();
      const reported = events.flatMap(({ mask, directory }) => `${wordsOf(mask, FAN)}: ${directory?.name}`);
      const names = new Set(expected.map((event) => event.replace(/^.*: /, '')));
      for (const name of names) {
        const words = (list: readonly string[]): string[] =>
          list
            .filter((event) => event.endsWith(`: ${name}`))
            .flatMap((event) => event.replace(/: .*$/, '').split(' '))
            .sort();
        expect({ what, name, words: words(reported) }).toEqual({ what, name, words: words(expected) });
      }
    }
  });

  test('a writer in another descriptor is reported by its close, also of a file without a name', async () => {
    const inotify = closed(new notify.Inotify());
    inotify.watch(at('file'), IN_CHANGES);
    const fd = openSync(at('file'), 'r+');
    unlinkSync(at('file'));
    writeSync(fd, 'x');
    closeSync(fd);
    const events: string[] = [];
    // the kernel ends the watch when the last user of the inode is gone
    await until('the watch ends', () => {
      events.push(...namesOf(inotify));
      return events.includes('ignored: ');
    });
    expect(events).toEqual(['attrib: ', 'modify: ', 'close after writing: ', 'delete itself: ', 'ignored: ']);
  });
});

afterAll(() => {
  for (const group of closing) group.close();
});
