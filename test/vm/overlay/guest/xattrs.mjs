/**
 * node xattrs.mjs CASE DIRECTORY…: prints "xattr CASE PATH NAME VALUE" for each xattr below, the value in hexadecimal.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { getXattr, listXattrs } from '/payload/cfs/dist/src/system/xattrs.js';

const [name, ...roots] = process.argv.slice(2);
for (const root of roots) {
  for (const path of ['', ...readdirSync(root, { recursive: true })].map((path) => join(root, path))) {
    for (const xattr of listXattrs(path)) {
      const value = Buffer.from(getXattr(path, xattr)).toString('hex');
      console.log(['xattr', name, path, Buffer.from(xattr).toString(), value].join('\t'));
    }
  }
}
