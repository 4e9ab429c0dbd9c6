# Acts as a service manager for a mount in the foreground: it is notified when the mount answers, keeps the parked
# files, kills the server, and starts another one with the kept files. It prints a line for each notification and for
# each result of a reader.
# Usage: service-manager.py DIRECTORY FILE COMMAND…: COMMAND mounts DIRECTORY, and FILE is a file in it. The file $HIDE
# is renamed when the mount answers: the next server does not need it. With $FORMER, the kept message is changed to that
# of release 0.1.0.
import array
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

mount, path, command = sys.argv[1], sys.argv[2], sys.argv[3:]
address = os.path.join(tempfile.mkdtemp(), 'notify')
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(address)
notify.settimeout(110)


def told():
    data, ancillary, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(64))
    fds = array.array('i')
    for _, _, content in ancillary:
        fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
    words = [line for line in data.decode().split('\n') if not line.startswith(('MAINPID', 'STATUS'))]
    print('told', *words, 'with', len(fds), 'files', flush=True)
    return list(fds)


def start(kept):
    def pass_kept():
        high = [os.dup2(fd, 100 + i) for i, fd in enumerate(kept)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i, inheritable=True)
    environment = dict(os.environ, NOTIFY_SOCKET=address)
    if kept:
        environment.update(LISTEN_FDS=str(len(kept)), LISTEN_FDNAMES=':'.join(['cfs'] * len(kept)))
    words = ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', *command]
    return subprocess.Popen(words, env=environment, close_fds=False, preexec_fn=pass_kept)


def as_of_0_1_0(kept):
    """The same files, parked with the message of release 0.1.0."""
    data, ancillary, _, _ = socket.socket(fileno=os.dup(kept[1])).recvmsg(200_000, socket.CMSG_SPACE(1024))
    files = array.array('i')
    for _, _, content in ancillary:
        files.frombytes(content)
    message = json.loads(data)
    later = ['version', 'imageCopy']
    message = {'fd': 28, 'epoch': 0, **{key: message[key] for key in message if key not in later}}
    for source in message['sources']:
        source.pop('isKernelsOwn', None)
    for lease in message['leases']:
        lease.pop('name', None)
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ends[0].sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    return [end.detach() for end in ends]


server = start([])
try:
    kept = told()
    told()
    if 'FORMER' in os.environ:
        kept = as_of_0_1_0(kept)
    with open(path) as file:
        print('read', file.read(6), flush=True)
        if 'HIDE' in os.environ:
            os.rename(os.environ['HIDE'], os.environ['HIDE'] + '.hidden')
        for _ in range(2):
            server.kill()
            server.wait()
            server = start(kept)
            told()
            print('read', file.read(6), flush=True)
    # a tool that asks all mounts of the machine has it open for a moment
    until = time.monotonic() + 60
    while subprocess.run(['umount', mount]).returncode != 0:
        if time.monotonic() > until:
            raise TimeoutError('umount ' + mount)
        time.sleep(0.1)
    print('exit', server.wait(110), flush=True)
    told()
finally:
    server.kill()
    os.unlink(address)
    os.rmdir(os.path.dirname(address))
