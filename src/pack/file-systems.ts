/** Which file systems can be believed that a file with the same times is the same. */
import { isErrno } from '../base/errno.ts';
import { statFileSystem } from '../system/file-status.ts';
import { setsCtime } from '../system/file-systems.ts';
import type { FileSystemId } from './source.ts';

/** The file systems that a walk has met, by `FileStat.device`. */
export class FileSystems {
  readonly #ids = new Map<number, FileSystemId | undefined>();

  /** Told of a directory that was opened. */
  meet(device: number, fd: number): void {
    if (this.#ids.has(device)) return;
    const found = statFileSystem(fd);
    const trusted = !isErrno(found) && setsCtime(found.type);
    this.#ids.set(device, trusted ? { device, id: found.id } : undefined);
  }

  /** Undefined where its times are not to be trusted, or no directory of it was met. */
  trusted(device: number): FileSystemId | undefined {
    return this.#ids.get(device);
  }
}
