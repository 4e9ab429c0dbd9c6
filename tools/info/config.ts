/** `cfs-info config`: the values that apply, and where they come from. */
import { CONFIG_KEYS, type ConfigKey } from '../../src/base/config-text.ts';
import { jsonOf } from '../../src/base/json-text.ts';
import { defaultCache, defaultStore } from '../../src/store/default-store.ts';
import { configFiles, configuredList, readConfig } from '../../src/system/config-files.ts';
import { formatTable } from '../table.ts';
import type { Output } from './output.ts';

interface Explained {
  readonly key: ConfigKey;
  readonly value: string;
  /** A file with its line, a variable, or "default". */
  readonly from: string;
}

const VARIABLES: Readonly<Partial<Record<ConfigKey, string>>> = {
  store: 'CFS_STORE',
  repo: 'CFS_STORE',
  color: 'NO_COLOR',
};

const DEFAULTS: Readonly<Partial<Record<ConfigKey, () => string>>> = {
  store: defaultStore,
  hash: () => 'blake3',
  color: () => 'auto',
  cache: defaultCache,
};

/** The values of a key; none if there is no key to verify signatures, or no limit. */
function explain(key: ConfigKey): readonly Explained[] {
  const variable = VARIABLES[key];
  if (variable !== undefined && (process.env[variable] ?? '') !== '') {
    return [{ key, value: key === 'color' ? 'never' : defaultStore(), from: variable }];
  }
  const found = configuredList(key);
  if (found.length > 0) return found.map(({ value, file, line }) => ({ key, value, from: `${file}:${line}` }));
  // the default repository is the only one that is searched
  if (key === 'repo') return explain('store').map((store) => ({ ...store, key }));
  const value = DEFAULTS[key];
  return value === undefined ? [] : [{ key, value: value(), from: 'default' }];
}

/** @throws CfsError (usage) if a file is wrong */
export function showConfig(json: boolean, out: Output): void {
  const files = configFiles().map((path) => ({ path, exists: readConfig(path) !== undefined }));
  const values = CONFIG_KEYS.flatMap(explain);
  if (json) {
    out.text(`${jsonOf({ files, values })}\n`);
    return;
  }
  const rows = values.map(({ key, value, from }) => [key, value, from]);
  out.text(`${formatTable(['key', 'value', 'from'], rows).join('\n')}\n`);
  for (const { path, exists } of files) if (!exists) out.text(`there is no ${path}\n`);
}
