/** Zstandard, by the system's libzstd (1.4 or later). Loaded at the first call. */
import { CfsError, reasonOf } from '../base/error.ts';
import { koffi } from './libc.ts';

type Call = (...args: unknown[]) => unknown;

interface Library {
  readonly compress: Call;
  readonly decompress: Call;
  readonly isError: Call;
  readonly contentSize: Call;
  readonly compressContext: unknown;
  readonly decompressContext: unknown;
}

let library: Library | undefined;

/** @throws CfsError (system) if the machine has no libzstd */
function zstd(): Library {
  if (library !== undefined) return library;
  try {
    const lib = koffi().load('libzstd.so.1');
    const make = (prototype: string): Call => lib.func(prototype) as unknown as Call;
    library = {
      compress: make(
        'size_t ZSTD_compressCCtx(void *context, void *out, size_t room, const void *bytes, size_t length, int level)',
      ),
      decompress: make(
        'size_t ZSTD_decompressDCtx(void *context, void *out, size_t room, const void *bytes, size_t length)',
      ),
      isError: make('unsigned int ZSTD_isError(size_t code)'),
      contentSize: make('uint64_t ZSTD_getFrameContentSize(const void *bytes, size_t length)'),
      compressContext: make('void *ZSTD_createCCtx()')(),
      decompressContext: make('void *ZSTD_createDCtx()')(),
    };
    return library;
  } catch (error) {
    throw new CfsError('system', `Cannot load libzstd: ${reasonOf(error)}`, {
      hint: 'Install the library: the package is named libzstd1 or libzstd.',
      cause: error,
    });
  }
}

/**
 * Compresses `bytes` as one frame that names its content's size.
 * @param out where the frame is written
 * @param level 1 to 19
 * @returns its length; -1 if it does not fit into `out`
 * @throws CfsError (system) if there is no libzstd
 */
export function compressFrame(bytes: Uint8Array, out: Uint8Array, level: number): number {
  const { compress, compressContext, isError } = zstd();
  const length = compress(compressContext, out, out.length, bytes, bytes.length, level);
  return isError(length) === 0 ? Number(length) : -1;
}

/**
 * Decompresses one frame, or several in a row. Nothing is written outside `out`, whatever the frame says.
 * @returns the number of bytes; -1 if the frame is damaged, or its content does not fit into `out`
 * @throws CfsError (system) if there is no libzstd
 */
export function decompressFrame(frame: Uint8Array, out: Uint8Array): number {
  const { decompress, decompressContext, isError } = zstd();
  const length = decompress(decompressContext, out, out.length, frame, frame.length);
  return isError(length) === 0 ? Number(length) : -1;
}

/** The bytes of the content that a frame says it has; -1 if it does not say, or is no frame. It may say anything. */
export function frameContentSize(frame: Uint8Array): number {
  const size = BigInt(zstd().contentSize(frame, frame.length) as number | bigint);
  return size > BigInt(Number.MAX_SAFE_INTEGER) ? -1 : Number(size);
}
