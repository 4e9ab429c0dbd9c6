/** Opens the remote repositories that the words of an option or a list name. */
import type { HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import type { HttpOptions } from '../remote/http-client.ts';
import { parseRemoteAddress } from '../remote/remote-url.ts';
import type { RemoteSource } from './remote-objects.ts';
import { RemoteRepository } from './remote-repository.ts';

/**
 * Call `remote.close()` of each at the end.
 * @param words `URL[|URL…]`
 * @param hash the algorithm that names the objects
 * @throws CfsError: `usage` if a word names an image, or no server; `store`; the reason of the signal
 */
export async function openRemoteSources(
  words: readonly string[],
  hash: HashAlgorithm,
  { insecure, ...http }: HttpOptions & { readonly insecure: boolean },
  signal?: AbortSignal,
): Promise<RemoteSource[]> {
  const addresses = words.map((word) => {
    const address = parseRemoteAddress(word, insecure);
    if (address.ref === undefined && address.id === undefined) return address;
    throw new CfsError('usage', `${word} names an image: give the repository alone, ${address.text}`);
  });
  const opened: RemoteSource[] = [];
  try {
    for (const address of addresses) {
      const remote = await RemoteRepository.open(address, http, signal);
      opened.push({ remote, http });
      if (remote.hash === hash) continue;
      const reason = `it names objects by ${remote.hash}, not by ${hash}`;
      throw new CfsError('store', `Cannot use repository ${address.text}: ${reason}`);
    }
    return opened;
  } catch (error) {
    await closeSources(opened);
    throw error;
  }
}

export async function closeSources(sources: readonly RemoteSource[]): Promise<void> {
  await Promise.all(sources.map(({ remote }) => remote.close()));
}
