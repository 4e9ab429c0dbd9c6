/** The version of this installation. */
import { readFileSync } from 'node:fs';

/** That of package.json, which lies two or three directories up: of src/base/, dist/src/base/, dist/src/mount/ (bundled) and dist/tools/. */
export function version(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const text = readFileSync(new URL(up, import.meta.url), 'utf8');
      return (JSON.parse(text) as { version: string }).version;
    } catch {
      // one directory further up
    }
  }
  return 'unknown';
}
