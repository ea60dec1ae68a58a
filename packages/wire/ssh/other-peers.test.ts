// Dropbear, PuTTY's plink and paramiko, which read the specifications with other eyes than OpenSSH.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { freePort } from "../../../conformance/support/free-port.ts";
import { publicKeyBlob } from "./keys.ts";
import {
  authorizedLine,
  clientKeyFile,
  ed25519,
  lacking,
  OPENSSH_CLIENT,
  runProcess,
  startClient,
  startServer,
  testFolder,
} from "./peer-harness.ts";

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const INPUT = randomBytes(1 << 20);
const HOST_KEYS = [
  { privateKey: ed25519() },
  { privateKey: generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey },
];

test("dropbear's client on our server", {
  skip: lacking("/usr/bin/dbclient", "/usr/bin/dropbearkey"),
}, async (t) => {
  const folder = testFolder(t);
  const server = await startServer({ hostKeys: HOST_KEYS });
  t.after(() => server.close());
  const identity = join(folder, "identity");
  const made = await runProcess("dropbearkey", ["-t", "ed25519", "-f", identity]);
  assert.equal(made.status, 0, made.stderr);
  const args = ["-y", "-y", "-p", String(server.port), "-i", identity, "127.0.0.1"];
  for (const cipher of ["chacha20-poly1305@openssh.com", "aes128-ctr", "aes256-ctr"]) {
    const run = await runProcess("dbclient", ["-c", cipher, ...args, "cat; exit 5"], INPUT);
    assert.equal(run.status, 5, run.stderr);
    assert.equal(digest(run.stdout), digest(INPUT));
  }
});

test("our client on dropbear's server", {
  skip: lacking("/usr/sbin/dropbear", "/usr/bin/dropbearkey"),
}, async (t) => {
  const folder = testFolder(t);
  const privateKey = ed25519();
  const hostKey = join(folder, "host");
  await runProcess("dropbearkey", ["-t", "ed25519", "-f", hostKey]);
  const port = await freePort();
  const folderOfKeys = testFolder(t);
  writeFileSync(join(folderOfKeys, "authorized_keys"), `${authorizedLine(privateKey)}\n`, {
    mode: 0o600,
  });
  const listen = ["-F", "-E", "-p", `127.0.0.1:${port}`, "-r", hostKey, "-D", folderOfKeys];
  const probe = await runProcess("dropbear", ["-h"]);
  if (!/-D\s/.test(probe.stderr)) {
    // Before 2022.84 it reads the keys of the account's home only.
    t.diagnostic("this dropbear cannot be told where the keys are: only its key exchange is tried");
  }
  const dropbear = spawn("dropbear", /-D\s/.test(probe.stderr) ? listen : listen.slice(0, -2), {
    stdio: "ignore",
  });
  t.after(async () => {
    dropbear.kill();
    await once(dropbear, "exit");
  });
  await reachable(port);
  const login = startClient(port, { privateKey, blob: publicKeyBlob(privateKey) });
  if (!/-D\s/.test(probe.stderr)) {
    await assert.rejects(login, /authentication failed/);
    return;
  }
  const client = await login;
  const run = await client.exec("cat; exit 5", INPUT);
  assert.equal(run.status, 5);
  assert.equal(digest(run.stdout), digest(INPUT));
  await client.end();
});

async function reachable(port: number): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const socket = connect(port, "127.0.0.1");
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

test("PuTTY's plink on our server", {
  skip: lacking("/usr/bin/plink", "/usr/bin/puttygen", ...OPENSSH_CLIENT),
}, async (t) => {
  const folder = testFolder(t);
  const keyed: string[] = [];
  const server = await startServer({
    hostKeys: HOST_KEYS,
    handle: (event) => {
      if (event.kind === "keyed") keyed.push(event.negotiated.kex);
      return false;
    },
  });
  t.after(() => server.close());
  const identity = join(folder, "identity.ppk");
  const made = await runProcess("puttygen", [clientKeyFile(folder), "-o", identity]);
  assert.equal(made.status, 0, made.stderr);
  const hostKey = publicKeyBlob(HOST_KEYS[0]!.privateKey).toString("base64");
  const args = ["-batch", "-ssh", "-P", String(server.port), "-i", identity];
  const run = await runProcess(
    "plink",
    [...args, "-hostkey", hostKey, "127.0.0.1", "cat; exit 5"],
    INPUT,
  );
  assert.equal(run.status, 5, run.stderr);
  assert.equal(digest(run.stdout), digest(INPUT));
  assert.equal(keyed.length, 1);
});

const PARAMIKO = `
import paramiko, sys, threading, time
port, path = int(sys.argv[1]), sys.argv[2]
key = paramiko.Ed25519Key.from_private_key_file(path)
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", port, username="web", pkey=key, look_for_keys=False, allow_agent=False)
data = sys.stdin.buffer.read()
for turn in range(3):
    stdin, stdout, stderr = client.exec_command("cat; exit 5")
    def feed():
        stdin.write(data); stdin.channel.shutdown_write()
    thread = threading.Thread(target=feed); thread.start()
    out = stdout.read(); thread.join()
    assert out == data, (len(out), len(data))
    assert stdout.channel.recv_exit_status() == 5
    # Its reader must not be answering a close when the exchange begins, or it waits for itself.
    stdout.channel.close(); time.sleep(0.3)
    client.get_transport().renegotiate_keys()
print("good")
client.close()
`;

test("paramiko on our server, new keys between its commands", {
  skip: lacking("/usr/bin/python3", "/usr/lib/python3/dist-packages/paramiko", ...OPENSSH_CLIENT),
}, async (t) => {
  const folder = testFolder(t);
  const server = await startServer({ hostKeys: HOST_KEYS });
  t.after(() => server.close());
  const script = join(folder, "client.py");
  writeFileSync(script, PARAMIKO);
  const args = [script, String(server.port), clientKeyFile(folder)];
  const run = await runProcess("/usr/bin/python3", args, INPUT.subarray(0, 300_000));
  assert.equal(run.stdout.toString(), "good\n", run.stderr);
});
