/** `cfs-repo report`: the page, in a browser. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { until } from '../support/until.ts';
import { Browser, type Page } from './browser.ts';
import { flipBit } from './damage.ts';
import { useScratch } from './harness.ts';
import { HERE, succeed } from './run.ts';

const scratch = useScratch();
const random = new Random(29);
const source = scratch.directory('source');
const images = scratch.directory('images');
const file = scratch.at('report.html');
const PWN = 'globalThis.pwned=1';

const report = (...args: readonly string[]) => scratch.tool('cfs-repo', ['report', ...args, scratch.store]);

const put = (path: string, bytes: number): void => {
  mkdirSync(join(source, path, '..'), { recursive: true });
  writeFileSync(join(source, path), random.bytes(bytes));
};

/** Names that end an element, a string or an attribute, or are markup of their own. */
const HOSTILE = [
  `x</script><script>${PWN}</script>`,
  `<img src=x onerror=${PWN}>`,
  `"><svg onload=${PWN}>`,
  `' onmouseover='${PWN}`,
  `<!--<script>${PWN}`,
  '\u202egpj.exe',
  '\u2028line',
  `\${${PWN}}`,
  '&lt;b&gt;&amp;',
  '-->]]>',
];

async function pack(name: string): Promise<void> {
  await scratch.pack(source, { image: join(images, name) });
}

beforeAll(async () => {
  put('usr/bin/large', 400_000);
  put('usr/bin/small', 10_000);
  put('usr/share/doc/readme', 50_000);
  put('etc/config', 5_000);
  await pack('1.cfs');
  for (const name of HOSTILE) put(join('hostile', name), 20_000);
  renameSync(join(source, 'usr/share/doc'), join(source, 'usr/share/documents'));
  writeFileSync(join(source, 'etc/config'), 'another '.repeat(1000));
  await pack(`<b onclick=${PWN}>2.cfs`);
  rmSync(join(source, 'usr/bin/small'));
  put('var/lib/data', 900_000);
  await pack('3.cfs');
  expect(await report('-o', file)).toMatchObject({ status: 0, stdout: '', stderr: '' });
});

describe('in a browser', () => {
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    browser = Browser.start();
    page = await browser.open(file);
  });
  // each from the start: one that fails does not change what the next one sees
  beforeEach(() => page.load(pathToFileURL(file).href));
  afterAll(() => browser.close());

  const text = (id: string): Promise<string> => page.value(`document.getElementById('${id}').textContent`);
  const cell = (name: string): string =>
    `[...document.querySelectorAll('#map button')].find((one) => one.firstChild.textContent === ${JSON.stringify(name)})`;
  const choose = (id: string, value: number): Promise<unknown> =>
    page.value(`(() => { const element = document.getElementById('${id}'); element.value = '${value}';
      element.dispatchEvent(new Event('change')); return null; })()`);
  const clear = (id: string): Promise<unknown> =>
    page.value(`(() => { const element = document.getElementById('${id}'); element.value = '';
      element.dispatchEvent(new Event('input')); return null; })()`);

  test('loads nothing', () => {
    const requests = page.requests.filter((url) => !url.startsWith('data:'));
    expect(new Set(requests)).toEqual(new Set([pathToFileURL(file).href]));
  });

  test('a click into the treemap opens a directory, and Escape goes back', async () => {
    expect(await text('said')).toMatch(/^\/: 900 kB unique of /);
    await page.click(cell('var'));
    await until('the directory is open', async () => (await text('way')) === '/var');
    await page.click(cell('lib'));
    await until('its directory is open', async () => (await text('way')) === '/var/lib');
    expect(await text('said')).toBe('/var/lib: 900 kB unique of 900 kB');
    // its cell has the focus: the keyboard goes on from there
    expect(await page.value("document.activeElement.getAttribute('aria-label')")).toBe('data, 900 kB unique of 900 kB');
    await page.press('Escape', 'Escape', 27);
    await until('it is closed', async () => (await text('way')) === '/var');
    await page.press('Escape', 'Escape', 27);
    await until('the root is shown', async () => (await text('way')) === '/');
  });

  test('the keyboard opens a directory, too', async () => {
    await page.value(`(${cell('var')}).focus()`);
    await page.press('Enter', 'Enter', 13);
    await until('the directory is open', async () => (await text('way')) === '/var');
    await page.click("document.querySelector('#way button')");
    await until('the root is shown', async () => (await text('way')) === '/');
  });

  test('the areas of cells are the bytes', async () => {
    await page.click("document.getElementById('all')");
    await until('all bytes are shown', async () =>
      page.value("document.getElementById('map').getAttribute('aria-label').endsWith('by all bytes')"),
    );
    const areas = await page.value<[number, number][]>(
      `[...document.querySelectorAll('#map button')].map(({ style }) => [parseFloat(style.width) * parseFloat(style.height), 0])`,
    );
    const whole = areas.reduce((sum, [area]) => sum + area, 0);
    expect(whole).toBeCloseTo(10_000, 0);
    const share = await page.value<number>(
      `(({ style }) => parseFloat(style.width) * parseFloat(style.height))(${cell('var')})`,
    );
    const total = JSON.parse((await report('--json')).stdout).images[2].space;
    expect(share / whole).toBeCloseTo(900_000 / total.bytes, 3);
  });

  test('finds paths in all images, and goes there', async () => {
    await page.click("document.getElementById('search')");
    await page.type('BIN/small');
    await until('the paths are found', async () => (await text('hits')) === '2 paths found');
    expect(await text('found')).toContain('/usr/bin/small');
    // those of the chosen image come first; here it is only in the others
    await page.click("document.querySelector('#found button')");
    await until('its directory is shown', async () => (await text('way')) === '/usr/bin');
    expect(await page.value("document.getElementById('image').value")).toBe('0');
  });

  test('compares any two images, in both directions', async () => {
    await choose('from', 0);
    await choose('to', 2);
    const forward = await text('difference');
    expect(forward).toMatch(/^16 added \(1\.1 MB\), 1 removed \(−?10\.0 kB\), \d+ changed \(\+3\.0 kB\), 1 renamed/);
    expect(await text('changes')).toContain('/usr/share/documentsfrom /usr/share/doc');
    await choose('from', 2);
    await choose('to', 0);
    expect(await text('difference')).toMatch(/^1 added \(10\.0 kB\), 16 removed /);
    expect(await text('changes')).toContain('/usr/share/docfrom /usr/share/documents');
    await page.click("document.getElementById('filter')");
    await page.type('config');
    await until('the lines are filtered', async () =>
      page.value("document.querySelectorAll('#changes tr').length === 1"),
    );
    expect(await text('changes')).toMatch(/changed\/etc\/configcontent, ?mtime/);
    await clear('filter');
    await choose('to', 2);
    expect(await text('difference')).toMatch(/^This is the same image\./);
  });

  test('hostile names are text', async () => {
    await choose('from', 0);
    await choose('to', 1);
    const changes = await text('changes');
    for (const name of HOSTILE.filter((one) => !/[\u202e\u2028]/.test(one))) expect(changes).toContain(name);
    // these could turn other text around, or end a line
    expect(changes).not.toMatch(/[\u202e\u2028]/);
    expect(changes).toContain('\\xe2\\x80\\xaegpj.exe');
    await choose('image', 1);
    await page.click("document.getElementById('all')");
    await page.click(cell('hostile'));
    await until('their directory is open', async () => (await text('way')) === '/hostile');
    expect(await page.value("document.querySelectorAll('#map button').length")).toBe(HOSTILE.length);
    for (const x of [0, 1, 2]) await page.click(`document.querySelectorAll('#map button')[${x}]`);
    expect(await page.value('typeof globalThis.pwned')).toBe('undefined');
    expect(await page.value("document.querySelectorAll('img, script:not(#data)').length")).toBe(1);
    expect(await page.value("document.querySelectorAll('[onerror], [onload], [onclick], [onmouseover]').length")).toBe(
      0,
    );
  });

  test('the policy forbids scripts and styles that are not of the page', async () => {
    await page.value(`(() => { const script = document.createElement('script'); script.textContent = '${PWN}';
      document.body.append(script); script.remove(); return null; })()`);
    expect(await page.value('typeof globalThis.pwned')).toBe('undefined');
    await until('the refusal is reported', () => page.errors.length > 0);
    // the only error, and expected
    expect(page.errors.splice(0)).toEqual([expect.stringMatching(/Content Security Policy/)]);
  });

  test('everything has a name for screen readers', async () => {
    const all = await page.announced();
    const roles = ['button', 'combobox', 'searchbox', 'radio', 'link', 'image', 'img', 'group', 'region', 'navigation'];
    const wanted = all.filter(({ role }) => roles.includes(role));
    expect(new Set(wanted.map(({ role }) => role)).size).toBeGreaterThanOrEqual(6);
    // a fieldset without a legend is a group without a name
    expect(wanted.filter(({ name }) => name.trim() === '')).toEqual([]);
    const headings = all.filter(({ role }) => role === 'heading').map(({ name }) => name);
    expect(headings.slice(1, 6)).toEqual(['Images', 'In common', 'Space by directory', 'Differences', 'Health']);
    expect(all.some(({ role }) => role === 'main')).toBe(true);
    expect(all.map(({ name }) => name)).toContain('Treemap of / by unique bytes');
  });

  test.each(['light', 'dark'])('text can be read in the %s scheme', async (scheme) => {
    await page.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    const low = await page.value<string[]>(`(() => {
      const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number).map((n) => colour.startsWith('color(') ? n * 255 : n);
      const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map((c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
      const behind = (element) => { for (let at = element; at; at = at.parentElement) { const colour = getComputedStyle(at).backgroundColor;
        if (!/rgba\\(.*, 0\\)|transparent/.test(colour)) return numbers(colour); } return [255, 255, 255]; };
      return [...document.querySelectorAll('main *, header *')].filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .filter((one) => !one.closest('script, noscript, option, title') && one.getClientRects().length > 0).flatMap((one) => {
          const [a, b] = [numbers(getComputedStyle(one).color), behind(one)].map(light).sort((x, y) => y - x);
          return (a + 0.05) / (b + 0.05) < 4.5 ? [one.outerHTML.slice(0, 120) + ' ' + (a + 0.05) / (b + 0.05)] : []; }); })()`);
    expect(low).toEqual([]);
    const page1 = await page.value<string>('getComputedStyle(document.body).backgroundColor');
    expect(page1).toBe(scheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(13, 17, 23)');
  });

  test('fits into a narrow window', async () => {
    await page.send('Emulation.setDeviceMetricsOverride', {
      width: 340,
      height: 700,
      deviceScaleFactor: 1,
      mobile: false,
    });
    await until('the window is narrow', async () => page.value('innerWidth === 340'));
    expect(await page.value('document.documentElement.scrollWidth')).toBeLessThanOrEqual(340);
    await page.send('Emulation.clearDeviceMetricsOverride');
  });

  test('can be printed: without controls, with everything that was hidden in lists', async () => {
    await page.send('Emulation.setEmulatedMedia', { media: 'print' });
    const shown = (selector: string): Promise<number> =>
      page.value(`document.querySelector('${selector}').getClientRects().length`);
    expect(await shown('.controls')).toBe(0);
    expect(await shown('#entries')).toBeGreaterThan(0);
    expect(await page.value("getComputedStyle(document.querySelector('.list')).overflow")).toBe('visible');
    const { data } = await page.send('Page.printToPDF');
    expect(Buffer.from(String(data), 'base64').subarray(0, 5).toString()).toBe('%PDF-');
    await page.send('Emulation.setEmulatedMedia', { media: '' });
  });

  test('no error was logged in all that time', () => {
    expect(page.errors).toEqual([]);
  });
});

test('the page of a repository without images, or with one, has no errors', async () => {
  const browser = Browser.start();
  try {
    const store = scratch.at('other-store');
    await scratch.tool('cfs-repo', ['init', store]);
    for (const name of ['none', 'one']) {
      const path = scratch.at(`${name}.html`);
      if (name === 'one') {
        await scratch.tool('cfs-mkimage', ['--quiet', '--store', store, source, join(images, 'other.cfs')]);
      }
      expect(await scratch.tool('cfs-repo', ['report', '-o', path, store])).toMatchObject({ status: 0, stderr: '' });
      const page = await browser.open(path);
      expect(page.errors).toEqual([]);
      const heading = await page.value<string>("document.querySelector('h1').textContent");
      expect(heading).toBe(`Repository ${store}`);
    }
  } finally {
    await browser.close();
  }
});

test('health: what fsck finds, and the problems of a mount', async () => {
  const { stdout } = await scratch.tool('cfs-info', ['stat', '--json', join(images, '3.cfs'), '/var/lib/data']);
  const object = JSON.parse(stdout)[0].object as string;
  const mount = await scratch.mount(join(images, '3.cfs'));
  flipBit(join(scratch.store, 'objects', object.slice(0, 2), object.slice(2)), 1000);
  expect(() => readFileSync(mount.at('var/lib/data'))).toThrow(/EIO/);
  expect(await report('--fsck', '-o', file)).toMatchObject({ status: 0 });
  const page = readFileSync(file, 'utf8');
  expect(page).toContain(`<code title="${object}">`);
  expect(page).toContain('3.cfs:/var/lib/data');
  expect(page).toContain('/var/lib/data: object');
  expect(page).toContain(mount.path);
  await mount.unmount();
  // nothing was changed
  expect(existsSync(join(scratch.store, 'quarantine'))).toBe(false);
  expect(page).toContain('No run of <code>cfs-repo fsck</code> is recorded.');
  expect((await scratch.tool('cfs-repo', ['fsck', scratch.store])).status).toBe(EXIT.found);
  await scratch.tool('cfs-repo', ['gc', scratch.store]);
  const { health } = JSON.parse((await report('--json')).stdout) as { health: Record<string, unknown> };
  expect(health).toMatchObject({ lastFsck: { damaged: 1, repaired: 0, badRoots: 0 }, lastGc: { freedObjects: 0 } });
  await report('-o', file);
  expect(readFileSync(file, 'utf8')).toMatch(
    /Problem\.<\/span> <code>cfs-repo fsck<\/code>, .*: 1 damaged, of these 0 rep/,
  );
});

test('long names are shortened, and an image that is gone counts and is listed', async () => {
  const long = scratch.directory('long');
  const deep = Array.from({ length: 12 }, () => 'd'.repeat(200)).join('/');
  mkdirSync(join(long, deep), { recursive: true });
  await scratch.pack(long, { image: join(images, 'before.cfs') });
  writeFileSync(join(long, deep, 'f'.repeat(255)), random.bytes(1000));
  await scratch.pack(long, { image: join(images, 'after.cfs') });
  rmSync(join(images, '1.cfs'));
  const { images: read, unread, usage, comparisons } = JSON.parse((await report('--json')).stdout);
  expect(Object.values(unread)).toEqual(['its file is not there']);
  expect(usage.images).toHaveLength(read.length + 1);
  const paths = comparisons.flatMap(({ lines }: { lines: { path: string }[] }) => lines.map(({ path }) => path));
  expect(Math.max(...paths.map((path: string) => path.length))).toBe(240);
  expect(await report('-o', file)).toMatchObject({ status: 0 });
  expect(readFileSync(file, 'utf8')).toContain('<span class="soft">its file is not there</span>');
});

test('a file is replaced in one step, and a pipe is written to', async () => {
  writeFileSync(file, 'before');
  expect(await report('-o', file)).toMatchObject({ status: 0 });
  expect(readFileSync(file, 'utf8')).toMatch(/^<!DOCTYPE html>/);
  expect(readdirSync(scratch.path).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  const words = HERE.tool('cfs-repo', ['report', '-o', '/dev/stdout', scratch.store]).map((word) => `'${word}'`);
  const piped = await succeed(['bash', '-o', 'pipefail', '-c', `${words.join(' ')} | cat`]);
  expect(piped.slice(0, 15)).toBe('<!DOCTYPE html>');
  expect((await report()).stdout).toMatch(/^<!DOCTYPE html>[\s\S]*<\/html>\n$/);
});

test('errors are one line, and write nothing', async () => {
  const missing = await report('-o', scratch.at('missing/report.html'));
  expect(missing.status).toBe(EXIT.system);
  expect(missing.stderr).toMatch(/^cfs-repo: Cannot write .*\/missing\/report\.html: .*no such file.*\n$/);
  expect(await report('-o', '')).toMatchObject({ status: EXIT.usage, stderr: 'cfs-repo: --output is empty\n' });
  expect((await scratch.tool('cfs-repo', ['report', '-o', file, scratch.at('nothing')])).status).toBe(EXIT.store);
});
