/** A Chromium without a window, driven through its DevTools protocol, over a pipe. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { until } from '../support/until.ts';

type Values = Record<string, unknown>;

/** From the browser's end of the pipes: it reads 3 and writes 4. */
const COMMANDS = 3;
const ANSWERS = 4;

export class Browser {
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #waiting = new Map<number, { resolve(value: Values): void; reject(error: Error): void }>();
  readonly #listeners: ((method: string, values: Values) => void)[] = [];
  #last = 0;

  private constructor(child: ChildProcess, directory: string) {
    this.#child = child;
    this.#directory = directory;
    let rest = '';
    (child.stdio[ANSWERS] as Readable).setEncoding('utf8').on('data', (text: string) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop() ?? '';
      for (const message of messages) this.#receive(JSON.parse(message));
    });
    child.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the browser has ended'));
    });
  }

  /** To be ended with `close()`. */
  static start(): Browser {
    const directory = mkdtempSync('/tmp/cfs-browser.');
    const words = [
      '--headless=new',
      '--no-sandbox', // root has no other way
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-extensions',
      '--disable-background-networking',
      '--disable-component-update',
      '--no-first-run',
      '--hide-scrollbars',
      '--remote-debugging-pipe',
      `--user-data-dir=${directory}`,
    ];
    const child = spawn('chromium', words, {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      detached: true,
    });
    return new Browser(child, directory);
  }

  #receive({ id, method, params, result, error }: Values): void {
    if (typeof id === 'number') {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result as Values);
      else waiting?.reject(new Error(JSON.stringify(error)));
    } else for (const listen of this.#listeners) listen(String(method), params as Values);
  }

  listen(listener: (method: string, values: Values) => void): void {
    this.#listeners.push(listener);
  }

  send(method: string, params: Values = {}, sessionId?: string): Promise<Values> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      const message = JSON.stringify({ id, method, params, ...(sessionId !== undefined && { sessionId }) });
      (this.#child.stdio[COMMANDS] as Writable).write(`${message}\0`);
    });
  }

  async open(file: string): Promise<Page> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, String(sessionId));
    await page.load(pathToFileURL(file).href);
    return page;
  }

  /** Ends it with all its processes, and removes its files. */
  async close(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child;
    const ended = exitCode === null && signalCode === null ? once(this.#child, 'close') : undefined;
    if (pid !== undefined && ended !== undefined) process.kill(-pid, 'SIGKILL');
    await ended;
    // its other processes may write until they have ended, too
    await until('the files of the browser are removed', () => {
      try {
        rmSync(this.#directory, { recursive: true, force: true });
        return true;
      } catch {
        return false;
      }
    });
  }
}

/** A thing that a screen reader announces. */
export interface Announced {
  readonly role: string;
  readonly name: string;
}

export class Page {
  readonly #browser: Browser;
  readonly #session: string;
  /** Errors of scripts, of the console, and of the page's policy. */
  readonly errors: string[] = [];
  /** Addresses that were requested. */
  readonly requests: string[] = [];

  constructor(browser: Browser, session: string) {
    this.#browser = browser;
    this.#session = session;
    browser.listen((method, values) => {
      const { entry, exceptionDetails, type, request } = values as Record<string, Values | undefined>;
      if (method === 'Runtime.exceptionThrown') this.errors.push(JSON.stringify(exceptionDetails));
      if (method === 'Runtime.consoleAPICalled' && String(type) === 'error') this.errors.push(JSON.stringify(values));
      if (method === 'Log.entryAdded' && entry?.['level'] === 'error') this.errors.push(String(entry['text']));
      if (method === 'Network.requestWillBeSent') this.requests.push(String(request?.['url']));
    });
  }

  send(method: string, params: Values = {}): Promise<Values> {
    return this.#browser.send(method, params, this.#session);
  }

  async load(url: string): Promise<void> {
    for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'Accessibility']) await this.send(`${domain}.enable`);
    await this.send('Page.navigate', { url });
    await until('the page is loaded', async () =>
      this.value<boolean>("document.readyState === 'complete' && location.protocol === 'file:'"),
    );
  }

  /** The value of an expression in the page. */
  async value<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, returnByValue: true });
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return (result as { value: T }).value;
  }

  /**
   * A click of the mouse in the middle of an element. Where a frame of the page comes late, the place may show
   * something else at the moment of the click: then it is clicked again.
   * @param element an expression
   */
  async click(element: string): Promise<void> {
    await until(`a click reaches ${element}`, async () => {
      const [x, y] = await this.value<[number, number]>(
        `(() => { const element = ${element}; element.scrollIntoView({ block: 'center' });
          globalThis.clickReached = false;
          addEventListener('click', ({ target }) => { globalThis.clickReached = element.contains(target); },
            { capture: true, once: true });
          const { x, y, width, height } = element.getBoundingClientRect(); return [x + width / 2, y + height / 2]; })()`,
      );
      const at = { x, y, button: 'left', clickCount: 1 };
      await this.send('Input.dispatchMouseEvent', { type: 'mousePressed', ...at });
      await this.send('Input.dispatchMouseEvent', { type: 'mouseReleased', ...at });
      return this.value('globalThis.clickReached');
    });
  }

  async type(text: string): Promise<void> {
    await this.send('Input.insertText', { text });
  }

  async press(key: string, code = key, keyCode = 0): Promise<void> {
    const text = key === 'Enter' ? { text: '\r' } : {};
    const event = { key, code, windowsVirtualKeyCode: keyCode, ...text };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  /** What screen readers see. */
  async announced(): Promise<Announced[]> {
    const { nodes } = await this.send('Accessibility.getFullAXTree');
    return (nodes as { ignored: boolean; role?: { value: string }; name?: { value: string } }[]).flatMap(
      ({ ignored, role, name }) => (ignored ? [] : [{ role: role?.value ?? '', name: name?.value ?? '' }]),
    );
  }
}
