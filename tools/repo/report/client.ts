/**
 * The script of the page of `cfs-repo report`, in the JavaScript of browsers: the treemap, the search, the comparison.
 * Names come from images and may be hostile: they become text nodes, never markup.
 */
export const SCRIPT = `'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const make = (name, properties, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === 'class') element.className = value; else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
};
const size = (bytes) => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  const sign = bytes < 0 ? '−' : '';
  let value = Math.abs(bytes), unit = 0;
  while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit++; }
  return sign + value.toFixed(unit === 0 || value >= 99.95 ? 0 : 1) + ' ' + units[unit];
};
const count = (n) => n.toLocaleString('en');
const plural = (n, one, many) => count(n) + ' ' + (n === 1 ? one : many || one + 's');

// nodes are [name, entries, bytes, unique, children?]
const nameOf = (node) => node[1] > 1 || node[0] === '' ? plural(node[1], 'smaller entry', 'smaller entries') : node[0];
let image = data.images.length - 1, way = [], showUnique = true;
const valueOf = (node) => showUnique ? node[3] : node[2];
const rootOf = (i) => data.images[i].space;
const here = () => way.length === 0 ? rootOf(image) : way[way.length - 1];
const pathOf = (nodes) => '/' + nodes.map((node) => node[0]).join('/');

// squarified: rows along the shorter side, as long as that makes the cells squarer
const layOut = (values, box) => {
  const cells = [];
  let { x, y, w, h } = box, at = 0, rest = values.reduce((sum, value) => sum + value, 0);
  while (at < values.length) {
    const side = Math.min(w, h), scale = rest > 0 ? (w * h) / rest : 0;
    const worst = (from, to, sum) => {
      const thick = sum * scale / side;
      let result = 1;
      for (let i = from; i < to; i++) {
        const length = values[i] * scale / thick;
        result = Math.max(result, length / thick, thick / length);
      }
      return result;
    };
    let end = at + 1, sum = values[at];
    while (end < values.length && worst(at, end + 1, sum + values[end]) <= worst(at, end, sum)) sum += values[end++];
    const thick = Math.min(sum * scale / side, Math.max(w, h));
    let along = w >= h ? y : x;
    for (; at < end; at++) {
      const length = sum > 0 ? side * values[at] / sum : 0;
      cells.push(w >= h ? { x, y: along, w: thick, h: length } : { x: along, y, w: length, h: thick });
      along += length;
    }
    if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
    rest -= sum;
  }
  return cells;
};

const describe = (node) => nameOf(node) + ', ' + size(node[3]) + ' unique of ' + size(node[2]);
const enter = (node) => { way.push(node); draw(true); };

const draw = (focus) => {
  const directory = here();
  const children = (directory[4] || []).filter((node) => valueOf(node) > 0).sort((a, b) => valueOf(b) - valueOf(a));
  const map = byId('map');
  map.setAttribute('aria-label', 'Treemap of ' + pathOf(way) + ' by ' + (showUnique ? 'unique' : 'all') + ' bytes');
  const cells = layOut(children.map(valueOf), { x: 0, y: 0, w: map.clientWidth || 1000, h: 420 });
  map.replaceChildren(...children.map((node, i) => {
    const { x, y, w, h } = cells[i], width = map.clientWidth || 1000;
    const cell = make('button', {
      type: 'button', class: 'c' + i % 8 + (node[4] ? '' : ' leaf') + (w < 34 || h < 20 ? ' tiny' : ''),
      'aria-label': describe(node) + (node[4] ? ', open' : ''), title: describe(node),
    }, make('span', {}, nameOf(node)), make('span', {}, w > 60 && h > 38 ? size(valueOf(node)) : ''));
    Object.assign(cell.style, { left: 100 * x / width + '%', top: 100 * y / 420 + '%', width: 100 * w / width + '%', height: 100 * h / 420 + '%' });
    cell.addEventListener('click', () => {
      if (node[4]) enter(node); else byId('said').textContent = pathOf([...way, node]) + ': ' + describe(node);
    });
    return cell;
  }));
  const nothing = directory[4] === undefined ? 'The report has no details of this directory.'
    : 'Nothing here is ' + (showUnique ? 'unique: all of it is in other images, too.' : 'stored as an object.');
  if (children.length === 0) map.append(make('p', { class: 'soft' }, nothing));
  const crumb = (label, depth) => {
    const button = make('button', { type: 'button' }, label);
    if (depth === way.length) button.setAttribute('aria-current', 'true');
    button.addEventListener('click', () => { way.length = depth; draw(true); });
    return button;
  };
  byId('way').replaceChildren(crumb('/', 0), ...way.flatMap((node, i) => [...(i > 0 ? ['/'] : []), crumb(node[0], i + 1)]));
  const rows = (directory[4] || []).slice().sort((a, b) => valueOf(b) - valueOf(a)).map((node) => {
    const name = make('span', { class: 'path' }, nameOf(node));
    const cell = make('th', { scope: 'row' }, name);
    if (node[4]) {
      const open = make('button', { type: 'button' }, name);
      open.addEventListener('click', () => enter(node));
      cell.replaceChildren(open);
    }
    return make('tr', {}, cell, make('td', { class: 'n' }, size(node[3])), make('td', { class: 'n' }, size(node[2])));
  });
  byId('entries').replaceChildren(...rows);
  byId('said').textContent = pathOf(way) + ': ' + size(directory[3]) + ' unique of ' + size(directory[2]);
  if (focus) (map.querySelector('button') || byId('way').lastElementChild).focus();
};

const search = () => {
  const wanted = byId('search').value.trim().toLowerCase();
  const found = [];
  let total = 0;
  const look = (i, nodes, node) => {
    const path = nodes.length === 0 ? '/' : pathOf(nodes);
    if (node[1] === 1 && nodes.length > 0 && path.toLowerCase().includes(wanted) && total++ < 100) found.push([i, nodes, node, path]);
    for (const child of node[4] || []) look(i, [...nodes, child], child);
  };
  const order = [image, ...data.images.keys()].filter((i, at, all) => all.indexOf(i) === at);
  if (wanted !== '') for (const i of order) look(i, [], rootOf(i));
  byId('found').replaceChildren(...found.map(([i, nodes, node, path]) => {
    const go = make('button', { type: 'button', class: 'path' }, path);
    go.addEventListener('click', () => {
      image = i;
      byId('image').value = String(i);
      way = node[4] ? nodes : nodes.slice(0, -1);
      draw(true);
    });
    return make('li', {}, go, ' ' + size(node[3]) + ' unique of ' + size(node[2]) + ', ' + data.images[i].label);
  }));
  byId('hits').textContent = wanted === '' ? '' : plural(total, 'path') + (total > 100 ? ', the first 100 of them:' : ' found');
};

// lines are [kind, path, from, what, bytes]; kinds: 0 added, 1 removed, 2 changed, 3 renamed
const KINDS = ['added', 'removed', 'changed', 'renamed'];
const signed = (bytes) => bytes > 0 ? '+' + size(bytes) : size(bytes);
const reversed = ({ counts, lines }) => ({
  counts: [counts[1], counts[0], [counts[2][0], -counts[2][1]], [counts[3][0], -counts[3][1]]],
  lines: lines.map(([kind, path, from, what, bytes]) => kind === 3 ? [3, from, path, what, -bytes] : [[1, 0, 2][kind], path, from, what, -bytes]),
});
const compare = () => {
  const a = Number(byId('from').value), b = Number(byId('to').value);
  const filter = byId('filter').value.trim().toLowerCase();
  const [low, high] = a < b ? [a, b] : [b, a];
  const stored = data.comparisons.find((one) => one.from === low && one.to === high);
  const common = data.images[a].common[b];
  const spaceText = size(common) + ' of objects are in both, ' + size(data.images[a].common[a] - common) + ' only in the first, ' + size(data.images[b].common[b] - common) + ' only in the second.';
  const rows = [];
  let text = '';
  if (a === b) text = 'This is the same image.';
  else if (!stored) text = 'Too many images: this report has no list of these differences. cfs-info diff shows them.';
  else {
    const { counts, lines } = a < b ? stored : reversed(stored);
    const total = counts.reduce((sum, [entries]) => sum + entries, 0);
    text = total === 0 ? 'The trees are equal.' : counts.map(([entries, bytes], kind) => count(entries) + ' ' + KINDS[kind] + (bytes === 0 ? '' : ' (' + (kind < 2 ? size(bytes) : signed(bytes)) + ')')).join(', ') + '.';
    if (lines.length < total) text += ' The list has the ' + count(lines.length) + ' largest.';
    for (const [kind, path, from, what, bytes] of lines) {
      if (filter !== '' && !(path + ' ' + from).toLowerCase().includes(filter)) continue;
      const name = make('td', {}, make('span', { class: 'path' }, path));
      if (from !== '') name.append(make('br'), make('span', { class: 'soft' }, 'from '), make('span', { class: 'path' }, from));
      rows.push(make('tr', {}, make('td', { class: KINDS[kind] }, KINDS[kind]), name, make('td', {}, what), make('td', { class: 'n' }, bytes === 0 ? '' : signed(bytes))));
    }
  }
  byId('difference').textContent = text + ' ' + spaceText;
  byId('changes').replaceChildren(...rows);
  byId('changes').parentElement.hidden = rows.length === 0;
};

if (data.images.length > 0) {
  for (const id of ['image', 'from', 'to']) {
    byId(id).append(...data.images.map((one, i) => make('option', { value: i }, one.label)));
  }
  byId('image').value = String(image);
  byId('from').value = String(Math.max(0, image - 1));
  byId('to').value = String(image);
  // nearly equal images have nothing of their own
  if (rootOf(image)[3] === 0) { showUnique = false; byId('all').checked = true; }
  byId('image').addEventListener('change', () => { image = Number(byId('image').value); way = []; draw(false); });
  for (const id of ['unique', 'all']) byId(id).addEventListener('change', () => { showUnique = byId('unique').checked; draw(false); });
  byId('search').addEventListener('input', search);
  for (const id of ['from', 'to']) byId(id).addEventListener('change', compare);
  byId('filter').addEventListener('input', compare);
  byId('map').addEventListener('keydown', (event) => {
    if ((event.key === 'Escape' || event.key === 'Backspace') && way.length > 0) { event.preventDefault(); way.pop(); draw(true); }
  });
  addEventListener('resize', () => draw(false));
  draw(false);
  compare();
}
`;
