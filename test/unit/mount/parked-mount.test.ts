import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { MountSource } from '../../../src/mount/mount-sources.ts';
import {
  closeParked,
  decodeParked,
  encodeParked,
  lookAtParkedMount,
  type ParkedMount,
  parkMount,
} from '../../../src/mount/parked-mount.ts';
import { unpark } from '../../../src/survival/parking.ts';

const IMAGE_ID = 'd1c08bb6d8b1e2bc2ffb7d390ece7350ba9e6597bf9af84393e4853fc6e78a11';
const STORE_ID = 'b71c7f61-2ce5-44fd-a53f-4e08f921c112';

const SETTINGS = {
  repositories: ['/srv/st'],
  verify: 'auto',
  driver: 'kernel',
  threads: 2,
  allowOther: true,
  suid: false,
  dev: false,
  exec: true,
  noatime: false,
  nonempty: false,
  restart: true,
  image: '/srv/i.cfs',
  mountpoint: '/mnt',
  given: { image: 'i.cfs', repositories: ['st'] },
  words: 'verify=auto,driver=kernel,threads=2,allow_other,nosuid,nodev,exec,restart=on',
};

/** The message that a server of release 0.1.0 parked, word for word except for paths. */
const OF_0_1_0 =
  '{"fd":28,"helper":false,"mountpoint":"/mnt","device":"0:39","journal":1,"epoch":0,"passthrough":true,"resends":true,' +
  '"connection":0,"sources":[{"kind":"image","given":"i.cfs","path":"/srv/i.cfs",' +
  `"id":"${IMAGE_ID}","fd":2,"directory":3,"name":"aS5jZnM=","fsType":"ext4"},` +
  `{"kind":"repository","given":"st","path":"/srv/st","id":"${STORE_ID}","fd":4,"directory":-1,"name":"",` +
  '"fsType":"ext4"}],"leases":[{"fd":5,"repository":0}],' +
  `"settings":${JSON.stringify(SETTINGS)}}`;

/**
 * The message that this version parks. Release 0.1.0 and every later one must be able to read it: see parked-mount.ts.
 */
const OF_TODAY =
  `{"version":1,"settings":${JSON.stringify(SETTINGS)},"mountpoint":"/mnt","device":"0:39","helper":false,` +
  '"passthrough":true,"resends":true,"collects":true,"connection":0,"journal":1,"sources":[{"kind":"image","given":' +
  `"i.cfs","path":"/srv/i.cfs","id":"${IMAGE_ID}","fd":2,"directory":3,"name":"aS5jZnM=","fsType":"ext4",` +
  '"fsUuid":"0b1e2bc2-ffb7-4390-8735-0ba9e6597bf9"},' +
  `{"kind":"repository","given":"st","path":"/srv/st","id":"${STORE_ID}","fd":4,"directory":-1,"name":"",` +
  '"fsType":"ext4","isKernelsOwn":true}],"imageCopy":5,"leases":[{"fd":6,"repository":0,"name":"lease-1"}]}';

const mount: ParkedMount<typeof SETTINGS> = {
  settings: SETTINGS,
  connection: {
    fd: 20,
    journal: 21,
    mountpoint: '/mnt',
    device: '0:39',
    helper: false,
    passthrough: true,
    resends: true,
    collects: true,
  },
  sources: [
    {
      kind: 'image',
      given: 'i.cfs',
      path: '/srv/i.cfs',
      id: IMAGE_ID,
      fd: 22,
      directory: 23,
      name: Buffer.from('i.cfs'),
      fsType: 'ext4',
      fsUuid: '0b1e2bc2-ffb7-4390-8735-0ba9e6597bf9',
    },
    {
      kind: 'repository',
      given: 'st',
      path: '/srv/st',
      id: STORE_ID,
      fd: 24,
      directory: -1,
      name: Buffer.alloc(0),
      fsType: 'ext4',
      fsUuid: undefined,
      isKernelsOwn: true,
    },
  ],
  imageCopy: 25,
  leases: [{ fd: 26, repository: 0, name: 'lease-1' }],
};

/** The same mount with an upper layer: what was added, and the version that older readers refuse. */
const WITH_LAYER = OF_TODAY.replace('{"version":1', '{"version":2').replace(
  /\}$/,
  ',"layer":{"upper":7,"base":8,"lock":9,"mark":-1,"table":10,"intents":11,' +
    '"features":{"nameless":true,"types":true,"handles":false}}}',
);

const layered: ParkedMount<typeof SETTINGS> = {
  ...mount,
  layer: {
    upper: 27,
    base: 28,
    lock: 29,
    mark: -1,
    table: 30,
    intents: 31,
    features: { nameless: true, types: true, handles: false },
  },
};

/** The same after a rebase: what was added, and the version that older readers refuse. */
const REBASED = WITH_LAYER.replace('{"version":2', '{"version":3').replace(
  '"intents":11,',
  '"intents":11,"identities":12,"plan":"1b4e28ba-2fa1-11d2-883f-0016d3cca427",',
);

const rebased: ParkedMount<typeof SETTINGS> = {
  ...layered,
  layer: {
    upper: 27,
    base: 28,
    lock: 29,
    mark: -1,
    table: 30,
    intents: 31,
    identities: 32,
    plan: '1b4e28ba-2fa1-11d2-883f-0016d3cca427',
    features: { nameless: true, types: true, handles: false },
  },
};

describe('the message of a parked mount', () => {
  test('is that of release 0.1.0, with more keys', () => {
    const { value, fds } = encodeParked(mount);
    expect(JSON.stringify(value)).toBe(OF_TODAY);
    expect(fds).toEqual([20, 21, 22, 23, 24, 25, 26]);
    const others = ['fd', 'epoch']; // keys that the release wrote, but did not read
    const keys = Object.keys(JSON.parse(OF_0_1_0)).filter((key) => !others.includes(key));
    expect(Object.keys(value as object)).toEqual(expect.arrayContaining(keys));
  });

  test('of this version is read', () => {
    const { fds } = encodeParked(mount);
    expect(decodeParked({ value: JSON.parse(OF_TODAY), fds })).toEqual(mount);
  });

  test('with an upper layer has a version of its own, and the files of the layer', () => {
    const { value, fds } = encodeParked(layered);
    expect(JSON.stringify(value)).toBe(WITH_LAYER);
    expect(fds).toEqual([20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]);
    expect(decodeParked({ value: JSON.parse(WITH_LAYER), fds })).toEqual(layered);
  });

  test('of a mount that was rebased has a version of its own, and the file of its identities', () => {
    const { value, fds } = encodeParked(rebased);
    expect(JSON.stringify(value)).toBe(REBASED);
    expect(fds).toEqual([20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32]);
    expect(decodeParked({ value: JSON.parse(REBASED), fds })).toEqual(rebased);
  });

  test('of a mount with remote repositories has a version of its own, and the mark of the cache', () => {
    const [image, repository] = mount.sources as [MountSource, MountSource];
    const cached = { ...mount, sources: [image, { ...repository, isCache: true as const }] };
    const { value, fds } = encodeParked(cached);
    expect(value).toMatchObject({ version: 4 });
    expect(decodeParked({ value: JSON.parse(JSON.stringify(value)), fds })).toEqual(cached);
  });

  test('of release 0.1.0 is read', () => {
    const [image, repository] = mount.sources;
    const { isKernelsOwn: _, ...before } = repository as (typeof mount.sources)[number];
    expect(decodeParked({ value: JSON.parse(OF_0_1_0), fds: [20, 21, 22, 23, 24, 25] })).toEqual({
      ...mount,
      connection: { ...mount.connection, collects: undefined },
      sources: [{ ...image, fsUuid: undefined }, before],
      imageCopy: -1,
      leases: [{ fd: 25, repository: 0 }],
    });
  });

  test('of a later version that this one would misread is refused', () => {
    const { value, fds } = encodeParked(mount);
    const later = { ...(value as object), version: 5 };
    expect(() => decodeParked({ value: later, fds })).toThrow(/a later version of cfs made this mount/);
  });

  test('with unknown keys is read', () => {
    const { value, fds } = encodeParked(mount);
    expect(decodeParked({ value: { ...(value as object), later: true }, fds })).toMatchObject({ imageCopy: 25 });
  });
});

const directory = mkdtempSync(join(tmpdir(), 'cfs-parked-'));
afterAll(() => rmSync(directory, { recursive: true }));

test('the decoded mount has the same files under other numbers, and closing them keeps the parked ones', () => {
  const files = Array.from({ length: 12 }, (_, i) => {
    const path = join(directory, String(i));
    writeFileSync(path, '');
    return openSync(path, 'r');
  });
  const inodeOf = (fd: number): number => fstatSync(fd).ino;
  const { value, fds } = encodeParked(layered);
  const own = decodeParked<typeof SETTINGS>({
    value: JSON.parse(JSON.stringify(value)),
    fds: fds.map((_, i) => files[i] as number),
  });
  const ends = parkMount(own);
  try {
    for (let i = 0; i < 2; i++) {
      const seen = lookAtParkedMount<typeof SETTINGS>(ends) as ParkedMount<typeof SETTINGS>;
      expect(seen.settings).toEqual(SETTINGS);
      expect(seen.connection.fd).not.toBe(own.connection.fd);
      expect(inodeOf(seen.connection.fd)).toBe(inodeOf(own.connection.fd));
      expect(inodeOf(seen.leases?.[0]?.fd as number)).toBe(inodeOf(own.leases?.[0]?.fd as number));
      expect(inodeOf(seen.layer?.table as number)).toBe(inodeOf(own.layer?.table as number));
      closeParked(seen);
      expect(() => fstatSync(seen.connection.fd)).toThrow('EBADF');
      expect(() => fstatSync(seen.layer?.intents as number)).toThrow('EBADF');
    }
    unpark(ends[1]);
    expect(lookAtParkedMount(ends)).toBeUndefined();
  } finally {
    for (const fd of [...ends, ...files]) closeSync(fd);
  }
});
