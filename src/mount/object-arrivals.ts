/** Fetches objects of the image of a mount from its remote repositories into the cache. */
import { oneLine } from '../base/bytes.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { objectSizes } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { ObjectName } from '../objects/repository.ts';
import { HttpClient } from '../remote/http-client.ts';
import { LazyObjects } from '../remote/lazy-objects.ts';
import { parseRemoteAddress } from '../remote/remote-url.ts';
import { CacheWriter } from '../store/cache-writer.ts';
import { FetchCounters } from './fetch-counters.ts';
import type { ServedRemote } from './served-image.ts';

/** Of one server. */
const CONNECTIONS = 32;

interface Origin {
  /** Its address, for messages. */
  readonly text: string;
  readonly objects: LazyObjects;
}

export class ObjectArrivals {
  readonly #client: HttpClient;
  readonly #cache: CacheWriter;
  readonly #counters: FetchCounters;
  readonly #origins: readonly Origin[];

  /**
   * @param imageId 64 hexadecimal digits
   * @throws CfsError (usage) if the certificates cannot be read
   */
  constructor({ options, cache, counters }: ServedRemote, imageId: string, tables: ManifestTables) {
    const { addresses, insecure, cacert } = options;
    const { hash } = tables.header;
    const image = { id: imageId, hash, digests: tables.objects.digest, sizes: objectSizes(tables) };
    this.#client = new HttpClient({ connections: CONNECTIONS, cacert });
    this.#cache = new CacheWriter(cache, hash);
    this.#counters = new FetchCounters(counters);
    let servers = 0;
    this.#origins = addresses.map((word) => {
      const { text, mirrors } = parseRemoteAddress(word, insecure);
      const observer = this.#counters.observer(servers);
      servers += mirrors.length;
      const onStored = (row: number): void => this.#counters.stored(image.sizes[row] as number);
      const objects = new LazyObjects(this.#client, mirrors, image, this.#cache, { observer, onStored });
      return { text, objects };
    });
  }

  /**
   * Fetches an object that no repository has, or of which the cache has a damaged copy.
   * @returns why it did not come; undefined if the cache has it now
   */
  async fetch({ index, digest }: ObjectName): Promise<string | undefined> {
    const problems: string[] = [];
    try {
      this.#cache.remove(digest);
      for (const { objects } of this.#origins) {
        const failure = await objects.fetch(index);
        if (failure === undefined) return undefined;
        problems.push(failure.problem);
      }
    } catch (error) {
      // the cache cannot be written
      if (!(error instanceof CfsError)) throw error;
      problems.push(reasonOf(error));
    }
    this.#counters.failed();
    return oneLine([...new Set(problems)].join('; '));
  }

  /** Ends all requests, which fail. */
  async end(): Promise<void> {
    this.#cache.close();
    await this.#client.close();
  }
}
