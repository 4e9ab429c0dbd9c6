/** Writes the schemas: `node dist/tools/schemas/generate.js DIST`, which `scripts/build` runs. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { OUTPUTS, schemaName, schemaOf } from './schemas.ts';

const directory = join(resolve(process.argv[2] ?? 'dist'), 'share/cfs/schemas');
mkdirSync(directory, { recursive: true });
for (const command of Object.keys(OUTPUTS)) {
  writeFileSync(join(directory, `${schemaName(command)}.json`), `${JSON.stringify(schemaOf(command), null, 2)}\n`);
}
