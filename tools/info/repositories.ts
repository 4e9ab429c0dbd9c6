/** `--repo`: the repositories in which a command looks for objects. */
import { type Command, Option } from 'commander';
import type { HashAlgorithm } from '../../src/base/digest.ts';
import { defaultRepositories } from '../../src/store/default-store.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { openRepository } from '../../src/store/open-repository.ts';
import { addNetworkOptions, type NetworkWords } from '../network.ts';

/** The values of --repo, and of --store, which is the same. */
export interface RepositoryWords extends NetworkWords {
  readonly repo: readonly string[];
  readonly store: readonly string[];
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** Adds the options. */
export const takeRepositories = (command: Command): Command =>
  addNetworkOptions(
    command
      .option(
        '--repo <dir|url>',
        'a repository to search (repeatable; default: those of cfs.conf, or the default repository)',
        collect,
        [],
      )
      .addOption(new Option('--store <dir>', 'the same as --repo').argParser(collect).default([]).hideHelp()),
  );

/**
 * The repositories of the options, in their order; without any, the default ones.
 * @param hash the algorithm that names the image's objects
 * @throws CfsError (store)
 */
export const openRepositories = (dirs: readonly string[], hash: HashAlgorithm): LocalRepository[] =>
  (dirs.length === 0 ? defaultRepositories() : dirs).map((dir) => openRepository(dir, hash));
