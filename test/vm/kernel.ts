/** The kernel of the virtual machine: Debian's, as `scripts/vm-kernel` unpacked it. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

/** The directory of files that take long to make and do not depend on the project. */
export const CACHE: string = resolve(import.meta.dirname, '../../node_modules/.cache/cfs-vm');

const KERNEL = join(CACHE, 'kernel');
export const VMLINUZ: string = join(KERNEL, 'vmlinuz');

/** E.g. "6.12.117+deb12-cloud-amd64". */
export function kernelVersion(): string {
  const [version] = existsSync(VMLINUZ) ? readdirSync(join(KERNEL, 'lib/modules')) : [];
  if (version === undefined) throw new Error(`${KERNEL} has no kernel: 'scripts/setup test' fetches it`);
  return version;
}

export interface KernelModule {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Modules with those that they need, in an order that insmod accepts. */
export function kernelModules(names: readonly string[]): KernelModule[] {
  const directory = join(KERNEL, 'lib/modules', kernelVersion());
  const paths = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const files = new Map(paths.map((path) => [basename(path, '.ko.xz'), path]));
  const loaded = new Map<string, KernelModule>();
  const load = (name: string): void => {
    if (loaded.has(name)) return;
    const path = files.get(name);
    if (path === undefined) throw new Error(`the kernel has no module ${name}`);
    const bytes = execFileSync('xz', ['-dc', join(directory, path)], { maxBuffer: 64 << 20 });
    for (const needed of dependencies(bytes)) load(needed);
    loaded.set(name, { name, bytes });
  };
  names.forEach(load);
  return [...loaded.values()];
}

/** The modules that a module needs, from the section .modinfo: "depends=a,b", ended by a zero byte. */
function dependencies(module: Buffer): string[] {
  const key = '\0depends=';
  const start = module.indexOf(key, 0, 'latin1');
  if (start < 0) return [];
  const list = module.toString('latin1', start + key.length, module.indexOf(0, start + 1));
  return list === '' ? [] : list.split(',');
}
