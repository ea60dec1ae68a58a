# A program of the host's on a display that is forwarded: it opens the display with the cookie that sshd
# left for it, and the other side sends back what comes (what it sees has the client's own cookie in it).
import os
import socket
import struct
import subprocess

display = os.environ["DISPLAY"]
number = display.split(":")[1].split(".")[0]
listed = subprocess.run(["xauth", "list", display], capture_output=True, check=True, text=True)
name, cookie = listed.stdout.split()[1:3]
name = name.encode()
cookie = bytes.fromhex(cookie)
padding = b"\0" * (-len(name) % 4)
setup = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(cookie)) + name + padding + cookie
with socket.create_connection(("127.0.0.1", 6000 + int(number))) as connection:
    connection.sendall(setup + b"and more")
    back = b""
    while len(back) < len(setup) + 8 and (chunk := connection.recv(4096)):
        back += chunk
assert len(back) == len(setup) + 8 and back.endswith(b"and more"), back
print("shown")
