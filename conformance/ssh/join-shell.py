# `custody join` in a terminal: types once the shell shows that it waits, and stays until it is over.
# Its arguments are what to wait for, what to type, and the command line.
import os
import pty
import signal
import sys

wanted, keys, *command = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
seen = b""


def too_late(_number, _frame):
    sys.exit("nothing came after %r" % seen[-500:])


signal.signal(signal.SIGALRM, too_late)
signal.alarm(60)
while True:
    try:
        got = os.read(terminal, 4096)
    except OSError:
        break
    if not got:
        break
    seen += got
    if keys and wanted.encode() in seen:
        os.write(terminal, keys.encode("latin1").decode("unicode_escape").encode("latin1"))
        keys = ""
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(status))
