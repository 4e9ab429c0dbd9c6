/**
 * Keeps the image of a mount for later servers, even if its file is written to: `cp new.cfs live.cfs` writes into the
 * file of the mount. A copy costs as much memory as the file, so it is made only when a process is about to write: a
 * lease (system/file-lease.ts) makes the writer wait until the copy is complete. It is made at once if there are no
 * leases: on network file systems, of another user's file, and if a process already has the file open for writing.
 *
 * The copy is a file in memory, parked with the mount, empty at first and sealed when it is complete.
 */
import { closeSync, fstatSync, ftruncateSync, read, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { isErrno } from '../base/errno.ts';
import { reasonOf } from '../base/error.ts';
import { endFileLease, hasFileLease, ownFileLease, takeFileLease } from '../system/file-lease.ts';
import { isSealedMemfd, memfdCreate, sealMemfd } from '../system/memfd.ts';

/** The name of the copy in /proc/PID/fd. */
export const COPY_NAME = 'cfs-image';
const PIECE = 4 << 20;

export class ImageKeeper {
  readonly #image: number;
  /** -1 if there is none: for a mount that an older version made. */
  readonly #copy: number;
  readonly #log: (line: string) => void;
  readonly #state: string;
  #work: Promise<void> | undefined;
  #ended = false;

  private constructor(image: number, copy: number, log: (line: string) => void) {
    this.#image = image;
    this.#copy = copy;
    this.#log = log;
    this.#state = this.#stateOfImage();
    // before there is a lease: the signal would end the process
    process.on('SIGIO', () => this.look());
  }

  /** To be called before the image is read. @param image its open file */
  static begin(image: number, log: (line: string) => void): ImageKeeper {
    const copy = memfdCreate(COPY_NAME);
    const keeper = new ImageKeeper(image, isErrno(copy) ? -1 : copy, log);
    takeFileLease(image);
    return keeper;
  }

  /** In a server that takes over; both files were parked. */
  static resume(image: number, copy: number, log: (line: string) => void): ImageKeeper {
    const keeper = new ImageKeeper(image, copy, log);
    // the lease still exists, but the signal would go to the server that died
    ownFileLease(image);
    return keeper;
  }

  /** Of the copy, for the next server. */
  get copy(): number {
    return this.#copy;
  }

  /** The file that has the image: the copy if there is one. */
  get source(): number {
    return this.#copy >= 0 && isSealedMemfd(this.#copy) ? this.#copy : this.#image;
  }

  /** To be called when the mount answers: makes the copy, if writers cannot be detected or one is waiting already. */
  look(): void {
    if (this.#copy < 0 || this.#ended || this.#work !== undefined) return;
    if (isSealedMemfd(this.#copy) || hasFileLease(this.#image)) return;
    this.#work = this.#makeCopy()
      .catch((error: unknown) => {
        if (!this.#ended) this.#log(`the image cannot be kept for a server that takes over: ${reasonOf(error)}`);
      })
      .then(() => {
        this.#work = undefined;
        endFileLease(this.#image);
      });
  }

  async #makeCopy(): Promise<void> {
    ftruncateSync(this.#copy, 0); // discard the incomplete copy of a server that was killed
    const piece = Buffer.allocUnsafeSlow(PIECE);
    for (let at = 0; ; ) {
      const { bytesRead } = await promisify(read)(this.#image, piece, 0, PIECE, at);
      if (this.#ended) return;
      if (bytesRead === 0) break;
      for (let from = 0; from < bytesRead; ) from += writeSync(this.#copy, piece, from, bytesRead - from, at + from);
      at += bytesRead;
    }
    // a writer waits only for a limited time; and without a lease none waits
    if (this.#stateOfImage() !== this.#state) throw new Error('its file was written to');
    const sealed = sealMemfd(this.#copy);
    if (isErrno(sealed)) throw new Error(`the copy cannot be sealed: ${sealed}`);
  }

  #stateOfImage(): string {
    const { size, mtimeNs } = fstatSync(this.#image, { bigint: true });
    return `${size} ${mtimeNs}`;
  }

  /** The mount has ended, or failed to start. */
  end(): void {
    this.#ended = true;
    // the listener stays: a signal may still arrive
    endFileLease(this.#image);
    if (this.#copy >= 0) closeSync(this.#copy);
  }
}
