#!/usr/bin/env node
/** cfs-mkimage: packs a directory into an image. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Option } from 'commander';
import { oneLine } from '../src/base/bytes.ts';
import { HASH_ALGORITHMS, type HashAlgorithm } from '../src/base/digest.ts';
import { CfsError } from '../src/base/error.ts';
import { type ImageSeal, requireSealable, sealImage } from '../src/image/seal-image.ts';
import { describeSignature, type MadeSignature, writeSignature } from '../src/image/sign-image.ts';
import { INLINE_LIMIT } from '../src/manifest/tables.ts';
import { DEPTH } from '../src/pack/content-pool.ts';
import { checkSource, imageTarget } from '../src/pack/image-target.ts';
import { planOpenFiles } from '../src/pack/open-files-plan.ts';
import { type PackedImage, packImage } from '../src/pack/pack-image.ts';
import { openSource } from '../src/pack/sources/open-source.ts';
import { signImageId } from '../src/sign/encode-sign1.ts';
import { readSigningKey } from '../src/sign/key-file.ts';
import type { SigningKey } from '../src/sign/keys.ts';
import { signaturePathOf } from '../src/sign/signature-file.ts';
import { defaultStore } from '../src/store/default-store.ts';
import type { LocalRepository } from '../src/store/local-repository.ts';
import { openOrInitRepository } from '../src/store/open-repository.ts';
import type { SealOptions } from '../src/store/seal.ts';
import { openFilesLimit } from '../src/system/resource-limits.ts';
import {
  EXIT,
  type ExitStatus,
  InterruptedError,
  integerOption,
  makeCommand,
  printError,
  printJson,
  runTool,
  threadsOption,
} from './cli.ts';
import { formatBytes, formatCount, formatCounted, formatDuration } from './format.ts';
import { exclusionsOf } from './mkimage/exclusions.ts';
import { checkIdOnly, printImageId } from './mkimage/print-id.ts';
import { ProgressLine } from './progress.ts';
import { imageText, problemLines, sealedText, sealStatus } from './seal-report.ts';
import { withSignals } from './signals.ts';
import { say, takeVerbose } from './verbose.ts';

interface Options {
  readonly store?: string;
  readonly inlineMax: number;
  readonly hash?: HashAlgorithm;
  readonly useEpoch: boolean;
  readonly skipXattrs: boolean;
  readonly skipDevices: boolean;
  readonly oneFileSystem: boolean;
  readonly exclude: readonly string[];
  readonly excludeFrom: readonly string[];
  readonly excludeCaches: boolean;
  readonly threads: number;
  readonly fsync: boolean;
  readonly rehash: boolean;
  readonly register: boolean;
  readonly seal: boolean;
  readonly recordHint?: string;
  readonly sign?: string;
  readonly embedSignature: boolean;
  readonly passphraseFile?: string;
  readonly printId: boolean;
  readonly printIdOnly: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
}

const MAX_THREADS = 64;

const command = makeCommand(
  'cfs-mkimage',
  'Packs the directory SOURCE into the file IMAGE. File contents go to a repository, where all images share them.',
  `  cfs-mkimage /srv/rootfs rootfs.cfs
  cfs-mkimage --store /srv/store --use-epoch build/ app.cfs
  cfs-mkimage --exclude .git --exclude '*.log' --exclude-caches build/ app.cfs
  cfs-mkimage --print-id-only build/
  ID=$(cfs-mkimage --print-id rootfs rootfs.cfs)
  cfs-mkimage --sign key.pem rootfs rootfs.cfs
`,
)
  .argument(
    '<SOURCE>',
    'the directory to pack; never modified. Of a writable mount of cfs only what was changed is read',
  )
  .argument('[IMAGE]', 'the image file to write; atomically replaced if it exists; none with --print-id-only')
  .option(
    '--store <DIR>',
    'the repository for the objects; created if missing (default: $CFS_STORE, else /var/lib/cfs for root, else $XDG_DATA_HOME/cfs)',
  )
  .addOption(new Option('--repo <DIR>', 'the same as --store').hideHelp())
  .option(
    '--inline-max <N>',
    'contents of at most N bytes go into the image itself',
    integerOption('--inline-max', 0, INLINE_LIMIT),
    64,
  )
  .addOption(
    new Option('--hash <NAME>', 'how objects are named (default: that of the repository, else blake3)')
      .choices(HASH_ALGORITHMS)
      .argParser(hashOption),
  )
  .option('--use-epoch', 'set every time to 1970-01-01 00:00:00', false)
  .option('--skip-xattrs', 'leave out extended attributes', false)
  .option('--skip-devices', 'leave out character and block devices', false)
  .option('--one-file-system', 'do not enter other file systems; mount points become empty directories', false)
  .option(
    '--exclude <PATTERN>',
    'leave out what has this name or path, as in rsync: *.log at any depth, /build only at the root (repeatable)',
    collect,
    [],
  )
  .option('--exclude-from <FILE>', 'leave out the patterns in FILE, one a line (repeatable)', collect, [])
  .option('--exclude-caches', 'leave out the contents of directories with a CACHEDIR.TAG, but that file', false)
  .addOption(threadsOption('--threads', MAX_THREADS))
  .option('--no-fsync', 'do not wait for the disk; a crash of the machine may lose objects and image')
  .option(
    '--rehash',
    'read every file, even if it has not changed since it was last packed into this repository',
    false,
  )
  .option(
    '--no-register',
    "do not register the image in the repository: 'cfs-repo gc' deletes its objects after a while, unless it is mounted or registered by then",
  )
  .option(
    '--seal',
    'seal its objects and the image with fs-verity: they can never be changed, and the kernel checks each page that is read',
    false,
  )
  .option(
    '--record-hint <TEXT>',
    "record the repository's uuid and TEXT (such as a URL) in the image, for clients that need to fetch its objects",
  )
  .option('--sign <KEY.pem>', 'sign the image with this private key, Ed25519 or ECDSA P-256: writes IMAGE.sig')
  .option('--embed-signature', 'with --sign: put the signature into the image file itself', false)
  .option('--passphrase-file <FILE>', 'its first line decrypts the key (default: $CFS_PASSPHRASE)')
  .option('--print-id', 'print the image id alone on stdout', false)
  .option('--print-id-only', 'print the id that the image would have; read everything, and write nothing', false)
  .option('--json', 'print the result as one JSON object', false)
  .option('-q, --quiet', 'print nothing but errors', false);
takeVerbose(command);

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

function hashOption(text: string): HashAlgorithm {
  if (!HASH_ALGORITHMS.includes(text as HashAlgorithm)) {
    throw new CfsError('usage', `--hash takes ${HASH_ALGORITHMS.join(' or ')}, not "${text}"`);
  }
  return text as HashAlgorithm;
}

async function main(argv: readonly string[]): Promise<ExitStatus> {
  command.parse(argv);
  const [source, image = ''] = command.args as [string, string?];
  const { repo, ...given } = command.opts<Options & { repo?: string }>();
  if (repo !== undefined && given.store !== undefined) {
    throw new CfsError('usage', '--store and --repo are the same: use only one of them');
  }
  const options: Options = repo === undefined ? given : { ...given, store: repo };
  const started = performance.now();
  checkNotEmpty('SOURCE', source);
  if (options.store !== undefined) checkNotEmpty('--store', options.store);
  if (options.printIdOnly) {
    checkIdOnly(options, command.args.length > 1);
    return await printImageId(source, options);
  }
  if (command.args.length < 2) command.error("error: missing required argument 'IMAGE'");
  checkNotEmpty('IMAGE', image);
  if (image === '-') {
    const reason = 'an image cannot be written to standard output. Use ./- for a file of this name';
    throw new CfsError('usage', `Cannot write image -: ${reason}`);
  }
  const target = imageTarget(image);
  const key = signingKey(options);
  const result = await withSignals('no image was written', (signal) => pack(source, target, key, options, signal));
  const { seal } = result;
  if (options.json)
    printJson({ image: resolve(image), ...result, seconds: Math.round(performance.now() - started) / 1000 });
  else if (options.printId) process.stdout.write(`${result.id}\n`);
  else if (!options.quiet) process.stdout.write(summary(image, result, Math.round(performance.now() - started)));
  return seal === undefined ? EXIT.ok : reportSeal(seal, options);
}

/** Also reports a wrong key. */
function signingKey({ sign, embedSignature, passphraseFile }: Options): SigningKey | undefined {
  if (sign !== undefined) return readSigningKey(sign, passphraseFile);
  const alone = embedSignature ? '--embed-signature' : passphraseFile === undefined ? undefined : '--passphrase-file';
  if (alone !== undefined) throw new CfsError('usage', `${alone} needs --sign KEY.pem`);
  return undefined;
}

/** The result of packing; with the signature if it was signed, and the result of sealing if it was sealed. */
type Packed = PackedImage & { readonly signature?: MadeSignature; readonly seal?: ImageSeal };

async function pack(
  source: string,
  target: string,
  key: SigningKey | undefined,
  options: Options,
  signal: AbortSignal,
): Promise<Packed> {
  const store = options.store ?? defaultStore();
  checkSource(source);
  const exclusions = exclusionsOf(options);
  const repository = openOrInitRepository(store, options.hash);
  const warn = (line: string): void => {
    if (!options.quiet) printError('cfs-mkimage', line);
  };
  if (options.seal) {
    requireSealable(target, repository);
    if (repository.hash !== 'fsverity-sha256')
      warn(
        `the repository names objects by ${repository.hash}: mounts hash them, sealed or not. To use the seals, pack into a repository made with --hash fsverity-sha256.`,
      );
  }
  const exclude = { store: repository.path, image: target, signature: signaturePathOf(target) };
  const { threads, sourceDirectories, ...openFiles } = planOpenFiles(openFilesLimit(), options.threads, DEPTH);
  say(
    () =>
      `repository ${repository.path}: ${repository.hash}, uuid ${repository.uuid}; ${threads} threads, ` +
      `of ${openFilesLimit()} open files at most ${sourceDirectories} directories of the source`,
  );
  const tree = openSource(source, {
    ...options,
    exclude,
    exclusions,
    openDirectories: sourceDirectories,
    warn,
    repository,
    onWay: (line) => say(() => line),
  });
  const progress = new ProgressLine(!options.quiet && !options.json);
  try {
    const built = await packImage(tree, {
      repository,
      image: target,
      inlineMax: options.inlineMax,
      threads,
      openFiles,
      durable: options.fsync,
      rehash: options.rehash,
      register: options.register,
      repositories: options.recordHint === undefined ? [] : [{ uuid: repository.uuid, hint: options.recordHint }],
      signal,
      onWait: warn,
      onProgress: (p) => progress.update(p),
      ...(key !== undefined && options.embedSignature ? { signature: (id) => signImageId(id, key) } : {}),
    });
    say(
      () =>
        `${built.files} files: ${built.unchangedFiles} unchanged and not read, ${built.inlineFiles} in the image itself; ` +
        `${built.objects} objects, ${built.newObjects} of them new; ${built.registered ? '' : 'not '}registered`,
    );
    const packed = { ...built, ...signPacked(target, built.id, key, options, warn) };
    return options.seal ? { ...packed, seal: await seal(target, repository, { signal, onWait: warn }) } : packed;
  } finally {
    progress.end();
  }
}

/** Signs the image beside it, or describes the signature embedded in it. */
function signPacked(
  image: string,
  id: string,
  key: SigningKey | undefined,
  options: Options,
  warn: (line: string) => void,
): Pick<Packed, 'signature'> {
  if (key !== undefined && !options.embedSignature) {
    return { signature: writeSignature(image, id, key, options.fsync) };
  }
  const beside = signaturePathOf(image);
  if (existsSync(beside))
    warn(`${beside} is an older signature, and valid for this image only if the image is the same as before`);
  return key === undefined ? {} : { signature: describeSignature(key, 'embedded') };
}

async function seal(image: string, repository: LocalRepository, options: SealOptions): Promise<ImageSeal> {
  try {
    return await sealImage(image, repository, options);
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    const { signal } = error;
    throw new InterruptedError(
      signal,
      `stopped by ${signal}; the image was written, and 'cfs-repo seal' can continue the sealing`,
    );
  }
}

/** The image exists, whatever the result of sealing it. */
function reportSeal({ problems, image }: ImageSeal, { quiet, json }: Options): ExitStatus {
  const status = sealStatus(problems, [image]);
  if (status === EXIT.ok || quiet || json) return status;
  const lines = [...(image.reason === undefined ? [] : [imageText(image)]), ...problemLines(problems)];
  process.stderr.write(`cfs-mkimage: not everything is sealed:\n${lines.join('\n')}\n`);
  return status;
}

function checkNotEmpty(what: string, value: string): void {
  if (value === '') throw new CfsError('usage', `${what} is empty`);
}

function summary(image: string, r: Packed, ms: number): string {
  const rate = `${formatCount(Math.round((r.files * 1000) / Math.max(ms, 1)))} files/s, ${formatBytes((r.bytes * 1000) / Math.max(ms, 1))}/s`;
  const unchanged = r.unchangedFiles > 0 ? `; ${formatCounted(r.unchangedFiles, 'file')} unchanged, not read` : '';
  return [
    `image    ${oneLine(image)} (${formatBytes(r.imageBytes)})`,
    `id       ${r.id}`,
    `tree     ${formatCounted(r.entries, 'entry', 'entries')}, ${formatCounted(r.files, 'file')}, ${formatBytes(r.bytes)}${unchanged}`,
    `objects  ${formatCount(r.objects)} (${formatBytes(r.objectBytes)}), of these new ${formatCount(r.newObjects)} (${formatBytes(r.newBytes)})`,
    `shared   ${formatBytes(r.sharedBytes)} needed no space`,
    ...signatureLine(r),
    ...(r.seal === undefined ? [] : [`sealed   ${sealedText(r.seal)}`, `digest   ${r.seal.image.digest ?? 'none'}`]),
    `time     ${formatDuration(ms)} (${rate})`,
    '',
  ].join('\n');
}

function signatureLine({ signature }: Packed): string[] {
  if (signature === undefined) return [];
  const { where, algorithm, keyId } = signature;
  return [`signed   ${where === 'embedded' ? 'in the image' : oneLine(where)}, key ${keyId} (${algorithm})`];
}

await runTool('cfs-mkimage', main);
