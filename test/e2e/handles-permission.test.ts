/** Which users may open handles, and what the required capability permits them to read. */
import { lstatSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { formatHandle } from '../../src/base/handle-format.ts';
import { generateTree } from '../support/tree-generator.ts';
import { handleOf } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { asUser, HERE, NOBODY, Place, succeed } from './run.ts';

const scratch = useScratch();
let image: string;
let mounted: Mounted;

const CLOSED = 'odd/modes/file-0000';
const CLOSED_DIRECTORY = 'odd/modes/directory-0000';

beforeAll(async () => {
  generateTree(scratch.at('tree'), { seed: 8, oddities: true });
  image = (await scratch.pack(scratch.at('tree'))).image;
  mounted = await scratch.mount(image);
});

/** The user nobody, with this one capability of root. */
const withCapability = (name: string): Place => {
  const nobody = asUser(NOBODY);
  const [setpriv = '', ...rest] = nobody;
  return new Place(name, [setpriv, `--inh-caps=+${name}`, `--ambient-caps=+${name}`, ...rest], scratch.nobody().tools);
};

/** Root, without this capability. */
const without = (name: string): Place => new Place(`without ${name}`, ['setpriv', `--bounding-set=-${name}`]);

/** Opens a handle with `flags`, and reads the file. Prints the content, the entries, or the error. */
const PROGRAM = `
const [dist, mount, text, flags] = process.argv.slice(1);
const { openByHandle } = await import(dist + '/src/system/file-handle.js');
const { parseHandle } = await import(dist + '/src/base/handle-format.js');
const { errnoName } = await import(dist + '/src/base/errno.js');
const { openSync, readFileSync, readdirSync, fstatSync } = await import('node:fs');
const fd = openByHandle(openSync(mount, 'r'), parseHandle(text), Number(flags));
if (fd < 0) console.log(errnoName(fd));
else if (fstatSync(fd).isDirectory()) console.log(readdirSync('/proc/self/fd/' + fd).join());
else console.log(readFileSync(fd, 'utf8').trim());
`;

function read(place: Place, path: string, flags = 0, at = mounted.path): Promise<string> {
  const { node, dist } = place.tools;
  const handle = formatHandle(handleOf(mounted.at(path)));
  const command = [node, '--input-type=module', '-e', PROGRAM, '--', dist, at, handle, String(flags)];
  return succeed(place.command('env', ...command)).then((text) => text.trim());
}

describe('open_by_handle_at', () => {
  test.each(['odd/types/regular', CLOSED, 'odd/types', '.'])('needs CAP_DAC_READ_SEARCH: %s', async (path) => {
    expect(await read(scratch.nobody(), path)).toBe('EPERM');
    expect(await read(withCapability('dac_override'), path)).toBe('EPERM');
    expect(await read(withCapability('sys_admin'), path)).toBe('EPERM');
    expect(await read(without('dac_read_search'), path)).toBe('EPERM');
  });

  test('with that alone opens and reads files closed to all others: it overrides reading and searching', async () => {
    const place = withCapability('dac_read_search');
    expect(lstatSync(mounted.at(CLOSED)).mode & 0o777).toBe(0);
    expect(await read(place, CLOSED)).toBe('mode 0000');
    expect(await read(place, CLOSED_DIRECTORY)).toBe('');
    expect(await read(place, 'odd/modes')).toContain('file-0000');
  });

  test('with that alone does not write', async () => {
    const O_RDWR = 2;
    expect(await read(withCapability('dac_read_search'), CLOSED, O_RDWR)).toBe('EROFS');
    expect(await read(HERE, CLOSED, O_RDWR)).toBe('EROFS');
  });

  test('is refused to other users if the mount is for its user alone', async () => {
    const own = await scratch.mount(image, { words: ['noallow_other'] });
    expect(await read(HERE, CLOSED, 0, own.path)).toBe('mode 0000');
    // even opening the mount point for open_by_handle_at(2) is refused
    await expect(read(withCapability('dac_read_search'), CLOSED, 0, own.path)).rejects.toThrow('EACCES');
  });
});

describe('root of a user namespace', () => {
  const O_DIRECTORY = 0o200000;

  test.each(['of that namespace', 'of the machine'])(
    'opens directories of a mount %s, and nothing else',
    async (whose) => {
      const place = await scratch.namespace(`namespace ${whose}`);
      const at = whose === 'of the machine' ? mounted.path : (await scratch.mount(image, { place })).path;
      expect(await read(place, 'odd/types', O_DIRECTORY, at)).toContain('regular');
      expect(await read(place, 'odd/types', 0, at)).toBe('EPERM');
      expect(await read(place, 'odd/types/regular', 0, at)).toBe('EPERM');
      const open = (path: string) =>
        scratch.tool('cfs-info', ['open-handle', at, formatHandle(handleOf(mounted.at(path)))], place);
      expect((await open('odd/types')).stdout).toContain(`path:         ${at}/odd/types\n`);
      expect((await open('odd/types/regular')).stderr).toContain(
        'needs CAP_DAC_READ_SEARCH outside of user namespaces',
      );
    },
  );
});
