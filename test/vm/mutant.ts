/** A build of cfs without one feature, to show that a test notices. */
import { copyWithChange } from '../support/mutant.ts';

/** Copies the project in `original` to `directory`, without the flag of INIT that makes handles last. */
export function copyWithoutExportSupport(original: string, directory: string): void {
  // the bundler replaces names by numbers
  const pattern = /(ALWAYS_WANTED = \[\s*(?:0|abi\.ASYNC_READ),)\s*(?:4|abi\.EXPORT_SUPPORT),/;
  copyWithChange(original, directory, pattern, '$1');
}
