#!/usr/bin/env node
/** cfs-mount: mounts an image. The daemon starts while the command line is read: both take as long as node itself. */
import '../src/base/no-debugger.ts';
import { limitReason } from '../src/base/limits.ts';
import { StartingDaemon } from '../src/mount/daemon.ts';

/** With these nothing is mounted, or this process itself mounts. */
const WITHOUT_DAEMON = /^(?:-[a-z]*[fhV][a-z]*|--(?:foreground|help|version|upgrade|rebase(?:=.*)?))$/;

const words = process.argv.slice(2);
const isMount = words.length >= 2 && !words.some((word) => WITHOUT_DAEMON.test(word));
const daemon = isMount ? new StartingDaemon(words) : undefined;
try {
  const { runMount } = await import('./mount/mount-command.ts');
  await runMount(daemon);
} catch (error) {
  // a module that cannot be opened; runMount reports all other errors
  const reason = limitReason(error);
  if (reason === undefined) throw error;
  process.stderr.write(`cfs-mount: Cannot start: ${reason}\n`);
  process.exitCode = 2;
  daemon?.cancel();
}
