/** cfs-mkimage and sources that cannot be packed, or that change: an error that names the file, and no image. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, test } from 'vitest';
import { mknod, setTime } from '../support/libc.ts';
import {
  expectImageKept,
  expectWhole,
  manyFiles,
  messageOf,
  mkimage,
  objectsIn,
  packed,
  packInterrupted,
} from './cli.ts';
import { useScratch } from './harness.ts';
import { NOBODY, type Outcome, run } from './run.ts';

const scratch = useScratch();
const { store } = scratch;

/** Packs `source` over an existing image, which must stay as it was; returns the message. */
async function refusal(source: string, ...options: readonly string[]): Promise<string> {
  const image = `${scratch.directory('images')}/image.cfs`;
  writeFileSync(image, 'the image before');
  const message = messageOf(await mkimage(scratch, [...options, source, image]), 6);
  expectImageKept(image, 'the image before');
  return message;
}

describe('a source that is not a directory', () => {
  test('and does not exist is reported; no store is made for it', async () => {
    const message = await refusal(scratch.at('nowhere'), '--store', scratch.at('needless'));
    expect(message).toContain(`Cannot pack ${scratch.at('nowhere')}: `);
    expect(message).toContain('no such file or directory');
    expect(existsSync(scratch.at('needless'))).toBe(false);
  });

  test.each(['file', 'fifo', 'dangling', 'file/below', 'loop'])('but %s is reported, with the reason', async (name) => {
    const root = scratch.directory('no-directory');
    writeFileSync(`${root}/file`, '');
    mknod(`${root}/fifo`, 0o10644);
    symlinkSync('nowhere', `${root}/dangling`);
    symlinkSync('loop', `${root}/loop`);
    const message = await refusal(`${root}/${name}`);
    expect(message).toContain(`Cannot pack ${root}/${name}: `);
    const reasons = {
      file: 'not a directory',
      fifo: 'not a directory',
      dangling: 'no such file',
      'file/below': 'not a directory',
      loop: 'too many symbolic links',
    };
    expect(message).toContain(reasons[name as keyof typeof reasons]);
  });
});

describe('the store and the source', () => {
  test('cannot be the same directory', async () => {
    const own = scratch.at('own-store');
    await packed(scratch, ['--store', own, scratch.directory('empty'), scratch.at('empty.cfs')]);
    expect(await refusal(own, '--store', own)).toContain('it is the repository that the objects go to');
  });

  test('may contain each other: the store is left out, with a line on stderr', async () => {
    const root = scratch.directory('with-store');
    writeFileSync(`${root}/file`, 'x'.repeat(1000));
    const inner = `${root}/store`;
    await packed(scratch, ['--store', inner, root, scratch.at('first.cfs')]).catch(() => undefined);
    setTime(root, 1000, 0);
    const args = ['--print-id', '--store', inner, root, scratch.at('with-store.cfs')];
    const { status, stdout, stderr } = await mkimage(scratch, args);
    expect({ status, stderr }).toEqual({ status: 0, stderr: `cfs-mkimage: ${inner} is the store: left out\n` });
    renameSync(inner, scratch.at('moved-store'));
    setTime(root, 1000, 0);
    const without = await mkimage(scratch, [
      '--print-id',
      '--store',
      scratch.at('moved-store'),
      root,
      scratch.at('w.cfs'),
    ]);
    expect(without).toMatchObject({ status: 0, stderr: '', stdout });
    expectWhole(scratch.at('moved-store'));
  });
});

describe('files that block a careless reader', () => {
  test('fifos, sockets and devices are packed without opening them', async () => {
    const root = scratch.directory('special');
    mknod(`${root}/fifo`, 0o10644);
    mknod(`${root}/socket`, 0o140755);
    mknod(`${root}/console`, 0o20600, 0x501);
    mknod(`${root}/no-driver`, 0o60600, 0xfff00);
    expect(await packed(scratch, [root, scratch.at('special.cfs')])).toMatchObject({
      entries: 5,
      files: 0,
      objects: 0,
    });
  });

  test('a file of /proc, which has no size, is packed with its content, or refused', async () => {
    const root = scratch.directory('proc');
    mkdirSync(`${root}/kernel`);
    await run(['mount', '--bind', '/proc/sys/kernel/random', `${root}/kernel`]);
    const outcome = await mkimage(scratch, [root, scratch.at('proc.cfs')]);
    expect([0, 6]).toContain(outcome.status);
  });
});

describe('files that this user may not read', () => {
  /** Packs as the user nobody, into a store of this user, over an existing image. */
  async function refusalOfNobody(source: string): Promise<string> {
    const home = scratch.directory('nobody');
    chownSync(home, NOBODY, NOBODY);
    const image = `${home}/image.cfs`;
    writeFileSync(image, 'the image before');
    const args = ['--store', `${home}/store`, source, image];
    const outcome: Outcome = await run(scratch.nobody().tool('cfs-mkimage', args));
    const message = messageOf(outcome, 6);
    expectImageKept(image, 'the image before');
    if (existsSync(`${home}/store`)) expectWhole(`${home}/store`);
    return message;
  }

  test('are reported: a file', async () => {
    const root = manyFiles(scratch.directory('unreadable'), 100);
    chmodSync(`${root}/file000050`, 0o600);
    expect(await refusalOfNobody(root)).toBe(`Cannot read ${root}/file000050: permission denied.`);
  });

  test('are reported: a directory', async () => {
    const root = scratch.directory('unreadable');
    mkdirSync(`${root}/closed`, { mode: 0o700 });
    expect(await refusalOfNobody(root)).toBe(`Cannot read ${root}/closed: permission denied.`);
  });

  test('are reported: a directory that can be listed, not searched', async () => {
    const root = scratch.directory('unreadable');
    mkdirSync(`${root}/listed`);
    writeFileSync(`${root}/listed/file`, '');
    chmodSync(`${root}/listed`, 0o744);
    expect(await refusalOfNobody(root)).toBe(`Cannot read ${root}/listed/file: permission denied.`);
  });

  test('are reported: the source itself, and the directory above it', async () => {
    const root = scratch.directory('unreadable');
    mkdirSync(`${root}/source`, { mode: 0o755 });
    chmodSync(root, 0o700);
    expect(await refusalOfNobody(root)).toContain(`${root}: permission denied`);
    expect(await refusalOfNobody(`${root}/source`)).toContain(`${root}/source: permission denied`);
  });
});

describe('a source that changes while it is packed', () => {
  const FILES = 4000;

  /** Stops packing 4,000 files in the middle, calls `happen`, continues, and returns the message. */
  async function refusalAfter(happen: (root: string) => void): Promise<string> {
    const root = manyFiles(scratch.directory('changing'), FILES);
    mkdirSync(`${root}/zzz`);
    const changing = scratch.directory('changing-store');
    const image = scratch.at('changing.cfs');
    writeFileSync(image, 'the image before');
    const outcome = await packInterrupted(scratch, changing, ['--store', changing, root, image], () => happen(root));
    const message = messageOf(outcome, 6);
    expectImageKept(image, 'the image before');
    expectWhole(changing);
    rmSync(root, { recursive: true });
    return message.replaceAll(root, 'SOURCE');
  }

  const LAST = `file${String(FILES - 1).padStart(6, '0')}`;

  test('is reported if a file vanishes', async () => {
    expect(await refusalAfter((root) => unlinkSync(`${root}/${LAST}`))).toBe(
      `Cannot read SOURCE/${LAST}: no such file or directory. It vanished while it was packed.`,
    );
  });

  test('is reported if a file is added', async () => {
    expect(await refusalAfter((root) => writeFileSync(`${root}/added`, ''))).toContain(
      'Cannot pack SOURCE: it changed',
    );
  });

  test('is reported if a directory is replaced, and nothing outside is packed', async () => {
    const outside = scratch.directory('outside');
    writeFileSync(`${outside}/secret`, 'a secret that must not be in the store '.repeat(10));
    const replace = (root: string): void => {
      rmSync(`${root}/zzz`, { recursive: true });
      symlinkSync(outside, `${root}/zzz`);
    };
    expect(await refusalAfter(replace)).toContain('Cannot pack SOURCE: it changed while it was packed');
  });

  test('is reported if a program appends all the time, with the name of the file', async () => {
    const root = scratch.directory('appended');
    const file = `${root}/log`;
    writeFileSync(file, Buffer.alloc(32 << 20, 'line\n'));
    const script = `exec 3>>"$0"; echo ready; while :; do echo line >&3; done`;
    const writer = spawn('sh', ['-c', script, file], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(writer.stdout, 'data');
      for (let i = 0; i < 3; i++) {
        expect(await refusal(root)).toContain(
          `Cannot pack ${file}: it changed while it was packed. Pack a snapshot, or stop the program that writes to it`,
        );
      }
    } finally {
      writer.kill('SIGKILL');
      await once(writer, 'close');
    }
    expectWhole(store);
    expect((await packed(scratch, [root, scratch.at('appended.cfs')])).bytes).toBe(statSync(file).size);
  });

  test('is reported if a program truncates and writes all the time, and no object is wrong', async () => {
    const root = scratch.directory('rewritten');
    const script = `echo ready; while :; do head -c 3000000 /dev/urandom > "$0"; done`;
    const writer = spawn('sh', ['-c', script, `${root}/file`], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(writer.stdout, 'data');
      for (let i = 0; i < 5; i++) {
        const image = scratch.at('rewritten.cfs');
        const outcome = await mkimage(scratch, ['--quiet', root, image]);
        // packing may succeed between two writes
        if (outcome.status !== 0) expect(messageOf(outcome, 6)).toMatch(/it changed while it was packed/);
      }
    } finally {
      writer.kill('SIGKILL');
      await once(writer, 'close');
    }
    expectWhole(store);
  });

  test('keeps the objects that were stored, and the next run uses them', async () => {
    const root = manyFiles(scratch.directory('resumed'), FILES);
    const resumed = scratch.directory('resumed-store');
    // without fsync each object has its name at once
    const args = ['--no-fsync', '--threads', '1', '--store', resumed, root, scratch.at('resumed.cfs')];
    const outcome = await packInterrupted(scratch, resumed, args, () => writeFileSync(`${root}/added`, ''));
    expect(messageOf(outcome, 6)).toContain('it changed while it was packed');
    const kept = expectWhole(resumed).length;
    expect(kept).toBeGreaterThan(100);
    expect((await packed(scratch, args)).newObjects).toBe(FILES - kept);
    expect(objectsIn(resumed)).toHaveLength(FILES);
  });
});
