/** `cfs-info mounts`: the mounts of this machine, from the mount table and each daemon's own answer. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { printable } from '../../src/base/bytes.ts';
import { withoutDebugger } from '../../src/base/debugger-flags.ts';
import { programPath } from '../../src/base/installation.ts';
import { jsonText } from '../../src/base/json-text.ts';
import type { SavedSourcesJson, SourceJson } from '../../src/mount-info/saved-sources.ts';
import { listMounts, type MountEntry, mountOfId } from '../../src/system/mount-table.ts';
import type { AskedMount } from './ask-mounts.ts';
import { formatLines } from './inode.ts';
import type { Output } from './output.ts';

/** How long a daemon may take to answer. */
const PATIENCE_MS = 5_000;
const NO_ANSWER = `its daemon has not answered for ${PATIENCE_MS / 1000} s`;
const NOT_ASKED = 'asking it failed';
const MOUNT_TYPE = 'fuse.cfs';

/** Each mount of cfs that this process can see. */
export const cfsMounts = (): MountEntry[] => listMounts().filter(({ type }) => type === MOUNT_TYPE);

/** As `cfsMounts`, and the answer of each daemon. */
export async function askMounts(): Promise<{ entries: readonly MountEntry[]; answers: readonly AskedMount[] }> {
  const entries = cfsMounts();
  return { entries, answers: await askAll(entries.map(({ mountId }) => mountId)) };
}

/** Shows each mount of cfs that this process can see; leftovers of a dead daemon are not shown. */
export async function showMounts(json: boolean, out: Output): Promise<void> {
  const { entries, answers } = await askMounts();
  let shown = 0;
  const gone: MountEntry[] = [];
  for (const [i, entry] of entries.entries()) {
    const answer = answers[i] as AskedMount;
    if (answer.state === 'gone') {
      gone.push(entry);
      continue;
    }
    if (json) out.jsonElement(jsonOfMount(entry, answer));
    else out.text((shown++ > 0 ? '\n' : '') + textOfMount(entry, answer));
  }
  if (json) out.jsonEnd();
  else if (process.stdout.isTTY) hint(entries, gone);
}

/** For a person: why the list is empty, and which dead mounts there are. */
function hint(entries: readonly MountEntry[], gone: readonly MountEntry[]): void {
  if (entries.length === gone.length) process.stderr.write('cfs-info: nothing is mounted\n');
  for (const { mountId, mountpointBytes } of gone) {
    if (mountOfId(mountId) === undefined) continue;
    process.stderr.write(`cfs-info: the daemon of ${printable(mountpointBytes)} is dead: umount(8) removes it\n`);
  }
}

/**
 * The answers in the order of the ids. A mount without an answer costs one process, and the next process queries the
 * others.
 */
async function askAll(mountIds: readonly number[]): Promise<AskedMount[]> {
  const answers: AskedMount[] = [];
  while (answers.length < mountIds.length) {
    const { told, reason } = await askSome(mountIds.slice(answers.length));
    answers.push(...told);
    if (answers.length < mountIds.length) answers.push({ state: 'unknown', reason });
  }
  return answers;
}

/** The answers up to the first mount without one in time, and the reason why there are no more. */
function askSome(mountIds: readonly number[]): Promise<{ told: AskedMount[]; reason: string }> {
  return new Promise((resolve, reject) => {
    const program = programPath('cfs-ask-mounts.js');
    const child = spawn(process.execPath, [...withoutDebugger(), program, ...mountIds.map(String)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const told: AskedMount[] = [];
    const finish = (reason: string): void => {
      clearTimeout(timer);
      // one that is blocked in the kernel may not die yet: it is not waited for
      child.kill('SIGKILL');
      child.stdout.destroy();
      child.unref();
      resolve({ told, reason });
    };
    const timer = setTimeout(() => finish(NO_ANSWER), PATIENCE_MS);
    const lines = createInterface(child.stdout);
    lines.on('line', (line) => {
      told.push(JSON.parse(line) as AskedMount);
      timer.refresh();
    });
    lines.on('close', () => finish(NOT_ASKED));
    child.on('error', reject);
  });
}

function textOfMount({ mountpointBytes, source, mountId }: MountEntry, answer: AskedMount): string {
  const lines: [key: string, value: string][] = [['mount', printable(mountpointBytes)]];
  if (answer.state !== 'mounted') {
    lines.push(['source', source], ['mount id', String(mountId)]);
    lines.push(['state', answer.state === 'unknown' ? answer.reason : 'hidden: another mount is on top of it']);
    return formatLines(lines);
  }
  const { sources, pid, release, imageId } = answer;
  const [image, ...others] = sources.sources;
  lines.push(['image', pathText(image)], ['id', imageId]);
  for (const other of others) lines.push([other.kind, pathText(other)]);
  lines.push(['options', sources.options], ['daemon', `pid ${pid}, version ${release}`], ['mount id', String(mountId)]);
  return formatLines(lines);
}

const pathText = (source: SourceJson | undefined): string => source?.path ?? `gone; it was given as ${source?.given}`;

/** Keys without a value are omitted. */
interface MountJson {
  readonly mountpoint: string;
  readonly mountpointBase64: string | undefined;
  readonly mountId: number;
  /** "major:minor" */
  readonly dev: string;
  readonly state: AskedMount['state'];
  readonly reason: string | undefined;
  readonly pid: number | undefined;
  /** Version of the program that serves it. */
  readonly release: string | undefined;
  readonly imageId: string | undefined;
  readonly options: string | undefined;
  readonly sources: SavedSourcesJson['sources'] | undefined;
}

function jsonOfMount({ mountpointBytes, mountId, device }: MountEntry, answer: AskedMount): MountJson {
  const mountpoint = jsonText(mountpointBytes);
  const mounted = answer.state === 'mounted' ? answer : undefined;
  return {
    mountpoint: mountpoint.text,
    mountpointBase64: mountpoint.base64,
    mountId,
    dev: device,
    state: answer.state,
    reason: answer.state === 'unknown' ? answer.reason : undefined,
    pid: mounted?.pid,
    release: mounted?.release,
    imageId: mounted?.imageId,
    options: mounted?.sources.options,
    sources: mounted?.sources.sources,
  };
}
