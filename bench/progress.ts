/** The current work, on stderr: a line that is overwritten on a terminal, else a line for each new step. */

/** The part of a text that names a step: the rest is turns of it. */
const stepOf = (text: string): string => text.split(': ', 1)[0] as string;

const TICK_MS = 1000;
/** After this time without a line there is another one. */
const SILENT_MS = 20_000;

/** @param columns width of the terminal; undefined if there is none */
export class Progress {
  readonly #write: (text: string) => void;
  readonly #columns: number | undefined;
  readonly #began = Date.now();
  readonly #timer: NodeJS.Timeout;
  #step = '';
  #text = '';
  /** The time of the last line, if there is no terminal. */
  #written = 0;

  constructor(write: (text: string) => void, columns: number | undefined) {
    this.#write = write;
    this.#columns = columns;
    this.#timer = setInterval(() => this.#remind(), TICK_MS).unref();
  }

  /** "what: turn" */
  show(text: string): void {
    this.#text = text;
    if (this.#columns !== undefined) {
      this.#write(`\r\x1b[K${`${this.#elapsed()} ${text}`.slice(0, this.#columns - 1)}`);
    } else if (stepOf(text) !== this.#step) {
      this.#step = stepOf(text);
      this.#line(this.#step);
    }
  }

  /** A line that remains. */
  say(text: string): void {
    if (this.#columns !== undefined) this.#write('\r\x1b[K');
    this.#line(text);
  }

  /** A long step shows that it continues: its clock runs on a terminal; elsewhere there is a line now and then. */
  #remind(): void {
    if (this.#text === '') return;
    if (this.#columns !== undefined) this.show(this.#text);
    else if (Date.now() - this.#written >= SILENT_MS) this.#line(this.#text);
  }

  #line(text: string): void {
    this.#written = Date.now();
    this.#write(`${this.#elapsed()} ${text}\n`);
  }

  #elapsed(): string {
    return clock(Date.now() - this.#began);
  }

  /** Removes the line. */
  end(): void {
    clearInterval(this.#timer);
    if (this.#columns !== undefined) this.#write('\r\x1b[K');
  }
}

/** "12:05": minutes and seconds. */
function clock(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
