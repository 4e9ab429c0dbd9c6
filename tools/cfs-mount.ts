#!/usr/bin/env node
/** cfs-mount: mounts an image. The daemon starts while the command line is read: both take as long as node itself. */
import '../src/base/no-debugger.ts';
import { StartingDaemon } from '../src/mount/daemon.ts';

/** With these nothing is mounted, or by this process itself. */
const WITHOUT_DAEMON = /^(?:-[a-z]*[fhV][a-z]*|--(?:foreground|help|version|upgrade))$/;

const words = process.argv.slice(2);
const isMount = words.length >= 2 && !words.some((word) => WITHOUT_DAEMON.test(word));
const daemon = isMount ? new StartingDaemon(words) : undefined;
const { runMount } = await import('./mount-command.ts');
await runMount(daemon);
