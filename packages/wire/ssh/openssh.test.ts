import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import test from "node:test";
import { publicKeyBlob } from "./keys.ts";
import {
  authorizedLine,
  clientKeyFile,
  ed25519,
  ssh,
  startClient,
  startServer,
  startSshd,
  testFolder,
} from "./peer-harness.ts";

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

test("OpenSSH's client runs a command on our server", async (t) => {
  const folder = testFolder(t);
  const server = await startServer({ hostKeys: [{ privateKey: ed25519() }] });
  t.after(() => server.close());
  const identity = clientKeyFile(folder);
  const run = await ssh(server.port, identity, ["127.0.0.1", "echo out; echo err >&2; exit 7"]);
  assert.equal(run.status, 7, run.stderr);
  assert.equal(run.stdout.toString(), "out\n");
  assert.match(run.stderr, /err/);
});

test("our client runs a command on Debian's sshd", async (t) => {
  const folder = testFolder(t);
  const privateKey = ed25519();
  const sshd = await startSshd(folder, [authorizedLine(privateKey)]);
  t.after(() => sshd.close());
  const client = await startClient(sshd.port, { privateKey, blob: publicKeyBlob(privateKey) });
  const run = await client.exec("cat; echo err >&2; exit 7", Buffer.from("in\n"));
  assert.equal(run.status, 7);
  assert.equal(run.stdout.toString(), "in\n");
  assert.equal(run.stderr.toString(), "err\n");
  const input = randomBytes(8 << 20);
  const big = await client.exec("cat", input);
  assert.equal(digest(big.stdout), digest(input));
  await client.end();
});

test("large transfers both ways through our server", async (t) => {
  const folder = testFolder(t);
  const server = await startServer({ hostKeys: [{ privateKey: ed25519() }] });
  t.after(() => server.close());
  const identity = clientKeyFile(folder);
  const input = randomBytes(16 << 20);
  const run = await ssh(server.port, identity, ["127.0.0.1", "cat"], input);
  assert.equal(run.status, 0, run.stderr);
  assert.equal(digest(run.stdout), digest(input));
});
