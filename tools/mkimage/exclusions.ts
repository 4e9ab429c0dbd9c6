/** `--exclude`, `--exclude-from` and `--exclude-caches`. */
import { readFileSync } from 'node:fs';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { pathText } from '../../src/base/path-text.ts';
import { type Exclusions, patternsIn } from '../../src/pack/sources/exclusions.ts';

export interface ExclusionWords {
  readonly exclude: readonly string[];
  readonly excludeFrom: readonly string[];
  readonly excludeCaches: boolean;
}

/** @throws CfsError (usage) if a file of patterns cannot be read */
export const exclusionsOf = ({ exclude, excludeFrom, excludeCaches }: ExclusionWords): Exclusions => ({
  patterns: [...exclude, ...excludeFrom.flatMap(readPatterns)],
  caches: excludeCaches,
});

function readPatterns(file: string): string[] {
  try {
    return patternsIn(pathText(readFileSync(file)));
  } catch (error) {
    throw new CfsError('usage', `Cannot read --exclude-from ${file}: ${reasonOf(error)}`, { cause: error });
  }
}
