"""A journal for tests: binds /run/systemd/journal/socket in a mount namespace of its own, runs a command there, and
prints the entries that came as JSON: a list of objects, with a list of values for each field.

journal.py COMMAND...
"""
import json
import os
import select
import socket
import struct
import subprocess
import sys

PATH = "/run/systemd/journal/socket"


def fields(entry):
    """The fields of an entry, as systemd.journal-fields(7) and its native protocol say."""
    found = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[8 + length + 1 :]
        found.setdefault(name.decode(), []).append(value.decode("utf8", "backslashreplace"))
        entry = rest
    return found


if os.environ.get("IN_NAMESPACE") != "1":
    os.environ["IN_NAMESPACE"] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])

subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
os.makedirs(os.path.dirname(PATH))
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind(PATH)
status = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
entries = []
while select.select([journal], [], [], 0)[0]:
    entries.append(fields(journal.recv(1 << 20)))
print(json.dumps({"status": status, "entries": entries}))
