"""Runs a command as the foreground job of a terminal: terminal.py STEP... -- COMMAND...

Steps: wait:TEXT (until the output since the last step has it), send:KEYS, signal:NAME, stopped (until the job is
stopped, with the terminal as it was), continue. Prints JSON: the output, the exit status, and whether the terminal
is as it was.
"""
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios

steps = sys.argv[1 : sys.argv.index("--")]
command = sys.argv[sys.argv.index("--") + 1 :]

master, slave = os.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))


def settings():
    return termios.tcgetattr(slave)[:6]


before = settings()
# a session of its own, with the job in a process group that its parent watches, as a shell does
keeper = os.fork()
if keeper == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(slave, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        os.execvp(command[0], command)
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            # said where the output cannot be mistaken for it
            os.write(slave, b"\x1b]job stopped %d\x07" % job)
            continue
        code = os.waitstatus_to_exitcode(status)
        os.write(slave, b"\x1b]job ended %d\x07" % (code if code >= 0 else 128 - code))
        os._exit(0)

output = b""
seen = 0


def read_until(text):
    """Reads until the text is in the output since the last step."""
    global output, seen
    while text not in output[seen:]:
        if not select.select([master], [], [], 60)[0]:
            raise SystemExit(f"no {text!r} in {output[-500:]!r}")
        output += os.read(master, 65536)
    seen = output.index(text, seen) + len(text)


def job():
    with open(f"/proc/{keeper}/task/{keeper}/children") as children:
        return int(children.read().split()[0])


restored = True
for step in steps:
    kind, _, argument = step.partition(":")
    if kind == "wait":
        read_until(argument.encode())
    elif kind == "send":
        os.write(master, argument.encode())
    elif kind == "signal":
        os.kill(job(), getattr(signal, "SIG" + argument))
    elif kind == "stopped":
        read_until(b"\x1b]job stopped ")
        restored = restored and settings() == before
    elif kind == "continue":
        os.kill(job(), signal.SIGCONT)

read_until(b"\x1b]job ended ")
while b"\x07" not in output[seen:]:
    output += os.read(master, 65536)
status = int(output[seen : output.index(b"\x07", seen)])
os.waitpid(keeper, 0)
shown = output.decode("utf8", "replace")
print(json.dumps({"output": shown, "status": status, "restored": restored and settings() == before}))
