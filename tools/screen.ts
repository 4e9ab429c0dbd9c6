/**
 * A terminal that is drawn anew again and again: on its second screen, so that the first is as it was afterwards, also
 * if the program is stopped or ended by a signal.
 */
import { InterruptedError } from './cli.ts';

const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const TO_END_OF_LINE = '\x1b[K';
const TO_END_OF_SCREEN = '\x1b[J';
// terminals that know this show a frame at once; the others ignore it
const BEGIN_FRAME = '\x1b[?2026h';
const END_FRAME = '\x1b[?2026l';

const CTRL_C = '\x03';
const CTRL_Z = '\x1a';
const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class Screen {
  readonly #out = process.stdout;
  #isShown = false;
  #wake: () => void = () => undefined;
  #end: 'quit' | InterruptedError | undefined;
  /** True if the terminal has another size or was lost from view: draw at once. */
  #isStale = false;

  constructor() {
    for (const signal of ENDING) process.on(signal, this.#onEnding);
    process.on('SIGTSTP', this.#suspend);
    process.once('exit', this.#leave);
    this.#out.on('resize', this.#refresh);
    this.#enter();
  }

  get size(): { readonly columns: number; readonly rows: number } {
    return { columns: this.#out.columns || 80, rows: this.#out.rows || 24 };
  }

  /** Draws over what was there: nothing is cleared before. */
  draw(lines: readonly string[]): void {
    if (!this.#isShown) return;
    const text = lines.map((line) => `${line}${TO_END_OF_LINE}`).join('\r\n');
    this.#out.write(`${BEGIN_FRAME}${HOME}${text}${TO_END_OF_SCREEN}${END_FRAME}`);
  }

  /**
   * Waits so many milliseconds.
   * @returns `stale` if the screen must be drawn anew before that, `quit` if the user wants to end
   * @throws InterruptedError after a signal
   */
  async wait(ms: number): Promise<'time' | 'stale' | 'quit'> {
    if (this.#end === undefined && !this.#isStale) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (this.#end instanceof InterruptedError) throw this.#end;
    if (this.#end === 'quit') return 'quit';
    const isStale = this.#isStale;
    this.#isStale = false;
    return isStale ? 'stale' : 'time';
  }

  /** Restores the terminal. */
  close(): void {
    this.#leave();
    for (const signal of ENDING) process.off(signal, this.#onEnding);
    process.off('SIGTSTP', this.#suspend);
    process.off('exit', this.#leave);
    this.#out.off('resize', this.#refresh);
  }

  readonly #onEnding = (signal: NodeJS.Signals): void => {
    this.#leave();
    this.#end = new InterruptedError(signal, `stopped by ${signal}`);
    this.#wake();
  };

  readonly #onKey = (keys: string): void => {
    // the terminal sends no signals for keys while it is raw
    if (keys.includes(CTRL_C)) this.#onEnding('SIGINT');
    else if (keys.includes(CTRL_Z)) this.#suspend();
    else if (/q/i.test(keys)) {
      this.#end = 'quit';
      this.#wake();
    }
  };

  readonly #refresh = (): void => {
    this.#isStale = true;
    this.#wake();
  };

  readonly #suspend = (): void => {
    this.#leave();
    process.off('SIGTSTP', this.#suspend);
    // without a handler the whole job stops here, until the shell continues it; without a shell, nothing does
    process.kill(0, 'SIGTSTP');
    setImmediate(this.#resume);
  };

  readonly #resume = (): void => {
    if (this.#isShown || this.#end !== undefined) return;
    process.on('SIGTSTP', this.#suspend);
    this.#enter();
    this.#refresh();
  };

  #enter(): void {
    this.#isShown = true;
    this.#out.write(ENTER);
    if (!process.stdin.isTTY) return;
    process.stdin.setRawMode(true);
    process.stdin.setEncoding('utf8').on('data', this.#onKey).resume();
  }

  readonly #leave = (): void => {
    if (!this.#isShown) return;
    this.#isShown = false;
    if (process.stdin.isTTY) {
      process.stdin.off('data', this.#onKey).pause();
      process.stdin.setRawMode(false);
    }
    this.#out.write(LEAVE);
  };
}
