/** The outputs of cfs-checkpoint. */
import { path } from './common.ts';
import { bool, count, list, object, text, type Value, word } from './value.ts';

export const CHECKPOINT: Readonly<Record<string, Value>> = {
  'cfs-checkpoint prepare': object({
    mountpoint: path,
    processes: list(count).about('process ids'),
    files: count,
    watched: count,
    unlinked: count,
    linkable: count,
    relinked: count,
    holder: count.about('the process that holds their names').optional(),
    sourceList: path,
    fileList: path,
  }),
  'cfs-checkpoint restore-files': object({ files: count }),
  'cfs-checkpoint cleanup': object({ removed: list(path), kept: list(object({ id: word, directory: path })) }),
  'cfs-checkpoint release': object({ released: bool }),
  'cfs-checkpoint check': list(object({ path, uses: list(text), problem: text.optional() })),
};
