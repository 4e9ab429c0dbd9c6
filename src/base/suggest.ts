/** "Did you mean": the known words that are nearest to an unknown one. Pure. */

/** Letters to change, at most: one of three. */
const LETTERS_EACH = 3;

/** " (did you mean verify?)", or nothing if no word is near. */
export function suggestion(word: string, known: Iterable<string>): string {
  const most = Math.max(1, Math.floor(word.length / LETTERS_EACH));
  const near = [...known]
    .map((candidate) => ({ candidate, distance: distance(word, candidate) }))
    .filter((found) => found.distance <= most)
    .sort((a, b) => a.distance - b.distance);
  const best = near.filter((found) => found.distance === near[0]?.distance).map(({ candidate }) => candidate);
  return best.length === 0 ? '' : ` (did you mean ${best.join(' or ')}?)`;
}

/** Letters to add, remove, change, or exchange with the next one (optimal string alignment). */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    const at = (k: number, j: number): number => (rows[k] as number[])[j] as number;
    for (let j = 1; j <= b.length; j++) {
      const change = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(at(i - 1, j) + 1, (row[j - 1] as number) + 1, change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, at(i - 2, j - 2) + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return (rows[a.length] as number[])[b.length] as number;
}
