/**
 * Packages with native modules. A thread that is started later finds them by the paths that the first thread found: the
 * files of the program may have been moved or replaced by then, but a module that the process has loaded need not be
 * read again.
 */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** Paths of native modules by the names of their packages. */
export type NativeModules = Readonly<Record<string, string>>;

const paths = new Map<string, string>();
const loaded = new Map<string, unknown>();

const nativeFiles = (): string[] => Object.keys(require.cache).filter((file) => file.endsWith('.node'));

/** The package `name`, loaded once. */
export function loadPackage<T>(name: string): T {
  if (!loaded.has(name)) loaded.set(name, loadNative(name) ?? loadByName(name));
  return loaded.get(name) as T;
}

/** The exports of the native module itself: the packages' own code only finds it, and adds deprecated names. */
function loadNative(name: string): unknown {
  const path = paths.get(name);
  if (path === undefined) return undefined;
  const module = { exports: {} };
  try {
    process.dlopen(module, path);
  } catch {
    return undefined;
  }
  return module.exports;
}

function loadByName(name: string): unknown {
  const before = new Set(nativeFiles());
  const module = require(name) as unknown;
  const file = nativeFiles().find((path) => !before.has(path));
  if (file !== undefined) paths.set(name, file);
  return module;
}

/** The modules that this thread has loaded, for `useNativeModules` in another thread. */
export const nativeModules = (): NativeModules => Object.fromEntries(paths);

/** Call this before the first `loadPackage` of a thread. */
export function useNativeModules(modules: NativeModules): void {
  for (const [name, path] of Object.entries(modules)) paths.set(name, path);
}
