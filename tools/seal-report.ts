/** The result of sealing, for people; cfs-repo and cfs-mkimage share it. */
import { oneLine } from '../src/base/bytes.ts';
import type { SealedImage } from '../src/image/seal-image.ts';
import type { SealProblem, SealResult } from '../src/store/seal.ts';
import { EXIT, type ExitStatus } from './cli.ts';
import { formatBytes, formatCount, formatCounted } from './format.ts';
import { formatTable } from './table.ts';

/** 0 if everything is sealed; 2 if the rest cannot be, because of file system or kernel; 5 for all other reasons. */
export function sealStatus(problems: readonly SealProblem[], images: readonly SealedImage[]): ExitStatus {
  const outcomes = [...problems, ...images.filter(({ reason }) => reason !== undefined)].map(({ outcome }) => outcome);
  if (outcomes.length === 0) return EXIT.ok;
  return outcomes.every((outcome) => outcome === 'unsupported') ? EXIT.system : EXIT.store;
}

/** "3,424 objects, 83.0 MB; their Merkle trees take 14.0 MB" */
export function sealedText({ sealed, sealedBytes, treeBytes }: SealResult): string {
  const trees = treeBytes > 0 ? `; their Merkle trees take ${formatBytes(treeBytes)}` : '';
  return `${formatCounted(sealed, 'object')}, ${formatBytes(sealedBytes)}${trees}`;
}

/** Lines of a table; none if there are no problems. */
export function problemLines(problems: readonly SealProblem[]): string[] {
  if (problems.length === 0) return [];
  const rows = problems.map(({ outcome, count, reason, objects }) => {
    const [first = ''] = objects;
    const name = `${first.slice(0, 2)}/${first.slice(2)}`;
    return [outcome, formatCount(count), count === 1 ? `${name}: ${reason}` : `${reason}; the first is ${name}`];
  });
  return ['', ...formatTable(['problem', 'objects', 'why'], rows)];
}

/** "doc.cfs: sealed, fsverity-sha256:…" */
export function imageText({ path, outcome, digest, reason }: SealedImage): string {
  const shown = oneLine(path);
  if (reason !== undefined) return `${shown}: not sealed: ${reason}`;
  return `${shown}: sealed${outcome === 'already' ? ' before' : ''}, ${digest}`;
}
