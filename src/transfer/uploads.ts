/** Files that are written to a remote repository beside other work. */
import type { PushTarget } from './push-target.ts';

/** Writes some files at a time. */
export class Uploads {
  readonly #target: PushTarget;
  readonly #most: number;
  readonly #signal: AbortSignal | undefined;
  readonly #running = new Set<Promise<void>>();
  #error: unknown;
  #files = 0;
  #bytes = 0;
  #existing = 0;

  constructor(target: PushTarget, most: number, signal: AbortSignal | undefined) {
    this.#target = target;
    this.#most = most;
    this.#signal = signal;
  }

  get statistics(): { readonly files: number; readonly bytes: number; readonly existingPacks: number } {
    return { files: this.#files, bytes: this.#bytes, existingPacks: this.#existing };
  }

  /** Writes a file that is named by its content, unless it is there; waits only for others. @throws an earlier error */
  async begin(name: string, bytes: Uint8Array): Promise<void> {
    while (this.#running.size >= this.#most) await Promise.race(this.#running);
    if (this.#error !== undefined) throw this.#error;
    const upload = this.#write(name, bytes)
      .catch((error: unknown) => {
        this.#error ??= error;
      })
      .finally(() => this.#running.delete(upload));
    this.#running.add(upload);
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await this.#target.put(name, bytes, this.#signal);
    this.#files++;
    this.#bytes += bytes.length;
  }

  /** Waits for all. @throws the first error */
  async done(): Promise<void> {
    await this.end();
    if (this.#error !== undefined) throw this.#error;
  }

  /** Waits for all. */
  async end(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #write(name: string, bytes: Uint8Array): Promise<void> {
    if (await this.#target.has(name, this.#signal)) this.#existing++;
    else await this.write(name, bytes);
  }
}
