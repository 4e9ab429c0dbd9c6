/** The output of the guest's scripts: lines of fields separated by tabs, "case, what, …". */
export class Results {
  readonly #rows: readonly (readonly string[])[];

  constructor(lines: readonly string[]) {
    this.#rows = lines.map((line) => line.split('\t'));
  }

  /** The fields after the given ones, of each line that begins with those. */
  rows(...fields: readonly string[]): string[][] {
    return this.#rows
      .filter((row) => fields.every((field, i) => row[i] === field))
      .map((row) => row.slice(fields.length));
  }

  /** The field after the given ones; undefined if there is no such line. */
  value(...fields: readonly string[]): string | undefined {
    return this.rows(...fields)[0]?.[0];
  }

  /** The fields after the given ones, as a map: at most one line may have each key. */
  map(...fields: readonly string[]): Record<string, string> {
    return Object.fromEntries(this.rows(...fields).map((row) => [row.slice(0, -1).join(' '), row.at(-1) ?? '']));
  }
}
