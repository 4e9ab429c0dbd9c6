#!/usr/bin/env node
import { isRemount } from '../src/mount/option-words.ts';
/**
 * The helper of mount(8) for `mount -t cfs` and /etc/fstab: /sbin/mount.cfs. It is called as `mount.cfs SOURCE
 * DIRECTORY [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`, and does the same as cfs-mount. An existing mount has the
 * type fuse.cfs, so `mount -o remount` needs the same program as /sbin/mount.fuse.cfs.
 */
import { makeArgumentsExact } from '../src/system/exact-words.ts';
import { EXIT, runTool } from './cli.ts';
import { versionText } from './version.ts';

interface Call {
  readonly paths: readonly string[];
  readonly options: readonly string[];
  /** -f: only pretend. */
  readonly isFake: boolean;
  /** Unknown options. */
  readonly unknown: string | undefined;
}

/** Options that mount(8) passes to every helper, and that have no meaning here: sloppy, no mtab, verbose. */
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

const HELP = `Usage: mount.cfs IMAGE MOUNTPOINT [-o OPTIONS]

The helper of mount(8): linked as /sbin/mount.cfs, it serves 'mount -t cfs IMAGE MOUNTPOINT' and lines of /etc/fstab;
linked as /sbin/mount.fuse.cfs, 'mount -o remount,noexec MOUNTPOINT'. The options are those of cfs-mount; a remount
changes exec, suid, dev, atime and their opposites, and rw of a mount with an upper layer. -f only pretends; -s, -n, -v and -N are ignored.
`;

makeArgumentsExact();
const { paths, options, isFake, unknown } = parseCall(process.argv.slice(2));
const lists = options.filter((_, i) => i % 2 === 1);
if (process.argv.slice(2).some((word) => word === '--help' || word === '-h')) {
  process.stdout.write(HELP);
} else if (process.argv.slice(2).some((word) => word === '--version' || word === '-V')) {
  process.stdout.write(versionText('mount.cfs'));
} else if (isRemount(lists) && unknown === undefined && paths.length === 2 && !isFake) {
  const { remount } = await import('./mount/remount.ts');
  await runTool('mount.cfs', async () => {
    remount(paths[1] as string, lists);
    return EXIT.ok;
  }, ['mount', 'system']);
} else if (unknown !== undefined || paths.length !== 2) {
  process.stderr.write(
    `mount.cfs: ${unknown === undefined ? 'it takes IMAGE and MOUNTPOINT' : `unknown option ${unknown}`}\n`,
  );
  process.exitCode = EXIT.usage;
} else if (!isFake) {
  process.argv.splice(2, process.argv.length, ...options, '--', ...paths);
  await import('./cfs-mount.ts');
}
