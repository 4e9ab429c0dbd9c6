import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { defaultStore } from '../../../src/store/default-store.ts';

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

/** The result of `defaultStore` for this user with this environment. */
function storeOf(euid: number, env: { CFS_STORE?: string; XDG_DATA_HOME?: string } = {}): string {
  vi.spyOn(process, 'geteuid').mockReturnValue(euid);
  vi.stubEnv('CFS_STORE', env.CFS_STORE);
  vi.stubEnv('XDG_DATA_HOME', env.XDG_DATA_HOME);
  return defaultStore();
}

describe('defaultStore()', () => {
  test('is $CFS_STORE for every user', () => {
    const env = { CFS_STORE: '/srv/store', XDG_DATA_HOME: '/data' };
    expect(storeOf(0, env)).toBe('/srv/store');
    expect(storeOf(1000, env)).toBe('/srv/store');
  });

  test('is /var/lib/cfs for root, with any XDG_DATA_HOME', () => {
    expect(storeOf(0)).toBe('/var/lib/cfs');
    expect(storeOf(0, { XDG_DATA_HOME: '/data' })).toBe('/var/lib/cfs');
  });

  test('is $XDG_DATA_HOME/cfs for others', () => {
    expect(storeOf(1000, { XDG_DATA_HOME: '/data' })).toBe('/data/cfs');
  });

  test('is ~/.local/share/cfs if XDG_DATA_HOME is unset, empty or relative', () => {
    const home = join(homedir(), '.local/share/cfs');
    expect(storeOf(1000)).toBe(home);
    expect(storeOf(1000, { XDG_DATA_HOME: '' })).toBe(home);
    expect(storeOf(1000, { XDG_DATA_HOME: 'data' })).toBe(home);
  });

  test('treats an empty $CFS_STORE as unset', () => {
    expect(storeOf(0, { CFS_STORE: '' })).toBe('/var/lib/cfs');
  });
});
