/** A build of cfs with one thing left out, to show that a test notices. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { rolldown } from 'rolldown';

const SOURCE = resolve(import.meta.dirname, '../../src');

/** Builds the daemon into `dist` (a copy of the project's) without the answer to INIT that makes handles last. */
export async function buildWithoutExportSupport(dist: string): Promise<void> {
  const path = join(SOURCE, 'fuse/init.ts');
  const original = readFileSync(path, 'utf8');
  const changed = original.replace('  abi.EXPORT_SUPPORT,\n', '');
  if (changed === original) throw new Error(`${path} does not name EXPORT_SUPPORT as this expects`);
  const bundle = await rolldown({
    input: join(SOURCE, 'daemon-main.ts'),
    platform: 'node',
    external: /^(?!\.|\/|cbor-x)/, // as scripts/bundle.mjs
    plugins: [{ name: 'mutant', load: (id) => (id === path ? { code: changed, moduleType: 'ts' } : null) }],
  });
  await bundle.write({ file: join(dist, 'src/daemon-main.js'), format: 'esm', codeSplitting: false });
}
