/** The page of `cfs-repo report`: one HTML file that loads nothing. No I/O. */
import { createHash } from 'node:crypto';
import type { NamedSpace, ReportedImage, RepositoryReport } from '../../../src/report/repository-report.ts';
import { formatBytes, formatCount, formatCounted, formatDuration } from '../../format.ts';
import { shortId } from '../../image-id.ts';
import { SCRIPT } from './client.ts';
import type { Health } from './health.ts';
import { STYLE } from './style.ts';

/** Text for markup and for values of attributes in quotes. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);

/** JSON in a script element: no text can end the element. */
export const embeddedJson = (value: unknown): string => JSON.stringify(value).replace(/[<>&]/g, hexEscape);

const hexEscape = (one: string): string => `\\u00${one.charCodeAt(0).toString(16).padStart(2, '0')}`;

const KINDS = ['added', 'removed', 'changed', 'renamed'] as const;
/** Images in the table of common bytes; with more it cannot be read any more. */
const MATRIX = 20;
/** Rows of the table of images. */
const MOST_ROWS = 500;

/** The whole file. @param version of the program */
export function renderPage(report: RepositoryReport, health: Health, version: string): string {
  const csp = [
    "default-src 'none'",
    `style-src '${hashOf(STYLE)}'`,
    `script-src '${hashOf(SCRIPT)}'`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  const hasImages = report.images.length > 0;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escapeHtml(csp)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>Repository ${escapeHtml(report.path)}</title>
<style>${STYLE}</style>
</head>
<body>
<a class="skip" href="#images">Skip to the images</a>
<header>
<h1>Repository <span class="path">${escapeHtml(report.path)}</span></h1>
<p class="soft">${escapeHtml(`As of ${dateOf(report.time)} UTC · uuid ${report.uuid} · ${report.hash} · cfs ${version}`)}</p>
<nav aria-label="Sections"><ul><li><a href="#images">Images</a></li><li><a href="#common">In common</a></li><li><a
href="#space">Space</a></li><li><a href="#differences">Differences</a></li><li><a href="#health">Health</a></li></ul></nav>
</header>
<main>
${factsOf(report)}
<section aria-labelledby="images">
<h2 id="images">Images</h2>
${imagesOf(report)}
</section>
<section aria-labelledby="common">
<h2 id="common">In common</h2>
${commonOf(report.images)}
</section>
<section aria-labelledby="space">
<h2 id="space">Space by directory</h2>
${hasImages ? SPACE : NOTHING}
</section>
<section aria-labelledby="differences">
<h2 id="differences">Differences</h2>
${report.images.length > 1 ? DIFFERENCES : `${DIFFERENCES_HIDDEN}<p class="soft">There are no two images to compare.</p>`}
</section>
<section aria-labelledby="health">
<h2 id="health">Health</h2>
${healthOf(report, health)}
</section>
</main>
<script type="application/json" id="data">${embeddedJson(dataOf(report))}</script>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

const hashOf = (text: string): string => `sha256-${createHash('sha256').update(text).digest('base64')}`;
const dateOf = (ms: number): string => new Date(ms).toISOString().slice(0, 16).replace('T', ' ');

/** The path's last names, and the beginning of the id. */
const labelOf = ({ path, id }: ReportedImage): string => `${path.split('/').slice(-2).join('/')} (${id.slice(0, 8)})`;

function dataOf({ images, comparisons }: RepositoryReport): object {
  return {
    images: images.map((image) => ({ label: labelOf(image), common: image.common, space: nodeOf(image.space) })),
    comparisons: comparisons.map(({ from, to, lines, ...counts }) => ({
      from,
      to,
      counts: KINDS.map((kind) => [counts[kind].entries, counts[kind].bytes]),
      lines: lines.map(({ kind, path, from: old = '', what, bytes }) => [
        KINDS.indexOf(kind),
        path,
        old,
        what.join(', '),
        bytes,
      ]),
    })),
  };
}

const nodeOf = ({ name, entries, bytes, unique, children }: NamedSpace): unknown[] => [
  name,
  entries,
  bytes,
  unique,
  ...(children === undefined ? [] : [children.map(nodeOf)]),
];

function factsOf({ usage, images }: RepositoryReport): string {
  const { together, leased, unused } = usage;
  const sum = usage.images.reduce((bytes, { total }) => bytes + total.bytes, 0);
  const facts = [
    ['Images', formatCount(usage.images.length)],
    ['Each by itself', formatBytes(sum)],
    ['Stored', formatBytes(together.bytes)],
    ['Deduplicated', together.bytes > 0 ? `${(sum / together.bytes).toFixed(1)} ×` : '–'],
    ['On the disk', formatBytes(together.diskBytes + leased.diskBytes + unused.diskBytes)],
    ...(leased.bytes > 0 ? [['Only of mounts', formatBytes(leased.bytes)]] : []),
    ['Unused', formatBytes(unused.bytes)],
  ];
  const entries = images.reduce((count, { inodes }) => count + inodes, 0);
  return `<dl class="facts">
${facts.map(([name = '', value = '']) => `<div><dt>${name}</dt><dd>${escapeHtml(value)}</dd></div>`).join('\n')}
</dl>
<p>${formatCounted(entries, 'inode')} in the images that were read. Sizes are those of contents, in units of 1,000.</p>`;
}

function imagesOf({ usage, images, unread, registered }: RepositoryReport): string {
  if (usage.images.length === 0) return '<p>No image is registered.</p>';
  const paths = new Map(images.map(({ id, path }) => [id, path]));
  const rows = [...usage.images].sort((a, b) => b.unique.bytes - a.unique.bytes || b.total.bytes - a.total.bytes);
  const largest = Math.max(1, ...rows.map(({ total }) => total.bytes));
  const lines = rows.slice(0, MOST_ROWS).map(({ image, total, unique, freed, missing, isMounted }) => {
    const path = paths.get(image);
    const time = registered.get(image);
    const name = path === undefined ? `<span class="soft">${escapeHtml(unread.get(image) ?? '')}</span>` : named(path);
    const lacks = missing > 0 ? ` <span class="bad">${formatCount(missing)} missing</span>` : '';
    return `<tr><th scope="row">${name}<br><code title="${image}">${shortId(image)}</code></th>
<td>${time === undefined ? '' : dateOf(time * 1000).slice(0, 10)}</td>
<td class="n">${formatCount(total.objects)}${lacks}</td><td class="n">${formatBytes(total.bytes)}</td>
<td class="n">${formatBytes(unique.bytes)}</td><td class="n">${isMounted ? 'mounted' : formatBytes(freed.bytes)}</td>
<td class="drawn">${barOf(unique.bytes, total.bytes, largest)}</td></tr>`;
  });
  const more = rows.length - lines.length;
  return `<div class="scroll"><table>
<caption>Unique: objects that no other registered image needs. Freed: what gc would delete if the image was unregistered.</caption>
<thead><tr><th scope="col">image</th><th scope="col">registered</th><th scope="col" class="n">objects</th>
<th scope="col" class="n">total</th><th scope="col" class="n">unique</th><th scope="col" class="n">freed</th>
<th scope="col" class="drawn">unique and shared</th></tr></thead>
<tbody class="names">
${lines.join('\n')}
</tbody></table></div>${more > 0 ? `<p>${formatCounted(more, 'image')} with fewer unique bytes are left out.</p>` : ''}`;
}

const named = (path: string): string => `<span class="path">${escapeHtml(path)}</span>`;

/** In attributes, not in a style: the policy of the page forbids styles in elements. */
function barOf(unique: number, total: number, largest: number): string {
  const width = (bytes: number): string => ((160 * bytes) / largest).toFixed(1);
  const label = `${formatBytes(unique)} unique, ${formatBytes(total - unique)} shared`;
  return `<svg class="bar" viewBox="0 0 160 14" role="img" aria-label="${label}"><title>${label}</title><rect
 class="shared" width="${width(total)}" height="14"/><rect class="unique" width="${width(unique)}" height="14"/></svg>`;
}

function commonOf(images: readonly ReportedImage[]): string {
  const shown = images.slice(-MATRIX);
  if (shown.length < 2) return '<p class="soft">There are no two images to compare.</p>';
  const first = images.length - shown.length;
  const numbers = shown.map((_, i) => `<th scope="col" class="n">${i + 1}</th>`);
  const rows = shown.map((image, i) => {
    const own = image.common[first + i] as number;
    const cells = shown.map((other, j) => {
      if (i === j) return '<td class="none">–</td>';
      const bytes = image.common[first + j] as number;
      const part = own === 0 ? 0 : bytes / own;
      const level = part === 0 ? '' : ` s${Math.min(4, 1 + Math.floor(part * 4))}`;
      const label = `${formatBytes(bytes)} of ${labelOf(image)} are also in ${labelOf(other)}`;
      return `<td class="n${level}" title="${escapeHtml(label)}">${Math.floor(part * 100)} %</td>`;
    });
    return `<tr><th scope="row">${i + 1}. ${named(labelOf(image))}</th><td class="n">${formatBytes(own)}</td>${cells.join('')}</tr>`;
  });
  const note = first > 0 ? ` Only the last ${MATRIX} images are shown.` : '';
  return `<div class="scroll"><table>
<caption>The part of the row's image that the image of the column has, too, by bytes.${note}</caption>
<thead><tr><th scope="col">image</th><th scope="col" class="n">total</th>${numbers.join('')}</tr></thead>
<tbody class="names">
${rows.join('\n')}
</tbody></table></div>`;
}

const NOTHING = '<p class="soft">No image could be read.</p>';

const SPACE = `<noscript><p>The treemap, the search and the differences need JavaScript, which this page has; it loads none.</p></noscript>
<div class="controls">
<label>Image <select id="image"></select></label>
<fieldset><legend>Area</legend><label><input type="radio" name="area" id="unique" checked> unique bytes</label>
<label><input type="radio" name="area" id="all"> all bytes</label></fieldset>
<label>Find a path <input type="search" id="search" autocomplete="off" spellcheck="false"></label>
</div>
<p id="hits" role="status"></p>
<ul id="found" class="found" aria-label="Paths that were found"></ul>
<div id="way" class="way" role="navigation" aria-label="Directory"></div>
<p id="said" role="status" class="soft"></p>
<div id="map" role="group" aria-label="Treemap"></div>
<p class="soft">A cell is a file or directory, and its area its size. Open a directory with a click or Enter; Escape goes back.</p>
<div class="list" tabindex="0" role="region" aria-label="Entries of the directory"><table><caption>The same as a table. A content with several names counts at the first one.</caption>
<thead><tr><th scope="col">name</th><th scope="col" class="n">unique</th><th scope="col" class="n">all</th></tr></thead>
<tbody id="entries"></tbody></table></div>`;

const DIFFERENCES = `<div class="controls">
<label>From <select id="from"></select></label>
<label>to <select id="to"></select></label>
<label>Only paths with <input type="search" id="filter" autocomplete="off" spellcheck="false"></label>
</div>
<p id="difference" role="status"></p>
<div class="list" tabindex="0" role="region" aria-label="Changes"><table><thead><tr><th scope="col">change</th><th scope="col">path</th><th scope="col">of</th>
<th scope="col" class="n">bytes</th></tr></thead><tbody id="changes"></tbody></table></div>`;

/** The script needs the elements with one image, too. */
const DIFFERENCES_HIDDEN = `<div hidden>${DIFFERENCES}</div>`;

function healthOf({ usage }: RepositoryReport, health: Health): string {
  const missing = usage.images.filter(({ missing: count }) => count > 0);
  const lines = [
    missing.length === 0
      ? good('Every registered image has all of its objects.')
      : bad(`${formatCounted(missing.length, 'image')} lack objects: cfs-repo fsck --repair-from fetches them.`),
    ...usage.problems.map(({ problem }) => bad(problem)),
    health.quarantined === 0
      ? good('Nothing is in quarantine.')
      : bad(`${formatCounted(health.quarantined, 'damaged object')} in quarantine.`),
    usage.unused.objects === 0
      ? good('No object is unused.')
      : `<li>${formatCounted(usage.unused.objects, 'object')} (${formatBytes(usage.unused.bytes)}) are needed by no image: cfs-repo gc deletes them.</li>`,
    ...(health.unfinished === 0
      ? []
      : [
          `<li>${formatCounted(health.unfinished, 'unfinished file')} in tmp/: of packing that goes on, or was killed.</li>`,
        ]),
  ];
  const mounts = health.mounts.map(({ mountpoint, image, problems, note }) => {
    const list = problems.map(
      ({ time, message }) =>
        `<li><span class="bad">${escapeHtml(message)}</span> <span class="soft">${escapeHtml(time)}</span></li>`,
    );
    const state =
      note !== undefined ? escapeHtml(note) : list.length === 0 ? 'no problems' : formatCounted(list.length, 'problem');
    return `<li>${named(mountpoint)}, image <code>${escapeHtml(shortId(image))}</code>: ${state}${list.length > 0 ? `<ul>${list.join('')}</ul>` : ''}</li>`;
  });
  return `<ul>
${lines.join('\n')}
</ul>
<h3>Contents</h3>
${checkedOf(health)}
<h3>Last runs</h3>
<ul>
${lastFsckOf(health)}
${lastGcOf(health)}
</ul>
<h3>Mounts of this machine that use the repository</h3>
${mounts.length === 0 ? '<p>None.</p>' : `<ul>${mounts.join('\n')}</ul>`}`;
}

const good = (text: string): string => `<li><span class="good">Good.</span> ${escapeHtml(text)}</li>`;
const bad = (text: string): string => `<li><span class="bad">Problem.</span> ${escapeHtml(text)}</li>`;

const timeOf = (ms: number): string => {
  const time = new Date(ms).toISOString();
  return `<time datetime="${time}">${time.slice(0, 16).replace('T', ' ')} UTC</time>`;
};

function lastFsckOf({ lastFsck: run }: Health): string {
  if (run === undefined) return '<li>No run of <code>cfs-repo fsck</code> is recorded.</li>';
  const { objects, bytes, damaged, repaired, badRoots } = run;
  const read = `<code>cfs-repo fsck</code>, ${timeOf(run.time)}: ${formatCounted(objects, 'object')} (${formatBytes(bytes)}) in ${formatDuration(run.ms)}`;
  if (damaged + badRoots === 0) return `<li><span class="good">Good.</span> ${read}, no damage.</li>`;
  const found = [
    ...(damaged > 0 ? [`${formatCount(damaged)} damaged, of these ${formatCount(repaired)} repaired`] : []),
    ...(badRoots > 0 ? [formatCounted(badRoots, 'damaged list of an image', 'damaged lists of images')] : []),
  ].join('; ');
  const isRepaired = repaired === damaged && badRoots === 0;
  return `<li>${isRepaired ? '' : '<span class="bad">Problem.</span> '}${read}: ${found}.</li>`;
}

function lastGcOf({ lastGc: run }: Health): string {
  if (run === undefined) return '<li>No run of <code>cfs-repo gc</code> is recorded.</li>';
  const amount = (objects: number, bytes: number): string =>
    `${formatCounted(objects, 'object')} (${formatBytes(bytes)})`;
  return `<li><code>cfs-repo gc</code>, ${timeOf(run.time)}: deleted ${amount(run.freedObjects, run.freedBytes)}, kept ${amount(run.keptObjects, run.keptBytes)}.</li>`;
}

function checkedOf({ check }: Health): string {
  if (check === undefined) {
    return '<p>No content was read for this report. <code>cfs-repo fsck</code> checks them, and <code>cfs-repo report --fsck</code> shows the result here.</p>';
  }
  const { objects, bytes, damaged } = check;
  const read = `${formatCounted(objects, 'object')} (${formatBytes(bytes)}) were read and compared with their names.`;
  if (damaged.length === 0) return `<ul>${good(read)}</ul>`;
  const rows = damaged.map(
    ({ object, problem, users }) =>
      `<tr><th scope="row"><code title="${escapeHtml(object)}">${escapeHtml(shortId(object))}</code></th><td>${escapeHtml(problem)}</td><td>${users.map(named).join('<br>')}</td></tr>`,
  );
  return `<p>${read}</p><div class="scroll"><table><caption class="bad">Damaged</caption>
<thead><tr><th scope="col">object</th><th scope="col">problem</th><th scope="col">in</th></tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div>`;
}
