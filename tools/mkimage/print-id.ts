/** `--print-id-only`. */
import { existsSync } from 'node:fs';
import type { HashAlgorithm } from '../../src/base/digest.ts';
import { CfsError } from '../../src/base/error.ts';
import { DEPTH } from '../../src/pack/content-pool.ts';
import { checkSource } from '../../src/pack/image-target.ts';
import { planOpenFiles } from '../../src/pack/open-files-plan.ts';
import { imageIdOf } from '../../src/pack/pack-image.ts';
import { type DirectoryOptions, openDirectorySource } from '../../src/pack/sources/directory.ts';
import { defaultStore } from '../../src/store/default-store.ts';
import { openRepository } from '../../src/store/open-repository.ts';
import { openFilesLimit } from '../../src/system/resource-limits.ts';
import { EXIT, type ExitStatus, printError } from '../cli.ts';
import { withSignals } from '../signals.ts';
import { type ExclusionWords, exclusionsOf } from './exclusions.ts';

type Words = ExclusionWords &
  Pick<DirectoryOptions, 'useEpoch' | 'skipXattrs' | 'skipDevices' | 'oneFileSystem'> & {
    readonly store?: string;
    readonly hash?: HashAlgorithm;
    readonly inlineMax: number;
    readonly threads: number;
    readonly quiet: boolean;
  };

/** Options that need an image, or that change it by data of the repository. */
const EXCLUDED = { sign: '--sign', seal: '--seal', recordHint: '--record-hint', json: '--json' } as const;

/** @throws CfsError (usage) */
export function checkIdOnly(
  options: { readonly [option in keyof typeof EXCLUDED]?: unknown },
  hasImage: boolean,
): void {
  if (hasImage) throw new CfsError('usage', '--print-id-only writes no image: leave IMAGE out');
  for (const [option, word] of Object.entries(EXCLUDED) as [keyof typeof EXCLUDED, string][]) {
    if (options[option] === undefined || options[option] === false) continue;
    throw new CfsError('usage', `--print-id-only and ${word} exclude each other`);
  }
}

/** Prints the id that the image would have. The repository is only asked for its algorithm, if it exists. */
export async function printImageId(source: string, options: Words): Promise<ExitStatus> {
  checkSource(source);
  const store = options.store ?? defaultStore();
  const repository = existsSync(store) ? openRepository(store, options.hash) : undefined;
  const hash = options.hash ?? repository?.hash ?? 'blake3';
  const { threads, sourceDirectories, ...openFiles } = planOpenFiles(openFilesLimit(), options.threads, DEPTH);
  const tree = openDirectorySource(source, {
    ...options,
    exclude: { store },
    exclusions: exclusionsOf(options),
    openDirectories: sourceDirectories,
    warn: (line) => {
      if (!options.quiet) printError('cfs-mkimage', line);
    },
  });
  const { inlineMax } = options;
  const id = await withSignals('nothing was written', (signal) =>
    imageIdOf(tree, hash, { inlineMax, threads, openFiles, signal }),
  );
  process.stdout.write(`${id}\n`);
  return EXIT.ok;
}
