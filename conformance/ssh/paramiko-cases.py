# paramiko through the gateway: run by others.ts with the credential in CUSTODY_TEST_SECRET.
import os
import paramiko

secret = os.environ["CUSTODY_TEST_SECRET"]
folder = os.environ["FOLDER"]
client = paramiko.SSHClient()
# The suite's other cases check the host's certificate; paramiko knows none.
client.set_missing_host_key_policy(paramiko.WarningPolicy())
client.connect("127.0.0.1", int(os.environ["PORT"]), "web-1", secret,
               look_for_keys=False, allow_agent=False)
_, out, _ = client.exec_command("echo paramiko; exit 6")
assert out.read() == b"paramiko\n"
assert out.channel.recv_exit_status() == 6

sftp = client.open_sftp()
path = folder + "/paramiko"
data = os.urandom(3 << 20)
with sftp.open(path, "wb") as file:
    file.write(data)
with sftp.open(path, "rb") as file:
    assert file.read() == data
assert sftp.stat(path).st_size == len(data)
sftp.rename(path, path + "2")
sftp.symlink(path + "2", path + "-link")
assert sftp.readlink(path + "-link") == path + "2"
sftp.chmod(path + "2", 0o600)
os.makedirs(folder + "/p/secret", exist_ok=True)
for attempt in (lambda: sftp.open(folder + "/p/secret/x", "wb"),
                lambda: sftp.listdir(folder + "/p/secret/"),
                lambda: sftp.stat(folder + "/p/../p/secret/y")):
    try:
        attempt()
    except PermissionError:
        continue
    except IOError as error:
        # listdir of the folder itself is allowed: only what is below it is forbidden.
        raise AssertionError(error)
assert not os.path.exists(folder + "/p/secret/x")
sftp.remove(path + "-link")
sftp.remove(path + "2")
for round in range(50):
    _, out, _ = client.exec_command("echo %d" % round)
    assert out.read() == b"%d\n" % round
client.close()
print("ok")
