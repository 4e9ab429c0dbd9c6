#!/usr/bin/env node
/**
 * The helper of mount(8) for `mount -t cfs` and /etc/fstab: /sbin/mount.cfs. It is called as
 * `mount.cfs SOURCE DIRECTORY [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`, and does what cfs-mount does.
 */
import { makeArgumentsExact } from '../src/system/exact-words.ts';
import { EXIT } from './cli.ts';

interface Call {
  readonly paths: readonly string[];
  readonly options: readonly string[];
  /** -f: only pretend. */
  readonly isFake: boolean;
  /** What is not known. */
  readonly unknown: string | undefined;
}

/** Words that mount(8) says to every helper, and that mean nothing here: sloppy, no mtab, verbose. */
const IGNORED = /^[snv]$/;

function parseCall(words: readonly string[]): Call {
  const paths: string[] = [];
  const options: string[] = [];
  let isFake = false;
  let unknown: string | undefined;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (!/^-./.test(word)) paths.push(word);
    else if (word === '-o') options.push('-o', words[++i] ?? '');
    else if (word === '-t' || word === '-N') i++;
    else {
      for (const letter of word.slice(1)) {
        if (letter === 'f') isFake = true;
        else if (!IGNORED.test(letter)) unknown = word;
      }
    }
  }
  return { paths, options, isFake, unknown };
}

makeArgumentsExact();
const { paths, options, isFake, unknown } = parseCall(process.argv.slice(2));
if (unknown !== undefined || paths.length !== 2) {
  process.stderr.write(
    `mount.cfs: ${unknown === undefined ? 'it takes IMAGE and MOUNTPOINT' : `unknown option ${unknown}`}\n`,
  );
  process.exitCode = EXIT.usage;
} else if (!isFake) {
  process.argv.splice(2, process.argv.length, ...options, '--', ...paths);
  await import('./cfs-mount.ts');
}
