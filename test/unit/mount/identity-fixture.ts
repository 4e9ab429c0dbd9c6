/** A mount's description of itself, for tables of the model and repositories in memory. */
import { toHex } from '../../../src/base/bytes.ts';
import { digestContent } from '../../../src/base/digest.ts';
import { ENOENT, type Errno } from '../../../src/base/errno.ts';
import { lookupPath } from '../../../src/manifest/lookup.ts';
import { attachTables, type ManifestTables, shareTables } from '../../../src/manifest/tables.ts';
import { MountIdentity } from '../../../src/mount/mount-identity.ts';
import { Topology, type Verification } from '../../../src/mount/topology.ts';
import type { SourceRecord } from '../../../src/mount-info/source-record.ts';
import type { Repository } from '../../../src/objects/repository.ts';
import type { FileVersion } from '../../../src/system/file-status.ts';
import { buildTables, type Tree } from '../manifest/model.ts';

/** A repository that returns the status of its objects, and throws if an object is opened. */
export class ToldRepository implements Repository {
  readonly path: string;
  readonly uuid = 'a-uuid';
  readonly hash = 'blake3';
  looks = 0;
  readonly #files = new Map<string, FileVersion>();

  constructor(path: string) {
    this.path = path;
  }

  /** Adds a file with the name of this content. */
  put(content: Uint8Array, file: Partial<FileVersion> = {}): void {
    const version = { isFile: true, size: content.length, dev: 1, ino: this.#files.size + 10, ctimeMs: 5, ...file };
    this.#files.set(toHex(digestContent(this.hash, content).digest), version);
  }

  open(): number | Errno {
    throw new Error('an object was opened');
  }

  status(digest: Uint8Array, out: FileVersion): 0 | Errno {
    this.looks++;
    const file = this.#files.get(toHex(digest));
    if (file === undefined) return ENOENT;
    Object.assign(out, file);
    return 0;
  }

  glance(): 0 | Errno {
    throw new Error('links may have been followed');
  }

  size(): number | Errno {
    throw new Error('an object was measured');
  }
}

export const tablesOf = (tree: Tree): ManifestTables => attachTables(shareTables(buildTables(tree)));

export const rowOf = (tables: ManifestTables, path: string): number => lookupPath(tables, Buffer.from(path));

export const IMAGE_ID = '5a'.repeat(32);

/** A source as a mount describes it. */
export function sourceRecord(index: number, more: Partial<SourceRecord> = {}): SourceRecord {
  return {
    kind: index === 0 ? 'image' : 'repository',
    index,
    count: 3,
    given: Buffer.from(`given-${index}`),
    path: Buffer.from(`/srv/${index}`),
    device: { major: 254, minor: 3 },
    ino: 1234n,
    fsType: 'ext4',
    fsUuid: '00010203-0405-0607-0809-0a0b0c0d0e0f',
    mountId: 29,
    handle: { type: 1, bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
    parent: undefined,
    id: index === 0 ? IMAGE_ID : `uuid-${index}`,
    ...more,
  };
}

export function identityOver(
  tables: ManifestTables,
  repositories: readonly Repository[],
  source: (index: number) => SourceRecord = sourceRecord,
  verification: Verification = { mode: 'whole', proofOf: () => undefined, isReadByBlocks: () => false },
): MountIdentity {
  const record = {
    pid: 77,
    sources: 1 + repositories.length,
    imageId: IMAGE_ID,
    mountpoint: Buffer.from('/mnt'),
    options: Buffer.from('verify=open'),
    release: '1.2.3',
  };
  return new MountIdentity(tables, new Topology(tables, repositories, verification), {
    record,
    source,
    problems: (isRoot) => (isRoot ? '[]' : undefined),
    statistics: () => '{}',
    activity: (isRoot) => JSON.stringify({ isRoot }),
  });
}
