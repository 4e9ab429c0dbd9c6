import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';
import { formatMountWords, type MountWords, parseMountWords } from '../../../src/mount/option-words.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

const ID = '0123456789abcdef'.repeat(4);
const parse = (...lists: readonly string[]): MountWords => parseMountWords(lists);

/** The error message for words that are refused. */
function refusal(...lists: readonly string[]): string {
  try {
    parseMountWords(lists);
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    expect((error as CfsError).kind).toBe('usage');
    return (error as CfsError).message;
  }
  throw new Error(`${lists} was not refused`);
}

describe('parseMountWords() without words', () => {
  test('returns the defaults: verified, by the kernel, no setuid, no devices', () => {
    vi.spyOn(process, 'geteuid').mockReturnValue(0);
    const expected = {
      repositories: [],
      verify: 'auto',
      driver: 'kernel',
      threads: Math.min(availableParallelism(), 2),
      allowOther: true,
      suid: false,
      dev: false,
      exec: true,
      noatime: false,
      inode32: false,
      hideOverlayXattrs: false,
      debug: false,
      nonempty: false,
      requireComplete: false,
      restart: true,
      uuid: 'on',
      keys: [],
    };
    expect(parse()).toEqual(expected);
    expect(parse('', ',', ',,')).toEqual(expected);
  });

  test('allows other users only if root mounts', () => {
    vi.spyOn(process, 'geteuid').mockReturnValue(1000);
    expect(parse().allowOther).toBe(false);
    expect(parse('allow_other').allowOther).toBe(true);
  });

  test('returns a new list to each caller', () => {
    parse('repo=/a');
    expect(parse().repositories).toEqual([]);
  });
});

describe('parseMountWords() of words with a value', () => {
  test('accepts digest= in either case', () => {
    expect(parse(`digest=${ID}`).digest).toBe(ID);
    expect(parse(`digest=${ID.toUpperCase()}`).digest).toBe(ID);
  });

  test('accepts an fs-verity digest for digest=', () => {
    expect(parse(`digest=fsverity-sha256:${ID}`).digest).toBe(`fsverity-sha256:${ID}`);
    expect(parse(`digest=FSVERITY-SHA256:${ID.toUpperCase()}`).digest).toBe(`fsverity-sha256:${ID}`);
  });

  test.each(['', 'abc', `sha256:${ID}`, `fsverity-sha256:${ID}0`, `${ID}0`, ID.slice(1), `g${ID.slice(1)}`, ` ${ID}`])(
    'refuses digest=%s',
    (value) => {
      expect(refusal(`digest=${value}`)).toContain('64 hexadecimal digits');
    },
  );

  test.each(['auto', 'open', 'read', 'fsverity', 'off'] as const)('accepts verify=%s', (verify) => {
    expect(parse(`verify=${verify}`).verify).toBe(verify);
  });

  test.each(['', 'Open', 'yes', 'none'])('refuses verify=%s, and lists the accepted values', (value) => {
    expect(refusal(`verify=${value}`)).toMatch(/verify= takes auto, open, read, fsverity, off; not/);
  });

  test('accepts both drivers', () => {
    expect(parse('driver=fuse-native').driver).toBe('fuse-native');
    expect(parse('driver=kernel').driver).toBe('kernel');
    expect(refusal('driver=fuse3')).toContain('driver= takes kernel, fuse-native; not "fuse3"');
  });

  test('accepts threads from 1 to 64', () => {
    expect(parse('threads=1').threads).toBe(1);
    expect(parse('threads=64').threads).toBe(64);
    for (const value of ['0', '65', '-1', '1.5', '2x', '', '0x2', '1e1', ' 2']) {
      expect(refusal(`threads=${value}`)).toContain('threads= takes 1 to 64');
    }
  });

  test('collects repo= and basedir= in their order', () => {
    expect(parse('repo=/a', 'basedir=/b:/c,repo=/d').repositories).toEqual(['/a', '/b', '/c', '/d']);
    expect(parse('basedir=:/b::').repositories).toEqual(['/b']);
    expect(parse('repo=/a:b').repositories).toEqual(['/a:b']);
  });

  test('accepts a comma and a backslash in a value after a backslash', () => {
    expect(parse('repo=/a\\,b,fsname=x\\\\y').repositories).toEqual(['/a,b']);
    expect(parse('repo=/a\\,b,fsname=x\\\\y').source).toBe('x\\y');
  });

  test('accepts "=" in a value', () => {
    expect(parse('fsname=a=b').source).toBe('a=b');
  });

  test('uses the last of several', () => {
    expect(parse('verify=off,threads=3', 'verify=open,threads=4')).toMatchObject({ verify: 'open', threads: 4 });
  });

  test.each(['digest', 'verify', 'driver', 'threads', 'basedir', 'repo', 'key', 'fsname'])(
    'refuses %s without a value',
    (word) => {
      expect(refusal(word)).toContain(`${word} needs a value`);
    },
  );
});

describe('parseMountWords() of words without a value', () => {
  test('accepts each of them and its opposite', () => {
    expect(parse('suid,dev,noexec,noatime,nonempty,allow_other')).toMatchObject({
      suid: true,
      dev: true,
      exec: false,
      noatime: true,
      nonempty: true,
      allowOther: true,
    });
    expect(parse('suid,dev,noexec,allow_other', 'nosuid,nodev,exec,noallow_other')).toMatchObject({
      suid: false,
      dev: false,
      exec: true,
      allowOther: false,
    });
  });

  test.each(['suid=1', 'noexec=', 'allow_other=yes', 'nonempty=0', 'require-signature=yes'])('refuses %s', (word) => {
    expect(refusal(word)).toContain('takes no value');
  });
});

describe('parseMountWords() of words for other programs', () => {
  test('ignores the words that fstab, mount(8) and systemd add', () => {
    const ignored =
      'ro,rw,defaults,auto,noauto,user,nouser,users,nofail,_netdev,relatime,x-systemd.automount,' +
      'x-systemd.requires=/srv,X-mount.mkdir=0755,comment=text,x-initrd.mount,async';
    expect(parse(ignored)).toEqual(parse());
  });

  test.each(['foo', 'foo=bar', 'read', 'verify-mode=open', 'x', 'uid=0', 'Ro', 'digest =x', '=', '=x'])(
    'refuses %s, and names it',
    (word) => {
      expect(refusal(word)).toContain(`unknown mount option "${word}"`);
      expect(refusal(`ro,${word},suid`)).toContain(`"${word}"`);
    },
  );

  // names that every JavaScript object has
  test.each(['constructor', 'toString', 'hasOwnProperty', '__proto__', 'valueOf'])(
    'refuses %s like any other unknown word',
    (word) => {
      expect(refusal(word)).toContain(`unknown mount option "${word}"`);
      expect(refusal(`${word}=x`)).toContain(`unknown mount option "${word}=x"`);
    },
  );
});

describe('parseMountWords() of signatures', () => {
  test('accepts key= several times, as absolute paths, with or without require-signature', () => {
    expect(parse('key=/a.pem', 'key=b.pem').keys).toEqual(['/a.pem', join(process.cwd(), 'b.pem')]);
    expect(parse('require-signature,key=/a.pem')).toEqual(parse('key=/a.pem'));
  });

  test('refuses to require a signature without keys', () => {
    expect(refusal('require-signature')).toBe(
      'mount option require-signature needs a key: key=PUB.pem, the public key of the signer',
    );
    expect(refusal('key=')).toContain('key= needs');
    expect(refusal(Array(33).fill('key=/a').join(','))).toContain('32 times; not 33');
  });

  test('with key= alone, requires a signature', () => {
    expect(formatMountWords(parse('key=/a.pem'))).toContain('require-signature,key=/a.pem');
  });

  test('keeps the keys of a saved list, unless others are given', () => {
    const saved = formatMountWords(parse('key=/a.pem,key=/b.pem,verify=read'));
    expect(parseMountWords([], saved)).toMatchObject({ keys: ['/a.pem', '/b.pem'], verify: 'read' });
    expect(parseMountWords(['require-signature,verify=open'], saved)).toMatchObject({
      keys: ['/a.pem', '/b.pem'],
      verify: 'open',
    });
    expect(parseMountWords(['key=/c.pem'], saved).keys).toEqual(['/c.pem']);
  });
});

describe('parseMountWords() of an upper layer', () => {
  const LAYER = 'upperdir=/u,workdir=/w';

  test('returns its settings, and content is verified as it is read', () => {
    expect(parse(LAYER)).toMatchObject({ upper: { upperdir: '/u', workdir: '/w', volatile: false }, verify: 'read' });
    expect(parse(LAYER, 'verify=read,volatile,rw')).toMatchObject({ upper: { volatile: true }, verify: 'read' });
    expect(parse('rw').upper).toBeUndefined();
  });

  test.each([
    ['driver=fuse-native', /the portable driver is read-only/],
    ['verify=open', /verify=open and upperdir= exclude each other/],
    ['verify=fsverity', /verify=fsverity and upperdir= exclude each other/],
    ['verify=off', /verify=off and upperdir= exclude each other/],
    ['inode32', /inode32 and upperdir= exclude each other/],
  ])('refuses %s beside it, in either order', (word, reason) => {
    expect(refusal(LAYER, word)).toMatch(reason);
    expect(refusal(`${word},${LAYER}`)).toMatch(reason);
  });

  test('refuses one half of it, and a misspelled option', () => {
    expect(refusal('workdir=/w')).toContain('workdir needs upperdir=');
    expect(refusal('upperdir=/u')).toContain('upperdir= needs workdir=');
    expect(refusal(`${LAYER},volatil`)).toContain('unknown mount option "volatil"');
  });

  test('keeps that of a saved list, unless another one is given', () => {
    const saved = formatMountWords(parse(LAYER, 'metacopy=off'));
    expect(parseMountWords([], saved).upper).toMatchObject({ upperdir: '/u', workdir: '/w', metacopy: false });
    expect(parseMountWords(['upperdir=/v'], saved).upper).toMatchObject({ upperdir: '/v', workdir: '/w' });
  });
});

describe('formatMountWords()', () => {
  test.each([
    [''],
    ['verify=read,threads=7,noallow_other,suid,dev,noexec,noatime,nonempty'],
    ['nooverlayxattr,inode32'],
    ['driver=fuse-native,fsname=a\\,b\\\\c'],
    ['require-signature,key=/a\\,b.pem,key=/c\\\\d.pem'],
    ['key=/a=b.pem'],
    ['upperdir=/a\\,b,workdir=/c\\\\d,volatile,userxattr'],
  ])('returns words that mean the same as "%s"', (list) => {
    expect(parse(formatMountWords(parse(list)))).toEqual(parse(list));
  });
});

describe('remote repositories', () => {
  const URLS = ['https://a.org/x', 'https://b.org/y,z|https://c.org/y'];
  const words = ['repo=https://a.org/x', 'repo=/local', 'repo=https://b.org/y\\,z|https://c.org/y', 'cache=/c'];

  test('are not taken for directories, and are repeated', () => {
    const parsed = parse(words.join(','), 'cacert=/ca.pem,cache-size=3G,cache-min-free=5%', 'prefetch=all');
    expect(parsed.repositories).toEqual(['/local']);
    const remote = {
      addresses: URLS,
      cache: '/c',
      cacheSize: 3 * 2 ** 30,
      cacheMinFree: { percent: 5 },
      insecure: false,
      cacert: '/ca.pem',
      prefetch: 'all',
    };
    expect(parsed.remote).toEqual(remote);
    expect(parseMountWords([], formatMountWords(parsed)).remote).toEqual(parsed.remote);
    expect(parse('repo=http://a.org/x,insecure,cache=/c').remote).toMatchObject({ insecure: true });
  });

  test('have a cache by default', () => {
    vi.stubEnv('XDG_CACHE_HOME', '/home/me/cache');
    vi.spyOn(process, 'geteuid').mockReturnValue(1000);
    expect(parse('repo=https://a.org/x').remote?.cache).toBe('/home/me/cache/cfs');
    vi.unstubAllEnvs();
  });

  test.each([
    ['repo=https://me:secret@a.org/x', 'user name or a password'],
    ['repo=http://a.org/x', 'not encrypted'],
    ['repo=https://a.org/x|ftp://b.org/x', '"ftp" is not known'],
    ['repo=https://a.org/x#name', 'without the name of an image'],
    ['repo=https://a.org/x,driver=fuse-native', 'exclude each other'],
    ['repo=https://a.org/x,verify=fsverity', 'exclude each other'],
    ['repo=https://a.org/x,upperdir=/u,workdir=/w', 'exclude each other'],
    ['prefetch=all', 'mount option prefetch needs a remote repository'],
    ['prefetch=some,repo=https://a.org/x', 'mount option prefetch= takes off, hot, all; not "some"'],
    ['record=', 'mount option record= needs a file'],
    ['record=/p,upperdir=/u,workdir=/w', 'record= and upperdir= exclude each other'],
    ['record=/p,driver=fuse-native', 'record= and driver=fuse-native exclude each other'],
    ['cache=/c', 'mount option cache needs a remote repository'],
    ['insecure,repo=/a', 'mount option insecure needs a remote repository'],
    ['cache-size=1G', 'mount option cache-size needs a remote repository'],
    ['repo=https://a.org/x,cache-size=0', 'cache-size= takes bytes'],
    ['repo=https://a.org/x,cache-size=1GB', 'cache-size= takes bytes'],
    ['cache-min-free=1G', 'mount option cache-min-free needs a remote repository'],
    ['repo=https://a.org/x,cache-min-free=100%', 'cache-min-free= takes bytes'],
    ['cacert=/c', 'mount option cacert needs a remote repository'],
    ['cache=', 'needs a directory'],
    ['cacert=', 'needs a file'],
  ])('%s is refused', (list, message) => {
    expect(refusal(list)).toContain(message);
  });
});
