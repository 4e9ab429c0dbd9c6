// Writes debian/copyright (DEP-5) for an installation: its own licence, and those of the packages that it contains.
// usage: node scripts/licences.mjs LIB, where LIB is the directory with node_modules
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const lib = resolve(process.argv[2]);

/** Packages that are parts of the bundles in dist. */
const BUNDLED = ['cbor-x', 'commander'];

/** Packages without a licence file, and the one whose text is theirs. */
const SAME = { '@koromix/koffi-': 'koffi', '@napi-rs/blake-hash-': '@napi-rs/blake-hash' };

function installed() {
  const modules = join(lib, 'node_modules');
  return readdirSync(modules)
    .flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(modules, name)).map((below) => `${name}/${below}`) : [name],
    )
    .sort();
}

function licenceOf(name) {
  const directory = join(root, 'node_modules', name);
  const file = readdirSync(directory).find((entry) => /^licen[cs]e(?:\.(?:md|txt))?$/i.test(entry));
  if (file !== undefined) return readFileSync(join(directory, file), 'utf8');
  const same = Object.entries(SAME).find(([prefix]) => name.startsWith(prefix));
  if (same !== undefined) return licenceOf(same[1]);
  const { author, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  // the text of the licence, which names no owner: the words of the author are in package.json
  if (license !== 'MIT') throw new Error(`${name} has no licence file, and its licence is ${license}`);
  const holder = typeof author === 'string' ? author : author.name;
  return readFileSync(join(root, 'LICENSE'), 'utf8').replace(/Copyright .*/, `Copyright ${holder}`);
}

const holders = (text, name) => {
  const lines = [...text.matchAll(/^\s*Copyright (?:\(c\) )?(.*\S)/gim)].map(([, line]) => line.replace(/\.$/, ''));
  if (lines.length > 0) return lines;
  const { author } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'));
  return [(typeof author === 'string' ? author : author.name).replace(/ \(.*/, '')];
};

const indented = (text) =>
  text
    .trim()
    .split('\n')
    .map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`))
    .join('\n');

const stanza = (files, owners, licence, text) =>
  `Files: ${files}\nCopyright: ${owners.join('\n           ')}\nLicense: ${licence}\n${text}\n`;

const own = readFileSync(join(root, 'LICENSE'), 'utf8');
const parts = [
  'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: cfs\n',
  stanza('*', holders(own, '.'), 'MIT', indented(own)),
];
for (const name of [...BUNDLED, ...installed()]) {
  const text = licenceOf(name);
  const files = BUNDLED.includes(name) ? 'usr/lib/cfs/dist/*' : `usr/lib/cfs/node_modules/${name}/*`;
  // one stanza for the files of dist, which also have the licence of cfs
  const comment = BUNDLED.includes(name) ? `Comment: ${name} is a part of the programs\n` : '';
  parts.push(comment + stanza(files, holders(text, name), `MIT-${name.replace(/\W+/g, '-').replace(/^-/, '')}`, indented(text)));
}
if (existsSync(join(lib, 'node_modules/fuse-native'))) {
  parts.push(
    `Comment: libfuse 2.9.9, https://github.com/libfuse/libfuse, unchanged; the program loads it when it runs\n${stanza(
      'usr/lib/cfs/node_modules/fuse-native/prebuilds/*/libfuse.so',
      ['2001-2007 Miklos Szeredi <miklos@szeredi.hu>'],
      'LGPL-2.1',
      " On Debian systems the text is in /usr/share/common-licenses/LGPL-2.1.",
    )}`,
  );
}
process.stdout.write(parts.join('\n'));
