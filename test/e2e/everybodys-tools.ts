/** The tools in a place where every user may read and run them: a checkout in /root is only for root. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { asUser, NOBODY, OWN_TOOLS, type Tools } from './run.ts';

const CHECKOUT = resolve(import.meta.dirname, '../..');
/** The parts of a checkout that the tools need. */
const PARTS = ['dist', 'package.json', 'node_modules'];

function readable(path: string): boolean {
  return spawnSync('setpriv', [...asUser(NOBODY).slice(1), 'test', '-r', path]).status === 0;
}

/** This checkout and this node, or copies in `directory` of files that other users may not read. */
export function everybodysTools(directory: string): Tools {
  let { node, dist } = OWN_TOOLS;
  if (!readable(node)) {
    node = join(directory, 'node');
    cpSync(OWN_TOOLS.node, node);
  }
  const needed = ['dist/tools/cfs-mount.js', 'package.json', 'node_modules/koffi/package.json'];
  if (!needed.every((path) => readable(join(CHECKOUT, path)))) {
    const copy = join(directory, 'checkout');
    mkdirSync(copy);
    for (const part of PARTS) execFileSync('cp', ['-a', join(CHECKOUT, part), copy]);
    execFileSync('chmod', ['-R', 'a+rX', copy]);
    dist = join(copy, 'dist');
  }
  return { node, dist };
}
