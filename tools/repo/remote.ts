/** `cfs-repo push` and `cfs-repo pull`. */
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { CfsError } from '../../src/base/error.ts';
import { objectSizes } from '../../src/manifest/lookup.ts';
import { isRefName, isRemote, parseRemoteAddress, REF_RULE } from '../../src/remote/remote-url.ts';
import { openOrInitRepository } from '../../src/store/open-repository.ts';
import type { CopiedImages } from '../../src/transfer/copy-images.ts';
import type { LoadedImage } from '../../src/transfer/loaded-images.ts';
import { EXIT, type ExitStatus, integerOption, printJson, threadsOption } from '../cli.ts';
import { formatBytes, formatCount, formatCounted, formatDuration } from '../format.ts';
import { shortId } from '../image-id.ts';
import { addNetworkOptions, type NetworkWords } from '../network.ts';
import { ProgressLine } from '../progress.ts';
import { printResult } from '../quiet.ts';
import { withSignals } from '../signals.ts';
import { drawProgress, jsonOf, reportProblems } from './copy.ts';
import { type Commands, checkDirectoryArgument, collect, repositoryAt, sayRepository, warn } from './repository.ts';

interface CommonWords extends NetworkWords {
  readonly fsync: boolean;
  readonly json: boolean;
}

interface PushWords extends CommonWords {
  readonly ref?: string;
  readonly base: readonly string[];
  readonly level: number;
  readonly profile?: string;
}

interface PullWords extends CommonWords {
  readonly output?: string;
  readonly key: readonly string[];
  readonly threads: number;
}

const MAX_THREADS = 64;
const LEVEL = 3;
const MAX_LEVEL = 19;

export function addRemote({ program, setStatus }: Commands): void {
  const push = program
    .command('push')
    .description('write an image and its objects to a remote repository: a URL that takes PUT, or a directory')
    .argument('<DIR>', 'the repository that has the objects')
    .argument('<IMAGE>')
    .argument('<URL>', 'https://HOST/PATH, or a directory that a web server shows; created if it is missing')
    .option('--ref <NAME>', 'the name of the image there (default: the name of the file, without .cfs)')
    .option('--base <NAME>', 'use packs of this image there again, too; repeatable', collect, [])
    .option('--profile <FILE>', 'files that are fetched first at each mount, as cfs-mount -o record=FILE lists them')
    .option('--level <N>', 'compression, 1 to 19', integerOption('--level', 1, MAX_LEVEL), LEVEL);
  addCommonOptions(push, 'files that are sent at the same time').action(
    async (dir: string, image: string, url: string, words: PushWords) =>
      setStatus(await pushTo(dir, image, url, words)),
  );
  const pull = program
    .command('pull')
    .description('fetch an image and those of its objects that DIR does not have; register the image')
    .argument('<URL>', 'https://HOST/PATH#NAME or …@ID; several mirrors with | between them')
    .argument('<DIR>', 'the repository for the objects; created if it is missing')
    .option('-o, --output <FILE>', 'where the image is written (default: NAME.cfs in this directory)')
    .option('--key <PUB.pem>', 'the image must be signed by this key, or another one that is given', collect, [])
    .addOption(threadsOption('--threads', MAX_THREADS));
  addCommonOptions(pull, 'requests at the same time').action(async (url: string, dir: string, words: PullWords) =>
    setStatus(await pullFrom(url, dir, words)),
  );
}

const addCommonOptions = (command: Command, connections: string): Command =>
  addNetworkOptions(command, connections)
    .option('--no-fsync', 'do not wait for the disk; a crash of the machine may lose objects')
    .option('--json', 'print the result as one JSON object', false);

async function pushTo(dir: string, path: string, url: string, words: PushWords): Promise<ExitStatus> {
  const { base, level, profile: file, connections, insecure, cacert, fsync, json } = words;
  const ref = words.ref ?? basename(path).replace(/\.cfs$/, '');
  for (const name of [ref, ...base]) {
    if (!isRefName(name)) {
      throw new CfsError('usage', `"${name}" is not a name of an image: give one by --ref, of ${REF_RULE}`);
    }
  }
  const repository = repositoryAt(dir);
  const { readProfile } = await import('../../src/transfer/read-profile.ts');
  const profile = file === undefined ? undefined : readProfile(file);
  const { loadImages } = await import('../../src/transfer/loaded-images.ts');
  const { openTarget } = await import('../../src/transfer/push-target.ts');
  const { pushImage } = await import('../../src/transfer/push-images.ts');
  const [image] = loadImages([path], repository) as [LoadedImage];
  const total = objectSizes(image.tables).reduce((sum, size) => sum + size, 0);
  const target = openTarget(url, { connections, cacert, insecure, durable: fsync });
  const line = new ProgressLine(!json);
  const started = performance.now();
  const result = await withSignals('what was sent stays, and the next run continues', async (signal) => {
    try {
      return await pushImage(repository, image, target, {
        ref,
        bases: base,
        level,
        profile,
        uploads: connections,
        signal,
        onProgress: (done) => drawProgress(line, done, total),
      });
    } finally {
      line.end();
      await target.close();
    }
  });
  const ms = Math.round(performance.now() - started);
  const { id, objects, reused, hot, files, bytes, existingPacks } = result;
  if (profile !== undefined && hot === 0) warn(`no path of the profile ${file} is a file of ${path} with an object`);
  if (json) printJson({ target: target.text, ref, ...result, seconds: ms / 1000 });
  else {
    printResult(
      [
        `pushed    ${target.text}#${ref}  ${id}`,
        `objects   ${formatCount(objects)}, of these ${formatCount(reused)} in packs of other images`,
        ...(hot > 0 ? [`hot       ${formatCounted(hot, 'object')}`] : []),
        `sent      ${formatCounted(files, 'file')}, ${formatBytes(bytes)} (${formatDuration(ms)})`,
        `existing  ${formatCounted(existingPacks, 'pack')}`,
        '',
      ].join('\n'),
    );
  }
  return EXIT.ok;
}

async function pullFrom(word: string, dir: string, words: PullWords): Promise<ExitStatus> {
  const { key, threads, connections, insecure, cacert, fsync, json } = words;
  checkDirectoryArgument(dir);
  if (!isRemote(word)) throw new CfsError('usage', `${word} is not a URL; give one like https://HOST/PATH#NAME`);
  const address = parseRemoteAddress(word, insecure);
  const { RemoteRepository } = await import('../../src/transfer/remote-repository.ts');
  const { pullImage } = await import('../../src/transfer/pull-image.ts');
  const { readTrustedKeys } = await import('../../src/sign/key-file.ts');
  const keys = key.length === 0 ? undefined : readTrustedKeys(key);
  const line = new ProgressLine(!json);
  const started = performance.now();
  const result = await withSignals('what was fetched stays, and the next run continues', async (signal) => {
    const remote = await RemoteRepository.open(address, { connections, cacert }, signal);
    try {
      const id = await remote.imageId(address.ref, signal);
      const image = await remote.image(id, keys, signal);
      const target = openOrInitRepository(dir, remote.hash);
      sayRepository(target);
      const path = words.output ?? join('.', `${basename(address.ref ?? shortId(id))}.cfs`);
      let total = 0;
      const pulled = await pullImage(remote, image, target, path, {
        threads,
        connections,
        cacert,
        durable: fsync,
        signal,
        onWait: warn,
        onPlan: ({ bytes }) => {
          total = bytes;
        },
        onProgress: (done) => drawProgress(line, done, total),
      });
      return { target, id, path, pulled };
    } finally {
      line.end();
      await remote.close();
    }
  });
  const ms = Math.round(performance.now() - started);
  const { target, id, path, pulled } = result;
  const { copied, copiedBytes, existing, failures } = pulled;
  const images: CopiedImages['images'] = [{ id, path, missing: failures.length }];
  if (json) printJson(jsonOf(target, { ...pulled, images }, ms));
  else {
    printResult(
      [
        ...(failures.length === 0 ? [`image     ${path}  ${id}`] : []),
        `fetched   ${formatCounted(copied, 'object')}, ${formatBytes(copiedBytes)} (${formatDuration(ms)})`,
        `existing  ${formatCounted(existing, 'object')}`,
        '',
      ].join('\n'),
    );
  }
  reportProblems('fetch', failures, images);
  return failures.length > 0 ? EXIT.store : EXIT.ok;
}
