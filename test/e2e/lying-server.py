# A file system whose server can return wrong bytes: it mirrors a directory, and changes the content of objects as long
# as there is a file LIE. Times, sizes and inode numbers are always the same. It prints a line when it is mounted, and
# ends when it is unmounted.
# Usage: lying-server.py DIRECTORY MOUNTPOINT LIE
import ctypes
import errno
import os
import struct
import sys

source, mountpoint, lie = sys.argv[1:]
TIME = 1700000000
LOOKUP, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY = \
    1, 3, 14, 15, 17, 18, 25, 26, 27, 28, 29, 34, 36, 38
FORGETS = (2, 42)
DIRECT_IO = 1

device = os.open('/dev/fuse', os.O_RDWR)
options = 'fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other' % device
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'liar', os.fsencode(mountpoint), b'fuse', 6, options.encode()) != 0:
    sys.exit('mount: ' + os.strerror(ctypes.get_errno()))
paths, ids = {1: source}, {source: 1}


def number(path):
    if path not in ids:
        ids[path] = len(ids) + 1
        paths[ids[path]] = path
    return ids[path]


def attributes(path):
    stat = os.lstat(path)
    times = (TIME, TIME, TIME, 0, 0, 0)
    blocks = (stat.st_size + 511) // 512
    return struct.pack('<QQQQQQIIIIIIIIII', number(path), stat.st_size, blocks, *times, stat.st_mode, stat.st_nlink, 0, 0, 0, 4096, 0)


def read(path, offset, size):
    with open(path, 'rb') as file:
        file.seek(offset)
        content = file.read(size)
    return b'E' * len(content) if '/objects/' in path and os.path.exists(lie) else content


def entries(path, offset, size):
    out = b''
    for i, name in enumerate(sorted(os.listdir(os.fsencode(path)))[offset:], offset + 1):
        entry = struct.pack('<QQII', i, i, len(name), 0) + name
        entry += b'\0' * (-len(entry) % 8)
        if len(out) + len(entry) > size:
            break
        out += entry
    return out


def answer(opcode, node, body):
    path = paths.get(node)
    if opcode == INIT:
        return struct.pack('<IIIIHHIIHH32x', 7, 31, 131072, 0, 12, 10, 131072, 1, 32, 0)
    if opcode == LOOKUP:
        child = path + '/' + os.fsdecode(body.rstrip(b'\0'))
        found = attributes(child)
        return struct.pack('<QQQQII', number(child), 0, 0, 0, 0, 0) + found
    if opcode == GETATTR:
        return struct.pack('<QII', 0, 0, 0) + attributes(path)
    if opcode in (OPEN, OPENDIR):
        return struct.pack('<QII', node, DIRECT_IO if opcode == OPEN else 0, 0)
    if opcode in (READ, READDIR):
        _, offset, size = struct.unpack('<QQI', body[:20])
        return (read if opcode == READ else entries)(path, offset, size)
    if opcode == STATFS:
        return struct.pack('<QQQQQIIII24x', 1000, 1000, 1000, 1000, 1000, 4096, 255, 4096, 0)
    if opcode in (RELEASE, RELEASEDIR, FLUSH, ACCESS, DESTROY):
        return b''
    raise OSError(errno.ENOSYS, 'no such request')


print('mounted', flush=True)
while True:
    try:
        request = os.read(device, 1 << 20)
    except OSError:
        break
    _, opcode, unique, node = struct.unpack('<IIQQ', request[:24])
    if opcode in FORGETS or opcode == INTERRUPT:
        continue
    failure, content = 0, b''
    try:
        content = answer(opcode, node, request[40:])
    except OSError as error:
        failure = -error.errno
    os.write(device, struct.pack('<IiQ', 16 + len(content), failure, unique) + content)
