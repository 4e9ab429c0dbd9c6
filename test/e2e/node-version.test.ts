/** Each tool under a version of node that is too old for it. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { OWN_TOOLS, run } from './run.ts';

const PACKAGE = join(import.meta.dirname, '../../package.json');
const { bin } = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { bin: Readonly<Record<string, string>> };

/** Makes node report another version, before any module is loaded. */
const claiming = (version: string): string[] => {
  const versions = `{ ...process.versions, node: '${version}' }`;
  const code = `Object.defineProperty(process, 'versions', { value: ${versions} })`;
  return [process.execPath, '--import', `data:text/javascript,${encodeURIComponent(code)}`];
};

const message = (version: string): string => `cfs needs Node 20.19 or later; this is ${version} (${process.execPath})`;

/** Names in `bin` that are further names of a tool's program count once; cfs-bench is a part of the checkout only. */
const tools = new Set([...Object.values(bin).map((path) => basename(path, '.js')), 'cfs-bench']);

test.each([...tools])('%s reports in one line that node is too old', async (tool) => {
  accessSync(`${OWN_TOOLS.dist}/tools/${tool}.js`, constants.X_OK);
  const outcome = await run([...claiming('18.9.1'), `${OWN_TOOLS.dist}/tools/${tool}.js`, '--json', 'a', 'b']);
  const error = { kind: 'system', message: message('18.9.1'), status: 2 };
  expect(outcome).toMatchObject({ status: 2, stderr: `${tool}: ${message('18.9.1')}\n` });
  expect(JSON.parse(outcome.stdout)).toEqual({ error });
});

test.each(['20.18.3', '9.99.0'])('%s is too old', async (version) => {
  const { status, stdout, stderr } = await run([...claiming(version), `${OWN_TOOLS.dist}/tools/cfs-info.js`, 'mounts']);
  expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: '', stderr: `cfs-info: ${message(version)}\n` });
});

test.each(['20.19.0', '22.0.0', '100.1.0'])('%s is not', async (version) => {
  const { status, stderr } = await run([...claiming(version), `${OWN_TOOLS.dist}/tools/cfs-info.js`, '--version']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
