/** Mountinfo, and the place at which a mount shows a path of its file system. */
import { describe, expect, it } from 'vitest';
import { placeIn } from '../../../src/mount-info/open-path.ts';
import { mountOptionBytes, parseMountTable } from '../../../src/system/mount-table.ts';

describe('parseMountTable()', () => {
  it('reads ids, the root of a bind mount, and names with blanks', () => {
    const text = [
      '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
      '44 26 0:40 /a\\040b /m\\134n\\012\xff ro shared:7 master:1 - fuse.cfs /i\\040j.cfs ro,user_id=0',
      '',
    ].join('\n');
    const [first, second] = parseMountTable(text);
    expect(first).toMatchObject({
      mountId: 36,
      parentId: 35,
      options: 'rw,errors=continue',
      device: '98:0',
      mountpoint: '/mnt2',
      type: 'ext3',
      source: '/dev/root',
    });
    expect(Buffer.from(first?.root ?? []).toString()).toBe('/mnt1');
    expect(second).toMatchObject({ mountId: 44, type: 'fuse.cfs', source: '/i j.cfs' });
    expect(Buffer.from(second?.root ?? []).toString()).toBe('/a b');
    expect(Buffer.from(second?.mountpointBytes ?? []).toString('latin1')).toBe('/m\\n\n\xff');
  });
});

describe('mountOptionBytes()', () => {
  const line =
    '7 1 0:9 / /m rw - overlay  rw,lowerdir=/l,upperdir=/a\\040b\\054c\\134\\054\\075\xff,workdir=/w,index=on';
  const options = parseMountTable(line)[0]?.options ?? '';

  it.each([
    ['upperdir', '/a b,c\\,=\xff'],
    ['workdir', '/w'],
    ['index', 'on'],
    ['rw', undefined],
    ['dir', undefined],
  ])('reads %s', (name, expected) => {
    const bytes = mountOptionBytes(options, name);
    expect(bytes && Buffer.from(bytes).toString('latin1')).toBe(expected);
  });
});

describe('placeIn()', () => {
  const place = (root: string, mountpoint: string, path: string): string | undefined => {
    const line = `1 1 0:1 ${root} ${mountpoint} rw - x x rw`;
    const [entry] = parseMountTable(line);
    return entry && placeIn(entry, Buffer.from(path))?.toString();
  };

  it.each([
    ['/', '/m', '/', '/m'],
    ['/', '/m', '/a/b', '/m/a/b'],
    ['/', '/', '/a', '/a'],
    ['/a', '/m', '/a', '/m'],
    ['/a', '/m', '/a/b', '/m/b'],
    ['/a', '/', '/a/b', '/b'],
  ])('if %s is mounted on %s, shows %s as %s', (root, mountpoint, path, expected) => {
    expect(place(root, mountpoint, path)).toBe(expected);
  });

  it.each([
    ['/a', '/'],
    ['/a', '/b'],
    ['/a', '/ab'],
    ['/a/b', '/a'],
  ])('if %s is mounted, does not show %s', (root, path) => {
    expect(place(root, '/m', path)).toBeUndefined();
  });
});
