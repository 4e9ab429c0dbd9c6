/**
 * The known differences of file systems from a plain directory (ext4 as Linux has it). Each has its reason. Any other
 * difference is a fault. Two more differences of overlayfs, with open files, are in `OpenFiles` of steps.ts.
 */
import { type Allow, RECENT } from '../look.ts';
import type { SiteName } from '../sites.ts';
import type { Step, Who } from './steps.ts';

/** A difference in the result of a step. */
interface OfResults {
  readonly sites: readonly SiteName[];
  readonly reason: string;
  readonly is: (step: Step, who: Who, expected: string, result: string) => boolean;
}

/** A difference in the visible state afterwards. */
interface OfFields {
  readonly sites: readonly SiteName[];
  readonly reason: string;
  readonly is: Allow;
}

const BOTH: readonly SiteName[] = ['overlayfs', 'cfs'];

const STRICT = "a write by root, too, clears set-id bits: the kernel writes with the server's rights, less CAP_FSETID";

/** Regular files in a text without their set-id bits. */
const withoutSetIds = (text: string): string =>
  text.replace(/-[0-7]+/g, (mode) => `-${(Number.parseInt(mode.slice(1), 8) & ~0o6000).toString(8)}`);

const RESULTS: readonly OfResults[] = [
  {
    sites: BOTH,
    reason: 'removing an ACL that a file does not have: ext4 alone says nothing',
    is: ({ op }, _, expected, result) => op === 'removexattr' && expected === 'ok' && result === 'ENODATA',
  },
  {
    sites: ['cfs'],
    reason: STRICT,
    is: ({ op }, _, expected, result) =>
      ['stat', 'fstat'].includes(op) && withoutSetIds(result) === withoutSetIds(expected),
  },
];

const FIELDS: readonly OfFields[] = [
  {
    sites: ['overlayfs'],
    reason: 'when the content follows the attributes to the upper layer, the file gets the time of that moment',
    is: (field, expected, result) => field === 'mtime' && typeof expected === 'number' && result === RECENT,
  },
  {
    sites: ['cfs'],
    reason: STRICT,
    is: (field, expected, result) =>
      field === 'mode' && withoutSetIds(String(result)) === withoutSetIds(String(expected)),
  },
];

/** Whether `result` of `site` may differ from that of the plain directory. */
export const mayReturn = (site: SiteName, step: Step, who: Who, expected: string, result: string): boolean =>
  RESULTS.some((known) => known.sites.includes(site) && known.is(step, who, expected, result));

/** Which fields may differ on `site`. */
export const allowedOn = (site: SiteName): Allow => {
  const known = FIELDS.filter((known) => known.sites.includes(site));
  return (field, expected, result) => known.some(({ is }) => is(field, expected, result));
};
