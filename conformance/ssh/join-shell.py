# A program in a terminal: types what it is to type once it shows what is waited for, and stays until it
# is over. Its arguments are pairs of what to wait for and what to type, "--", and the command line.
import os
import pty
import signal
import sys

end = sys.argv.index("--")
steps = list(zip(sys.argv[1:end:2], sys.argv[2:end:2]))
command = sys.argv[end + 1:]
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
    while steps and steps[0][0].encode() in seen:
        _, keys = steps.pop(0)
        os.write(terminal, keys.encode("latin1").decode("unicode_escape").encode("latin1"))
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(status))
