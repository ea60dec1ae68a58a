# OpenSSH's client on a terminal whose size changes while a shell runs: the host's side follows.
# Its arguments are the client's command line.
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios

SIZES = [(33, 101), (20, 77), (60, 200)]


def resize(fd, size):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
resize(terminal, SIZES[0])
seen = b""


def too_late(_number, _frame):
    sys.exit("nothing came after %r" % seen[-500:])


signal.signal(signal.SIGALRM, too_late)
signal.alarm(40)


def wait_for(pattern):
    global seen
    while True:
        found = re.search(pattern, seen)
        if found:
            seen = seen[found.end():]
            return
        try:
            got = os.read(terminal, 4096)
        except OSError:
            got = b""
        if not got:
            sys.exit("ended before %r: %r" % (pattern, seen[-500:]))
        seen += got


# What is asked for is spelled otherwise than what is waited for, since the terminal echoes it.
os.write(terminal, b"echo st''arted $(stty size)\n")
wait_for(rb"started 33 101\r")
for size in SIZES[1:]:
    resize(terminal, size)
    # The host learns of it a moment later than of what is typed.
    os.write(terminal, b"until [ \"$(stty size)\" = '%d %d' ]; do sleep 0.1; done; echo do''ne\n" % size)
    wait_for(rb"done\r")
os.write(terminal, b"exit 5\n")
while True:
    try:
        if not os.read(terminal, 4096):
            break
    except OSError:
        break
_, status = os.waitpid(pid, 0)
sys.exit("status %d" % status if os.waitstatus_to_exitcode(status) != 5 else 0)
