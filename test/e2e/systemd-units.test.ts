/** The units of systemd/, as systemd itself reads them. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { OWN_TOOLS, run } from './run.ts';

const scratch = useScratch();
const UNITS = join(import.meta.dirname, '../../systemd');

/** The path of the tool in the units; it need not exist on the machine that runs the tests. */
const INSTALLED = '/usr/local/bin/cfs-mount';

test.each(readdirSync(UNITS))('systemd finds nothing to say of %s', async (name) => {
  const unit = readFileSync(join(UNITS, name), 'utf8').replaceAll(INSTALLED, `${OWN_TOOLS.dist}/tools/cfs-mount.js`);
  const copy = join(scratch.directory(), name);
  writeFileSync(copy, unit);
  // a small machine has no manual pages
  const { status, stdout, stderr } = await run(['systemd-analyze', 'verify', '--man=no', copy]);
  expect({ status, said: stdout + stderr }).toEqual({ status: 0, said: '' });
  expect(unit).toMatch(/^Documentation=\S+/m);
});
