/** A remote repository as programs see it: what it is, and the images that it has. */
import type { HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { decodeImage } from '../image/image-file.ts';
import type { ImageParts } from '../image/image-parts.ts';
import { requireSignature } from '../image/image-signature.ts';
import { objectSizes } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { ByteRange } from '../remote/http-answer.ts';
import { HttpClient, type HttpOptions } from '../remote/http-client.ts';
import { fetchMap } from '../remote/image-map.ts';
import type { ObjectMap } from '../remote/map-format.ts';
import { Mirrors, UnavailableError } from '../remote/mirrors.ts';
import { hashOfMeta, IMAGE_LIMIT, META_LIMIT } from '../remote/remote-files.ts';
import type { RemoteAddress } from '../remote/remote-url.ts';
import { decodeRef, imageName, META_NAME, REF_LIMIT, refName } from '../remote/tree-names.ts';
import type { TrustedKey } from '../sign/keys.ts';
import { storedImage } from './stored-image.ts';

/** An image that was fetched; its id is verified. */
export interface RemoteImage {
  readonly id: string;
  /** The image file. */
  readonly bytes: Uint8Array;
  readonly tables: ManifestTables;
}

export class RemoteRepository {
  readonly address: RemoteAddress;
  readonly hash: HashAlgorithm;
  readonly #client: HttpClient;
  readonly #mirrors: Mirrors;

  private constructor(address: RemoteAddress, hash: HashAlgorithm, client: HttpClient, mirrors: Mirrors) {
    this.address = address;
    this.hash = hash;
    this.#client = client;
    this.#mirrors = mirrors;
  }

  /**
   * Asks what there is. Call `close` at the end.
   * @throws CfsError (store) if there is no repository, or no server answers; the reason of the signal
   */
  static async open(address: RemoteAddress, options: HttpOptions, signal?: AbortSignal): Promise<RemoteRepository> {
    const client = new HttpClient(options);
    try {
      const mirrors = new Mirrors(client, address.mirrors);
      const meta = await fetchFrom(mirrors, META_NAME, META_LIMIT, address.text, signal, checkMeta);
      if (meta === undefined) {
        throw new CfsError('store', `Cannot use ${address.text} as a repository: it has no ${META_NAME}`);
      }
      return new RemoteRepository(address, hashOfMeta(meta) as HashAlgorithm, client, mirrors);
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  /**
   * The id of the image that the address names, or of a name.
   * @throws CfsError: `usage` if the address names none; `image` if the repository has no such name; `store`
   */
  async imageId(ref: string | undefined = this.address.ref, signal?: AbortSignal): Promise<string> {
    if (this.address.id !== undefined && ref === this.address.ref) return this.address.id;
    if (ref === undefined) {
      throw new CfsError('usage', `${this.address.text} names no image: add #NAME or @ID`);
    }
    const bytes = await this.#fetch(refName(ref), REF_LIMIT, signal, (bytes) => reasonUnless(() => decodeRef(bytes)));
    if (bytes === undefined) throw new CfsError('image', `${this.address.text} has no image named ${ref}`);
    return decodeRef(bytes).image;
  }

  /**
   * Fetches and validates an image.
   * @param keys one of these must have signed it
   * @throws CfsError: `image` if it is not there, malformed or not signed; `store`
   */
  async image(id: string, keys?: readonly TrustedKey[], signal?: AbortSignal): Promise<RemoteImage> {
    const name = `${this.address.text}@${id}`;
    let image: { readonly bytes: Uint8Array; readonly parts: ImageParts } | undefined;
    const found = await this.#fetch(imageName(id), IMAGE_LIMIT, signal, (compressed) =>
      reasonUnless(() => {
        image = storedImage(id, compressed);
      }),
    );
    if (found === undefined || image === undefined) throw new CfsError('image', `There is no image ${name}`);
    const { bytes, parts } = image;
    if (keys !== undefined) requireSignature(name, id, parts.signature, keys);
    const tables = decodeImage(name, parts);
    if (tables.header.hash === this.hash) return { id, bytes, tables };
    const reason = `it names objects by ${tables.header.hash}, the repository by ${this.hash}`;
    throw new CfsError('store', `Cannot use image ${name}: ${reason}`);
  }

  /**
   * Where the objects of an image are; undefined if the repository has no map of it: then each is a file.
   * @throws CfsError (store)
   */
  async map(id: string, tables: ManifestTables, signal?: AbortSignal): Promise<ObjectMap | undefined> {
    try {
      return await fetchMap(this.#mirrors, id, { hash: this.hash, sizes: objectSizes(tables) }, signal);
    } catch (error) {
      throw error instanceof UnavailableError ? unusable(this.address.text, error) : error;
    }
  }

  /** Whether a server has a file. @throws CfsError (store) if none can be asked */
  async has(name: string, signal?: AbortSignal): Promise<boolean> {
    const range = { from: 0, length: 1 };
    const found = await fetchFrom(this.#mirrors, name, 1, this.address.text, signal, () => undefined, range);
    return found !== undefined;
  }

  /**
   * A file of the repository as it is there; undefined if there is none.
   * @param name relative to it
   * @param most bytes; a longer one is refused
   * @param check says what is wrong with it; then another server is asked
   * @throws CfsError (store); the reason of the signal
   */
  async file(
    name: string,
    most: number,
    check: (bytes: Uint8Array) => string | undefined,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    return await this.#fetch(name, most, signal, check);
  }

  async #fetch(
    name: string,
    most: number,
    signal: AbortSignal | undefined,
    check: (bytes: Buffer) => unknown,
  ): Promise<Uint8Array | undefined> {
    return await fetchFrom(this.#mirrors, name, most, this.address.text, signal, check);
  }
}

/** @returns undefined if the file is absent */
async function fetchFrom(
  mirrors: Mirrors,
  name: string,
  most: number,
  address: string,
  signal: AbortSignal | undefined,
  check: (bytes: Buffer) => unknown,
  range?: ByteRange,
): Promise<Uint8Array | undefined> {
  const isWrong = (bytes: Buffer): string | undefined => {
    const result = check(bytes);
    return typeof result === 'string' ? result : undefined;
  };
  try {
    return (await mirrors.fetch(name, { most, signal, range, check: isWrong })).bytes;
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    if (error.isAbsent) return undefined;
    throw unusable(address, error);
  }
}

const unusable = (address: string, error: UnavailableError): CfsError =>
  new CfsError('store', `Cannot use repository ${address}: ${error.message}`, { cause: error });

/** The result, or the message of a CfsError. */
function reasonUnless<T>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    if (error instanceof CfsError) return error.message;
    throw error;
  }
}

const checkMeta = (bytes: Buffer): string | undefined =>
  hashOfMeta(bytes) === undefined ? 'it is not the meta.json of a repository' : undefined;
