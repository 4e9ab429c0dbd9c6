/** Copies programs of this machine, with the libraries that they load, to the disk of the virtual machine. */
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants, copyFileSync, mkdirSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** root's PATH may lack /usr/sbin, where criu and mkfs.ext4 are. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

export function findProgram(name: string): string | undefined {
  return PATH.split(':')
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** @throws Error that says what to do, if the program is missing */
export function program(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not installed: 'scripts/setup test' does it`);
  return path;
}

/** The libraries that a program or a library loads, as absolute paths; none if it is static. */
export function libraries(path: string): string[] {
  const { stdout } = spawnSync('ldd', [path], { encoding: 'utf8' });
  return stdout.split('\n').flatMap((line) => /(?:=> |^\s+)(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}

/** Copies a file to the same path below `root`. */
export function copyBelow(root: string, path: string): void {
  const target = join(root, path);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(realpathSync(path), target);
}

/** Copies a program to /bin of `root`, and its libraries to their own paths. */
export function installProgram(root: string, name: string): void {
  const source = program(name);
  mkdirSync(join(root, 'bin'), { recursive: true });
  copyFileSync(realpathSync(source), join(root, 'bin', name));
  for (const library of libraries(source)) copyBelow(root, library);
}

/** Makes the file of an ext4 file system with the tree `directory`. `verity` permits files with fs-verity. */
export function makeExt4(file: string, directory: string, sizeMiB: number): void {
  const options = ['-q', '-F', '-b', '4096', '-O', 'verity', '-E', 'nodiscard', '-m', '0', '-d', directory];
  execFileSync(program('mkfs.ext4'), [...options, file, `${sizeMiB}M`], { stdio: ['ignore', 'ignore', 'inherit'] });
}
