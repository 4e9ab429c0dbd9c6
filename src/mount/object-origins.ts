/**
 * What a mount knows of the places of its objects in remote repositories: from maps that it has fetched, and from what
 * was asked for. Nothing is asked for to know more. One thread writes, in shared memory; it begins anew with each
 * server of the mount.
 */
import type { RemoteKnowledge, RemotePlace } from '../mount-info/remote-place.ts';
import { ALONE, type ObjectMap } from '../remote/map-format.ts';
import type { ServedRemote } from './served-image.ts';

/** Of a repository. */
const NO_MAP = 1;
const MAP = 2;
/** Of an object in a repository. */
const UNKNOWN = 0;
const IN_PACK = 1;
const AS_FILE = 2;
const PLACE = 3;
const ABSENT = 4;
/** A number of a server that does not fit. */
const ANOTHER = 255;

/**
 * A byte for each repository; then one for each object: the server that gave it, from 1; then one for each object in
 * each repository.
 */
export const allocateOrigins = (objects: number, repositories: number): SharedArrayBuffer =>
  new SharedArrayBuffer(repositories + objects * (1 + repositories));

type Origins = Pick<ServedRemote, 'options' | 'servers' | 'origins'>;

export class ObjectOrigins {
  readonly #bytes: Uint8Array;
  readonly #repositories: number;
  readonly #objects: number;

  constructor({ options, origins }: Omit<Origins, 'servers'>) {
    this.#bytes = new Uint8Array(origins);
    this.#repositories = options.addresses.length;
    this.#objects = (this.#bytes.length - this.#repositories) / (1 + this.#repositories);
  }

  #placeAt(repository: number, row: number): number {
    return this.#repositories + this.#objects * (1 + repository) + row;
  }

  /** @param map undefined: the repository has none */
  foundMap(repository: number, map: ObjectMap | undefined): void {
    this.#bytes[repository] = map === undefined ? NO_MAP : MAP;
    if (map === undefined) return;
    const at = this.#placeAt(repository, 0);
    for (let row = 0; row < this.#objects; row++) {
      this.#bytes[at + row] = map.frameOf[row] === ALONE ? AS_FILE : IN_PACK;
    }
  }

  /** @param server among those of all repositories */
  stored(repository: number, row: number, server: number): void {
    this.#bytes[this.#repositories + row] = Math.min(server + 1, ANOTHER);
    const at = this.#placeAt(repository, row);
    const place = (this.#bytes[at] as number) & PLACE;
    // without a map it is a file
    this.#bytes[at] = place === UNKNOWN ? AS_FILE : place;
  }

  /** No server of the repository has what it was asked for. */
  absent(repository: number, row: number): void {
    const at = this.#placeAt(repository, row);
    this.#bytes[at] = (this.#bytes[at] as number) | ABSENT;
  }

  /** The server that gave an object last, from 0; undefined if none did, or its number is too large. */
  serverOf(row: number): number | undefined {
    const server = this.#bytes[this.#repositories + row] as number;
    return server === 0 || server === ANOTHER ? undefined : server - 1;
  }

  placeOf(repository: number, row: number): Omit<RemotePlace, 'url'> {
    const state = this.#bytes[repository] as number;
    const map = state === MAP ? 'known' : state === NO_MAP ? 'none' : 'unknown';
    const place = this.#bytes[this.#placeAt(repository, row)] as number;
    if ((place & ABSENT) !== 0) return { map, place: 'absent' };
    if (place === UNKNOWN) return { map };
    return { map, place: place === IN_PACK ? 'pack' : 'file' };
  }
}

/**
 * What is known of an object in the remote repositories of a mount.
 * @param cache the number of the source that is the cache
 * @param row of the object
 */
export function remoteKnowledge(remote: Origins, cache: number, row: number): RemoteKnowledge {
  const origins = new ObjectOrigins(remote);
  const server = origins.serverOf(row);
  const from = server === undefined ? undefined : remote.servers[server];
  return {
    cache,
    ...(from === undefined ? {} : { from }),
    repositories: remote.options.addresses.map((url, i) => ({ url, ...origins.placeOf(i, row) })),
  };
}
