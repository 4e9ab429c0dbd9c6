// Changes a directory by transactions, each of which ends with the fsync(2) that makes it durable. Prints lines with
// tabs between the fields: before each one "begin N TIME", after it "done N TIME PATH=INODE…". The time is that of
// CLOCK_MONOTONIC. Fails at the first error.
// Usage: node writer.mjs DIRECTORY PLAN, where PLAN is a file with a list of { calls, paths } in JSON (transactions.ts)
import * as fs from 'node:fs';
import { join } from 'node:path';

const [directory, plan] = process.argv.slice(2);
const at = (path) => join(directory, path);

/** Opens a file or directory, does something with the descriptor, and closes it. */
function withOpen(path, flags, work) {
  const fd = fs.openSync(at(path), flags, 0o644);
  try {
    work(fd);
  } finally {
    fs.closeSync(fd);
  }
}

const CALLS = {
  write({ path, flags, filling, sync }) {
    withOpen(path, flags, (fd) => {
      const bytes = Buffer.alloc(filling.size, filling.text);
      for (let from = 0; from < bytes.length; )
        from += fs.writeSync(fd, bytes, from, Math.min(65_536, bytes.length - from));
      if (sync) fs.fsyncSync(fd);
    });
  },
  fsync: ({ path }) => withOpen(path, 'r', fs.fsyncSync),
  rename: ({ from, to }) => fs.renameSync(at(from), at(to)),
  link: ({ from, to }) => fs.linkSync(at(from), at(to)),
  unlink: ({ path }) => fs.unlinkSync(at(path)),
  mkdir: ({ path }) => fs.mkdirSync(at(path)),
  rmdir: ({ path }) => fs.rmdirSync(at(path)),
  symlink: ({ target, path }) => fs.symlinkSync(target, at(path)),
  truncate: ({ path, size }) => fs.truncateSync(at(path), size),
  chmod: ({ path, mode }) => fs.chmodSync(at(path), mode),
};

const transactions = JSON.parse(fs.readFileSync(plan, 'utf8'));
for (const [i, { calls, paths }] of transactions.entries()) {
  fs.writeSync(1, `begin\t${i}\t${process.hrtime.bigint()}\n`);
  for (const call of calls) CALLS[call.op](call);
  const done = process.hrtime.bigint();
  const inodes = paths.map((path) => `${path}=${fs.lstatSync(at(path)).ino}`);
  fs.writeSync(1, `${['done', i, done, ...inodes].join('\t')}\n`);
}
