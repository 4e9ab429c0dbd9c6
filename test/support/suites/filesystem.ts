/**
 * The requirements for every driver with an image of a tree: one contract, run against each. The source of the image is
 * the truth; the mount is compared with it.
 */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe } from 'vitest';
import { generateTree } from '../tree-generator.ts';
import { contentTests } from './filesystem-content.ts';
import { metadataTests } from './filesystem-metadata.ts';
import { permissionTests, preparePermissions } from './filesystem-permissions.ts';
import { readOnlyTests } from './filesystem-read-only.ts';
import { type DriverUnderTest, HUGE_ENTRIES, type Subject } from './filesystem-subject.ts';

/**
 * Runs the contract. @param scratch returns a directory on a file system with xattrs, whose path other users may search
 */
export function filesystemContract(driver: DriverUnderTest, scratch: () => string): void {
  const subject: Subject = { driver, all: { source: '', mount: '' }, plain: { source: '', mount: '' } };

  describe(`the file system through ${driver.name}`, () => {
    beforeAll(async () => {
      const directory = mkdtempSync(join(scratch(), 'contract-'));
      subject.all.source = join(directory, 'all');
      generateTree(subject.all.source, {
        seed: 20,
        files: 400,
        directories: 40,
        oddities: true,
        hugeDirectory: HUGE_ENTRIES,
        deep: 200,
      });
      subject.plain.source = join(directory, 'plain');
      mkdirSync(subject.plain.source, { mode: 0o755 });
      writeFileSync(join(subject.plain.source, 'file'), 'no attributes\n');
      preparePermissions(subject.plain.source);
      subject.all.mount = await driver.mount(subject.all.source, false);
      subject.plain.mount = await driver.mount(subject.plain.source, true);
    });

    metadataTests(subject);
    contentTests(subject);
    readOnlyTests(subject);
    permissionTests(subject);
  });
}
