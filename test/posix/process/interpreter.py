# Evaluates Python that comes line by line as JSON, and answers each line with its value as JSON: null for a statement,
# text for bytes, the name of the error for a failed system call.
import errno, fcntl, json, mmap, os, struct, sys

# struct flock of 64-bit Linux
F_OFD_SETLK, F_OFD_SETLKW, F_OFD_GETLK = 37, 38, 36
LOCK = struct.Struct('hhqqi4x')


def record(fd, command, type, start, length):
    """A POSIX or OFD lock; returns type and holder of the lock in the way with F_GETLK."""
    answer = LOCK.unpack(fcntl.fcntl(fd, command, LOCK.pack(type, os.SEEK_SET, start, length, 0)))
    return [answer[0], answer[4]] if command in (fcntl.F_GETLK, F_OFD_GETLK) else 'ok'


def aligned(content):
    """Memory for direct I/O, with these bytes."""
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return memory


def readable(value):
    return value.decode('latin1') if isinstance(value, bytes) else value


for line in sys.stdin:
    code = json.loads(line)
    try:
        try:
            value = eval(compile(code, 'line', 'eval'), globals())
        except SyntaxError:
            value = exec(code, globals())
    except OSError as error:
        # this number has two names
        value = 'EDEADLK' if error.errno == errno.EDEADLK else errno.errorcode[error.errno]
    print(json.dumps(readable(value)), flush=True)
