/** Signing images, and mounting only signed ones. */
import {
  chownSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { CHECKSUM_SIZE } from '../../src/image/image-parts.ts';
import { EXIT } from '../../tools/cli.ts';
import { messageOf, packed } from './cli.ts';
import { expectEqual, type Packed, useScratch } from './harness.ts';
import { HERE, NOBODY, type Outcome, run, succeed } from './run.ts';
import { mountedAt } from './system.ts';

const scratch = useScratch();
const ALGORITHMS = { ed25519: 'EdDSA', p256: 'ES256' } as const;
const KINDS = Object.keys(ALGORITHMS) as (keyof typeof ALGORITHMS)[];

let source: string;
let image: string;
let id: string;
const key = (name: string): string => scratch.at(`${name}.pem`);
const pub = (name: string): string => scratch.at(`${name}.pub`);

async function makeKey(name: string, ...kind: readonly string[]): Promise<void> {
  await succeed(['openssl', 'genpkey', ...kind, '-out', key(name)]);
  await succeed(['openssl', 'pkey', '-in', key(name), '-pubout', '-out', pub(name)]);
}

beforeAll(async () => {
  source = scratch.directory('source');
  for (let i = 0; i < 5; i++) writeFileSync(join(source, `file-${i}`), `${i}`.repeat(10 + 1000 * i));
  await makeKey('ed25519', '-algorithm', 'ed25519');
  await makeKey('other', '-algorithm', 'ed25519');
  await makeKey('p256', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256');
  await makeKey('p384', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384');
  await makeKey('rsa', '-algorithm', 'RSA');
  ({ image, id } = await scratch.pack(source));
});

const info = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-info', args);

/** A copy of the image, under another name. */
function copyOf(name: string): string {
  copyFileSync(image, scratch.at(name));
  return scratch.at(name);
}

async function signedCopy(name: string, by: string, ...more: readonly string[]): Promise<string> {
  const copy = copyOf(name);
  expect(await info('sign', '--key', key(by), ...more, copy)).toMatchObject({ status: 0, stderr: '' });
  return copy;
}

/** Expects that nothing is mounted; returns the message. */
async function refusedMount(at: string, words: readonly string[], status: number = EXIT.mount): Promise<string> {
  const mnt = scratch.directory('mnt');
  const outcome = await scratch.tool('cfs-mount', ['--repo', scratch.store, '-o', words.join(','), at, mnt]);
  expect(mountedAt(mnt)).toBeUndefined();
  return messageOf(outcome, status, 'cfs-mount');
}

type Signed = Packed & { readonly signature: { where: string; algorithm: string; keyId: string } };

describe.each(KINDS)('with a key of %s', (kind) => {
  test.each([
    ['beside the image', []],
    ['in the image', ['--embed-signature']],
  ])('an image that cfs-mkimage signs %s is verified and mounted', async (_, more) => {
    const isEmbedded = more.length > 0;
    const target = scratch.at(`${kind}-${more.length}.cfs`);
    const args = ['--store', scratch.store, '--sign', key(kind), ...more, source, target];
    const { id: signedId, signature, imageBytes } = (await packed(scratch, args)) as Signed;
    const where = isEmbedded ? 'embedded' : `${target}.sig`;
    expect(signedId).toBe(id);
    expect(signature).toEqual({ where, algorithm: ALGORITHMS[kind], keyId: expect.stringMatching(/^[0-9a-f]{16}$/) });
    expect(imageBytes).toBe(readFileSync(target).length);
    expect(existsSync(`${target}.sig`)).toBe(!isEmbedded);

    const verified = await info('verify', '--json', '--key', pub('other'), '--key', pub(kind), target);
    expect(verified).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(verified.stdout)).toEqual({ image: target, id, signature: { ...signature, key: pub(kind) } });
    expect((await info('id', target)).stdout).toBe(`${id}\n`);

    for (const words of [[`key=${pub(kind)}`], ['require-signature', `key=${pub('other')}`, `key=${pub(kind)}`]]) {
      const { report, path } = await scratch.mount(target, { words });
      expect(report).toMatchObject({ id, signature: { where, key: pub(kind) } });
      await expectEqual(source, path);
    }
    // a signature does not hinder a mount that requires none
    const plain = await scratch.mount(target, { words: [`digest=${id}`] });
    expect(plain.report.signature).toBeUndefined();
    await expectEqual(source, plain.path);
  });
});

describe('cfs-mount -o require-signature', () => {
  test('refuses an image without a signature', async () => {
    const message = await refusedMount(image, ['require-signature', `key=${pub('ed25519')}`]);
    expect(message).toBe(
      `Cannot read image ${image}: it is not signed: it has no embedded signature, and there is no file ${image}.sig`,
    );
  });

  test.each(['kernel', 'fuse-native'])('refuses another key, with driver=%s', async (driver) => {
    const words = [`driver=${driver}`, `key=${pub('other')}`, `key=${pub('p256')}`];
    for (const more of [[], ['--embed-signature']]) {
      const message = await refusedMount(await signedCopy('by-another.cfs', 'ed25519', ...more), words);
      expect(message).toContain(`trusted: ${pub('other')}`);
      rmSync(scratch.at('by-another.cfs.sig'), { force: true });
    }
  });

  test('refuses the signature of another image', async () => {
    const tree = scratch.directory('another source');
    const another = await scratch.pack(tree, { args: ['--sign', key('ed25519')] });
    const copy = copyOf('another.cfs');
    copyFileSync(`${another.image}.sig`, `${copy}.sig`);
    expect(await refusedMount(copy, [`key=${pub('ed25519')}`])).toContain(
      `names the key ${pub('ed25519')}, but is not over this image`,
    );
  });

  test('refuses a signed image that was changed, before it examines its contents', async () => {
    const copy = await signedCopy('changed.cfs', 'ed25519', '--embed-signature');
    // an attacker omits the checksum, or computes a new one
    const bytes = readFileSync(copy).subarray(0, -CHECKSUM_SIZE);
    bytes[0] = 0;
    writeFileSync(copy, bytes);
    expect(await refusedMount(copy, [])).toContain('malformed manifest');
    expect(await refusedMount(copy, [`key=${pub('ed25519')}`])).toContain('is not over this image');
  });

  test('refuses hostile trailers, with and without a required signature', async () => {
    const file = readFileSync(await signedCopy('hostile.cfs', 'p256', '--embed-signature'));
    const bytes = file.subarray(0, -CHECKSUM_SIZE);
    for (const length of [0, bytes.length - 12, 0xffff_ffff]) {
      bytes.writeUInt32LE(length, bytes.length - 12);
      writeFileSync(scratch.at('hostile.cfs'), bytes);
      for (const words of [[], [`key=${pub('p256')}`]]) {
        expect(await refusedMount(scratch.at('hostile.cfs'), words)).toContain('malformed signature');
      }
      expect(messageOf(await info('id', scratch.at('hostile.cfs')), EXIT.image, 'cfs-info')).toContain(
        'malformed signature',
      );
    }
  });

  test('refuses options without keys, and empty keys', async () => {
    const refused = (...words: readonly string[]): Promise<string> => refusedMount(image, words, EXIT.usage);
    expect(await refused('require-signature')).toContain('require-signature needs a key: key=PUB.pem');
    expect(await refused('key=')).toContain('key= needs the file');
    expect(await refused('key=/none.pem')).toBe('Cannot read key /none.pem: no such file or directory');
    expect(await refused(`key=${pub('p384')}`)).toBe(
      `Cannot use key ${pub('p384')}: it is of type ec (secp384r1). Accepted are Ed25519 and ECDSA P-256`,
    );
    expect(await refused(`key=${pub('rsa')}`)).toContain('it is of type rsa (2048 bits)');
    expect(await refused(`key=${pub('ed25519')}`, `key=${key('other')}`)).toContain('it is a private key');
    expect(await refused(`key=${image}`)).toContain('it is not a key in PEM');
  });

  test('reports with --json the reason', async () => {
    const { status, stdout } = await scratch.tryMount(image, { words: [`key=${pub('p256')}`] });
    expect([status, JSON.parse(stdout)]).toEqual([
      EXIT.mount,
      { error: { kind: 'image', message: expect.stringContaining('it is not signed'), status: EXIT.mount } },
    ]);
  });

  test('finds the signature behind a link, and resolves key paths against its working directory', async () => {
    const copy = await signedCopy('v2.cfs', 'ed25519');
    symlinkSync(copy, scratch.at('latest.cfs'));
    const words = ['--json', '-o', 'key=ed25519.pub', 'latest.cfs', scratch.directory('mnt')];
    const { stdout } = await run(HERE.tool('cfs-mount', words, scratch.environment), { cwd: scratch.path });
    const mounted = scratch.adopt(JSON.parse(stdout));
    expect(mounted.report.signature).toMatchObject({ where: `${copy}.sig`, key: pub('ed25519') });
  });

  test('applies to ordinary users', async () => {
    const copy = await signedCopy('for-nobody.cfs', 'p256');
    const at = scratch.directory('mnt of nobody');
    await succeed(['chown', `${NOBODY}`, at]);
    const settings = { place: scratch.nobody(), helper: true, at };
    expect(await scratch.tryMount(copy, { ...settings, words: [`key=${pub('other')}`] })).toMatchObject({
      status: EXIT.mount,
    });
    await (await scratch.mount(copy, { ...settings, words: [`key=${pub('p256')}`] })).end();
  });
});

describe('a mount that requires a signature', () => {
  async function savedList(target: string): Promise<string> {
    const mounted = await scratch.mount(target, { words: [`key=${pub('ed25519')}`, 'noatime'] });
    const { stdout } = await info('sources', '--json', mounted.path);
    const list = scratch.at('list.json');
    writeFileSync(list, stdout);
    await mounted.unmount();
    return list;
  }

  const from = (list: string, ...args: readonly string[]): Promise<Outcome> =>
    scratch.tool('cfs-mount', ['--json', '--from', list, ...args]);

  test('requires it when it is made again from its list, even with another image', async () => {
    const copy = await signedCopy('saved.cfs', 'ed25519');
    const list = await savedList(copy);
    const again = await from(list);
    expect(again).toMatchObject({ status: 0 });
    const mounted = scratch.adopt(JSON.parse(again.stdout));
    expect(mounted.report.signature).toMatchObject({ key: pub('ed25519') });
    await mounted.unmount();

    const { mountpoint } = mounted.report;
    const refused = await from(list, image, mountpoint);
    expect([refused.status, refused.stderr]).toEqual([EXIT.mount, expect.stringContaining('it is not signed')]);
    rmSync(`${copy}.sig`);
    expect(await from(list)).toMatchObject({ status: EXIT.mount });
    rmSync(list);
  });

  test('finds an image that was moved with its signature in it, by its id and by its fs-verity digest', async () => {
    const copy = await signedCopy('stays.cfs', 'ed25519', '--embed-signature');
    const list = await savedList(copy);
    const digest = (await succeed(['fsverity', 'digest', '--compact', copy])).trim();
    const moved = join(scratch.directory('elsewhere'), 'renamed.cfs');
    renameSync(copy, moved);
    readFileSync(moved);
    for (const words of [[], ['-o', `digest=fsverity-sha256:${digest}`]]) {
      const again = await from(list, ...words);
      expect(again).toMatchObject({ status: 0 });
      const mounted = scratch.adopt(JSON.parse(again.stdout));
      expect(mounted.report).toMatchObject({ id, image: moved, signature: { where: 'embedded' } });
      await mounted.unmount();
    }
    rmSync(list);
  });

  test('accepts another key that is given beside the list', async () => {
    const list = await savedList(await signedCopy('rotated.cfs', 'ed25519'));
    await signedCopy('rotated.cfs', 'p256');
    expect(await from(list)).toMatchObject({ status: EXIT.mount });
    const rotated = await from(list, '-o', `key=${pub('p256')}`);
    expect(rotated).toMatchObject({ status: 0 });
    const mounted = scratch.adopt(JSON.parse(rotated.stdout));
    const { stdout } = await info('mounts', '--json');
    expect(stdout).toContain(`require-signature,key=${pub('p256')}"`);
    expect(stdout).not.toContain(pub('ed25519'));
    await mounted.unmount();
  });

  test('is not made if its list would have no room for the keys', async () => {
    const far = join(scratch.path, ...Array(20).fill('x'.repeat(200)));
    await succeed(['mkdir', '-p', far]);
    copyFileSync(pub('ed25519'), join(far, 'key'));
    const copy = await signedCopy('far.cfs', 'ed25519');
    expect(await refusedMount(copy, [`key=${far}/key`], EXIT.usage)).toContain('and a mount can store 4095');
    rmSync(scratch.at('x'.repeat(200)), { recursive: true });
  });

  test('continues in another server, without key and signature', async () => {
    const copy = await signedCopy('goes.cfs', 'ed25519');
    copyFileSync(pub('ed25519'), pub('goes'));
    const mounted = await scratch.mount(copy, { words: [`key=${pub('goes')}`] });
    for (const path of [copy, `${copy}.sig`, pub('goes')]) rmSync(path);
    process.kill(mounted.pid, 'SIGKILL');
    await expectEqual(source, mounted.path);
    await mounted.unmount();
  });

  test('continues under a service manager, without key and signature', async () => {
    const file = join(scratch.directory('long'), 'file');
    writeFileSync(file, 'first second third fourth fifth '.repeat(10));
    const target = scratch.at('long.cfs');
    await packed(scratch, ['--store', scratch.store, '--sign', key('ed25519'), join(file, '..'), target]);
    copyFileSync(pub('ed25519'), pub('service'));
    const mnt = scratch.directory('mnt');
    const words = ['-f', '--repo', scratch.store, '-o', `key=${pub('service')}`, target, mnt];
    const mount = HERE.tool('cfs-mount', words, scratch.environment);
    // from the second start on, both files are missing
    const script = `if [ -e "$0" ]; then rm -f '${pub('service')}' '${target}.sig'; fi; : > "$0"; exec "$@"`;
    const program = join(import.meta.dirname, 'service-manager.py');
    const command = ['sh', '-c', script, scratch.at('started'), ...mount];
    const lines = await succeed(['python3', program, mnt, join(mnt, 'file'), ...command]);
    expect(lines.split('\n').filter((line) => line.startsWith('read'))).toEqual([
      'read first ',
      'read second',
      'read  third',
    ]);
    expect(existsSync(pub('service'))).toBe(false);
  });
});

describe('cfs-info sign and verify', () => {
  test('show the signed image, the signer, and the place of the signature', async () => {
    const copy = copyOf('shown.cfs');
    const signed = await info('sign', '--json', '--key', key('p256'), copy);
    const { signature, ...rest } = JSON.parse(signed.stdout) as Signed;
    expect([rest, signature]).toEqual([
      { image: copy, id },
      expect.objectContaining({ where: `${copy}.sig`, algorithm: 'ES256' }),
    ]);
    const { stdout } = await info('verify', '--key', pub('p256'), copy);
    expect(stdout.trimEnd().split('\n')).toEqual([
      `image:        ${copy}`,
      `id:           ${id}`,
      `signature:    ${copy}.sig`,
      `signed by:    key ${signature.keyId} (ES256), ${pub('p256')}`,
    ]);
  });

  test('replace an existing signature, beside the image and in it', async () => {
    for (const more of [[], ['--embed-signature']]) {
      const copy = await signedCopy('again.cfs', 'other', ...more);
      chownSync(copy, NOBODY, NOBODY);
      await info('sign', '--key', key('p256'), ...more, copy);
      expect(statSync(copy)).toMatchObject({ uid: NOBODY, gid: NOBODY });
      expect(await info('verify', '--key', pub('other'), copy)).toMatchObject({ status: EXIT.image });
      expect(await info('verify', '--key', pub('p256'), copy)).toMatchObject({ status: 0 });
      rmSync(`${copy}.sig`, { force: true });
    }
    expect(readdirSync(scratch.path).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('verify fails with the status of a wrong image', async () => {
    const args = ['verify', '--key', pub('ed25519'), image];
    expect(messageOf(await info(...args), EXIT.image, 'cfs-info')).toContain('it is not signed');
    const { stdout } = await info(...args, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ error: { kind: 'image', status: EXIT.image } });
    expect(messageOf(await info('verify', image), EXIT.usage, 'cfs-info')).toContain('needs --key PUB.pem');
    expect(messageOf(await info('verify', '--key', pub('rsa'), image), EXIT.usage, 'cfs-info')).toContain(
      'of type rsa',
    );
  });

  test('a private key that is encrypted needs its passphrase', async () => {
    const locked = key('locked');
    const copy = copyOf('locked.cfs');
    await succeed(['openssl', 'pkey', '-in', key('p256'), '-aes256', '-passout', 'pass:open sesame', '-out', locked]);
    writeFileSync(scratch.at('passphrase'), 'open sesame\n');
    writeFileSync(scratch.at('wrong'), 'open, sesame\n');
    const sign = (...more: readonly string[]): Promise<Outcome> => info('sign', '--key', locked, ...more, copy);
    expect(messageOf(await sign(), EXIT.usage, 'cfs-info')).toContain('it is encrypted. Give --passphrase-file FILE');
    expect(messageOf(await sign('--passphrase-file', scratch.at('wrong')), EXIT.usage, 'cfs-info')).toContain(
      'does not decrypt',
    );
    expect(existsSync(`${copy}.sig`)).toBe(false);
    expect(await sign('--passphrase-file', scratch.at('passphrase'))).toMatchObject({ status: 0 });
    rmSync(`${copy}.sig`);
    const command = HERE.tool('cfs-info', ['sign', '--key', locked, copy], { CFS_PASSPHRASE: 'open sesame' });
    await succeed(command);
    expect(await info('verify', '--key', pub('p256'), copy)).toMatchObject({ status: 0 });
  });
});

describe('cfs-mkimage --sign', () => {
  const make = (...args: readonly string[]): Promise<Outcome> =>
    scratch.tool('cfs-mkimage', ['--store', scratch.store, ...args]);

  test('refuses a wrong key before it packs anything', async () => {
    const target = scratch.at('unsigned.cfs');
    const refused = async (...args: readonly string[]): Promise<string> =>
      messageOf(await make(...args, source, target), EXIT.usage);
    expect(await refused('--sign', key('rsa'))).toContain('Accepted are Ed25519 and ECDSA P-256');
    expect(await refused('--sign', pub('p256'))).toContain('it is a PUBLIC KEY');
    expect(await refused('--sign', '/none.pem')).toContain('Cannot read key /none.pem');
    expect(await refused('--embed-signature')).toContain('--embed-signature needs --sign KEY.pem');
    expect(await refused('--passphrase-file', '/none')).toContain('--passphrase-file needs --sign KEY.pem');
    expect(existsSync(target)).toBe(false);
  });

  test('leaves the signature out if it is in the source, so that the next image is the same', async () => {
    const tree = scratch.directory('with image');
    writeFileSync(join(tree, 'file'), 'a file');
    const target = join(tree, 'own.cfs');
    const args = ['--print-id', '--use-epoch', '--sign', key('ed25519'), tree, target];
    const first = await make(...args);
    const second = await make(...args);
    expect(first).toMatchObject({ status: 0, stderr: '' });
    expect(second.stdout).toBe(first.stdout);
    expect(second.stderr).toContain("own.cfs.sig is the image's signature: left out");
    expect(await info('verify', '--key', pub('ed25519'), target)).toMatchObject({ status: 0 });
  });

  test('registers an image with its signature in it as an existing one', async () => {
    const store = scratch.at('store-of-signed');
    const target = scratch.at('registered.cfs');
    await packed(scratch, ['--store', store, '--sign', key('ed25519'), '--embed-signature', source, target]);
    const repo = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-repo', args);
    expect(await repo('unregister', '--gone', store)).toMatchObject({ status: 0 });
    expect(JSON.parse((await repo('images', '--json', store)).stdout)).toMatchObject([{ id, state: 'there' }]);
    expect(await repo('unregister', store, target)).toMatchObject({ status: 0, stderr: '' });
  });

  test('reports a signature that is left from before', async () => {
    const target = scratch.at('left.cfs');
    expect(await make('--quiet', '--sign', key('ed25519'), source, target)).toMatchObject({ status: 0, stderr: '' });
    for (const more of [[], ['--sign', key('ed25519'), '--embed-signature']]) {
      const { stderr } = await make('--print-id', ...more, source, target);
      expect(stderr).toContain(`${target}.sig is an older signature`);
    }
  });
});
