/** Reading an image for a command. */
import { type ImageFile, readImage as read } from '../../src/image/image-file.ts';
import { inodeCount, objectCount } from '../../src/manifest/tables.ts';
import { say } from '../verbose.ts';

/** As `readImage` of src; with -v reports the image. */
export function readImage(...args: Parameters<typeof read>): ImageFile {
  const started = performance.now();
  const image = read(...args);
  const { id, bytes, tables } = image;
  say(
    () =>
      `read image ${args[0]}: id ${id}, ${bytes} bytes, ${inodeCount(tables)} inodes, ${objectCount(tables)} objects, ` +
      `${tables.header.hash}, in ${Math.round(performance.now() - started)} ms`,
  );
  return image;
}
