/** What the guest's scripts print: lines of fields that tabs separate, "case, what, …". */
export class Results {
  readonly #rows: readonly (readonly string[])[];

  constructor(lines: readonly string[]) {
    this.#rows = lines.map((line) => line.split('\t'));
  }

  /** What follows the given fields, in each line that begins with them. */
  rows(...fields: readonly string[]): string[][] {
    return this.#rows
      .filter((row) => fields.every((field, i) => row[i] === field))
      .map((row) => row.slice(fields.length));
  }

  /** The field after the given ones; undefined where there is no such line. */
  value(...fields: readonly string[]): string | undefined {
    return this.rows(...fields)[0]?.[0];
  }

  /** The fields after the given ones, where one line at most has each. */
  map(...fields: readonly string[]): Record<string, string> {
    return Object.fromEntries(this.rows(...fields).map((row) => [row.slice(0, -1).join(' '), row.at(-1) ?? '']));
  }
}
