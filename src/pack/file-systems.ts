/** File systems whose times are reliable: a file with the same times is unchanged. */
import { isErrno } from '../base/errno.ts';
import { statFileSystem } from '../system/file-status.ts';
import { setsCtime } from '../system/file-systems.ts';
import type { FileSystemId } from './source.ts';

/** The file systems that a walk has visited, by `FileStat.device`. */
export class FileSystems {
  readonly #ids = new Map<number, FileSystemId | undefined>();

  /** To be called for each opened directory. */
  meet(device: number, fd: number): void {
    if (this.#ids.has(device)) return;
    const found = statFileSystem(fd);
    const trusted = !isErrno(found) && setsCtime(found.type);
    this.#ids.set(device, trusted ? { device, id: found.id } : undefined);
  }

  /** Undefined if its times are not reliable, or no directory of it was visited. */
  trusted(device: number): FileSystemId | undefined {
    return this.#ids.get(device);
  }
}
