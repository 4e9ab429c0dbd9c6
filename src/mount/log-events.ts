/** The kinds of lines of a mount's log, for programs that look for them in the journal. docs/log.md lists them. */
import type { LogEvent } from '../base/log.ts';

/** MESSAGE_ID of the journal, by kind. An id never changes its meaning. */
export const MESSAGE_IDS: Readonly<Record<LogEvent, string>> = {
  'object-refused': '4901d3e07b6b4aa9b0bd4b619e25cf53',
  'object-passed-over': 'a7d5bd1bce464fa49e7b1a1176c58f3b',
  'objects-missing': 'eaf2eaedd2fe4a3a82a6aa8fb0740702',
  'other-image': '32d297ee7367414dae444469aaee072c',
  'request-failed': '29cad049dcb046ce8e38ad043cf5b6e1',
  'server-took-over': '2b582b8b059e4047b9e6608251df995f',
  'server-cannot-continue': '5831294dbc98430d85efebe99844c5e7',
  'supervisor-restarted': '43f1bed9c70f4757a19d87f7e25b9783',
  'dead-mount-removed': 'b7761aa2bd0b4788a838924fd0103084',
};

/** What the supervisor, which is a shell script, logs: it has the same id. */
export const GAVE_UP_ID = '1c71b05959a74567a447cbb2e8fee783';
