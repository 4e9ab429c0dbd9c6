/**
 * The place of one inode's content: the object, the repositories that have it, the one that serves it, and what is
 * known of it in remote ones.
 */
import { isErrno } from '../base/errno.ts';
import type { CopyAnswer } from '../base/log.ts';
import { inlineOf, objectName, objectOf } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { ContentPlace, RefusedCopy, Verified } from '../mount-info/file-record.ts';
import type { RemoteKnowledge } from '../mount-info/remote-place.ts';
import type { ObjectName, Proof, Repository } from '../objects/repository.ts';

import { emptyFileVersion, type FileVersion } from '../system/file-status.ts';

/** Numbers of sources: the image is 0, the first repository 1. */
export const IMAGE_SOURCE = 0;

/** The verification of contents, as far as the topology needs it. */
export type Verification =
  | {
      readonly mode: 'whole';
      readonly proofOf: (object: ObjectName, status: FileVersion) => Proof | undefined;
      /** Whether the objects of a repository are verified block by block nevertheless; 0 is the first. */
      readonly isReadByBlocks: (repository: number) => boolean;
    }
  | { readonly mode: 'read' | 'off' };

/** What is known of the last time that repositories had no good copy of an object. */
export type Refusals = (
  object: ObjectName,
) => { readonly time: string; readonly copies: readonly CopyAnswer[] } | undefined;

/** What is known of an object in remote repositories; undefined if there are none. */
export type RemoteKnower = (object: ObjectName) => RemoteKnowledge | undefined;

const PROVEN: Readonly<Record<Proof, Verified>> = { hashed: 'yes', measured: 'fsverity' };

export class Topology {
  readonly #tables: ManifestTables;
  readonly #repositories: readonly Repository[];
  readonly #verification: Verification;
  readonly #refusals: Refusals;
  readonly #remote: RemoteKnower;
  readonly #status: FileVersion = emptyFileVersion();

  constructor(
    tables: ManifestTables,
    repositories: readonly Repository[],
    verification: Verification,
    refusals: Refusals = () => undefined,
    remote: RemoteKnower = () => undefined,
  ) {
    this.#refusals = refusals;
    this.#remote = remote;
    this.#tables = tables;
    this.#repositories = repositories;
    this.#verification = verification;
  }

  /** Looks up the object's name once in each repository. Undefined unless it is a regular file. */
  placeOf(row: number): ContentPlace | undefined {
    if (inlineOf(this.#tables, row) !== undefined) {
      // the image was verified as a whole before it was mounted; its id is the digest of all of it
      return { object: undefined, source: IMAGE_SOURCE, holders: [IMAGE_SOURCE], verified: 'yes' };
    }
    const object = objectOf(this.#tables, row);
    return object < 0 ? undefined : this.#placeOfObject(objectName(this.#tables, object));
  }

  #placeOfObject(object: ObjectName): ContentPlace {
    const holders: number[] = [];
    const refused: RefusedCopy[] = [];
    const refusals = this.#refusals(object);
    let proven: { readonly source: number; readonly proof: Proof } | undefined;
    for (const [i, repository] of this.#repositories.entries()) {
      if (isErrno(repository.status(object.digest, this.#status))) continue;
      if (!this.#status.isFile || this.#status.size !== object.size) continue;
      const source = IMAGE_SOURCE + 1 + i;
      holders.push(source);
      const proof = proven === undefined ? this.#proofOf(object) : undefined;
      if (proof !== undefined) proven = { source, proof };
      const answer = refusals?.copies.find(({ repository }) => repository === source);
      // files that were written or replaced since are unknown yet
      if (proof !== undefined || answer === undefined || this.#status.ctimeMs > Date.parse(refusals?.time ?? ''))
        continue;
      if (answer.outcome === 'missing') continue;
      refused.push({ source, outcome: answer.outcome, time: refusals?.time as string, reason: answer.reason });
    }
    const unknown = holders.find((holder) => !refused.some(({ source }) => source === holder));
    const source = proven?.source ?? unknown ?? -1;
    const remote = this.#remote(object);
    return {
      object: { hash: this.#tables.header.hash, digest: object.digest },
      source,
      holders,
      verified: proven === undefined ? this.#unproven(source) : PROVEN[proven.proof],
      ...(refused.length > 0 ? { refused } : {}),
      ...(remote === undefined ? {} : { remote }),
    };
  }

  #unproven(source: number): Verified {
    const verification = this.#verification;
    if (verification.mode !== 'whole') return verification.mode === 'read' ? 'reading' : 'off';
    return source > IMAGE_SOURCE && verification.isReadByBlocks(source - IMAGE_SOURCE - 1) ? 'reading' : 'no';
  }

  #proofOf(object: ObjectName): Proof | undefined {
    return this.#verification.mode === 'whole' ? this.#verification.proofOf(object, this.#status) : undefined;
  }
}
