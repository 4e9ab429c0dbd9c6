// A writer that makes the same changes each time: rounds 0 to ROUNDS - 1 in DIRECTORY, which it expects to be as the
// image has it. Every call must succeed, and what was written must be read. Prints the number of each round when it is
// complete. Exits with 1, and says what went wrong, at the first error.
// Usage: node writer-load.mjs DIRECTORY ROUNDS
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const [directory, rounds] = process.argv.slice(2);
const at = (...names) => join(directory, ...names);

function expect(condition, what) {
  if (!condition) throw new Error(what);
}

/** Names that come and go, through all kinds of calls that change directories. */
function names(i) {
  const dir = at(`dir-${i % 7}`);
  if (i % 14 < 7) mkdirSync(dir);
  else {
    for (const name of readdirSync(dir)) unlinkSync(join(dir, name));
    rmdirSync(dir);
    expect(!existsSync(dir), `${dir} is there after rmdir`);
    return;
  }
  writeFileSync(join(dir, 'new'), `round ${i}`, { flag: 'wx' });
  linkSync(join(dir, 'new'), join(dir, 'link'));
  expect(statSync(join(dir, 'new')).nlink === 2, 'a link is not counted');
  symlinkSync('new', join(dir, 'symlink'));
  renameSync(join(dir, 'new'), join(dir, 'renamed'));
  expect(readFileSync(join(dir, 'symlink-target'), { flag: 'a+' }).length === 0, 'a new file has content');
  expect(readFileSync(join(dir, 'link'), 'utf8') === `round ${i}`, 'a link has other content');
  chmodSync(join(dir, 'renamed'), 0o600 + (i % 8));
  expect((lstatSync(join(dir, 'link')).mode & 0o777) === 0o600 + (i % 8), 'a mode was lost');
}

/** Files of the image: changed, replaced, removed and made again. */
function imageFiles(i) {
  const name = at(`file-${i % 40}`);
  const kind = Math.floor(i / 40) % 4;
  if (kind === 0) appendFileSync(name, `, and round ${i}`);
  else if (kind === 1) {
    writeFileSync(at('replacement'), `instead, in round ${i}`);
    renameSync(at('replacement'), name);
  } else if (kind === 2) unlinkSync(name);
  else writeFileSync(name, `again, in round ${i}`, { flag: 'wx' });
}

/** A file that is open all the time, and has no name. */
const kept = openSync(at('kept'), 'wx+');
unlinkSync(at('kept'));

function openFile(i) {
  const piece = `piece ${i}\n`.padEnd(16);
  writeSync(kept, piece, i * 16);
  const back = Buffer.alloc(16);
  readSync(kept, back, 0, 16, i * 16);
  expect(back.toString() === piece, 'the open file has other bytes');
  const { nlink, size } = fstatSync(kept);
  expect(nlink === 0 && size === (i + 1) * 16, `the open file has ${nlink} links and ${size} bytes`);
}

const log = openSync(at('log'), 'a');

for (let i = 0; i < Number(rounds); i++) {
  try {
    names(i);
    imageFiles(i);
    openFile(i);
    writeSync(log, `round ${i}\n`);
    if (i % 10 === 0) fsyncSync(log);
    if (i % 50 === 49) ftruncateSync(log, fstatSync(log).size - `round ${i}\n`.length);
    utimesSync(at('stamp'), i, i);
  } catch (error) {
    process.stderr.write(`round ${i}: ${error.stack}\n`);
    process.exit(1);
  }
  writeSync(1, `${i}\n`);
}
closeSync(log);
