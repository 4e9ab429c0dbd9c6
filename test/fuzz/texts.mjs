// Text that is read back or typed: lists of sources and of files, handles, watches. Refused with one error, or read.
import { formatHandle, parseHandle } from '../../dist/src/base/handle-format.js';
import { parseSavedFiles } from '../../dist/src/checkpoint/saved-files.js';
import { parseWatches } from '../../dist/src/checkpoint/watches.js';
import { parseMountWords } from '../../dist/src/mount/option-words.js';
import { parseSavedSources } from '../../dist/src/mount-info/saved-sources.js';

function refused(run) {
  try {
    run();
  } catch (error) {
    if (error?.constructor?.name !== 'CfsError' || error.kind !== 'usage') throw error;
  }
}

export function fuzz(bytes) {
  const text = bytes.toString('utf8');
  refused(() => parseSavedSources(text, 'list'));
  refused(() => parseSavedFiles(text, 'list'));
  refused(() => parseMountWords([text]));
  parseWatches(bytes.toString('latin1'));
  const handle = parseHandle(text);
  if (handle !== undefined && parseHandle(formatHandle(handle)) === undefined)
    throw new Error(`${text} has no text of its own`);
}
