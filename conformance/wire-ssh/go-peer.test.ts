// Our SSH transport against golang.org/x/crypto/ssh, in both roles: the one peer on a Debian of today that
// has ML-KEM. Skipped, with the reason, where there is no Go
// or its modules cannot be had.

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test, { after, before } from "node:test";
import { publicKeyBlob } from "@custody/wire/ssh/keys.ts";
import {
  ed25519,
  runProcess,
  startClient,
  startServer,
  testFolder,
} from "@custody/wire/ssh/peer-harness.ts";

const folder = new URL("./go", import.meta.url);
const skip = lackingGo();
const peer = join(testFolder({ after }), "peer");
const GCM = "aes128-gcm@openssh.com";
const SUITES: readonly (readonly [kex: string, cipher: string, mac: string])[] = [
  ["mlkem768x25519-sha256", GCM, "hmac-sha2-256"],
  ["mlkem768x25519-sha256", "chacha20-poly1305@openssh.com", "hmac-sha2-256"],
  ["curve25519-sha256", "aes256-gcm@openssh.com", "hmac-sha2-256"],
  ["ecdh-sha2-nistp256", "aes128-ctr", "hmac-sha2-256-etm@openssh.com"],
  ["ecdh-sha2-nistp521", "aes192-ctr", "hmac-sha2-512-etm@openssh.com"],
  ["diffie-hellman-group16-sha512", "aes256-ctr", "hmac-sha2-512"],
  ["diffie-hellman-group14-sha256", "aes256-ctr", "hmac-sha2-256"],
];
const SIZE = 1_000_000;
const MAX_ROUNDS = 20;

function lackingGo(): string | false {
  if (spawnSync("go", ["version"]).status !== 0) return "there is no Go on the path";
  const modules = spawnSync("go", ["mod", "download"], { cwd: folder });
  return modules.status === 0 ? false : "Go's modules cannot be had";
}

before(() => {
  if (skip !== false) return;
  const build = spawnSync("go", ["build", "-o", peer, "."], { cwd: folder, encoding: "utf8" });
  assert.equal(build.status, 0, build.stderr);
});

for (const [kex, cipher, mac] of SUITES) {
  test(`Go's client on our server: ${kex}, ${cipher}, ${mac}`, { skip }, async (t) => {
    const server = await startServer({ hostKeys: [{ privateKey: ed25519() }] });
    t.after(() => server.close());
    const run = await runProcess(peer, ["client", `${server.port}`, kex, cipher, mac, `${SIZE}`]);
    assert.equal(run.stdout.toString(), "ok\n", run.stderr);
    const keyed = server.events.filter((event) => event.kind === "keyed");
    assert.ok(keyed.length > 1, `${keyed.length} exchanges`);
    assert.ok(keyed.every((event) => event.kind === "keyed" && event.negotiated.kex === kex));
  });

  test(`our client on Go's server: ${kex}, ${cipher}, ${mac}`, { skip }, async (t) => {
    const go = spawn(peer, ["server", kex, cipher, mac], { stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => ended(go));
    const lines = createInterface({ input: go.stdout });
    const [port] = (await once(lines, "line")) as [string];
    const privateKey = ed25519();
    const client = await startClient(Number(port), { privateKey, blob: publicKeyBlob(privateKey) });
    const data = randomBytes(SIZE);
    const exchanges = () => client.events.filter(({ kind }) => kind === "keyed").length;
    // Go asks for new keys from a goroutine of its own: a command may be over before that has run.
    for (let round = 0; round < MAX_ROUNDS && (round === 0 || exchanges() < 2); round++) {
      const run = await client.exec("cat", data);
      assert.equal(run.status, 5);
      assert.ok(run.stdout.equals(data));
    }
    assert.ok(exchanges() > 1, `${exchanges()} exchanges`);
    await client.end();
  });
}

async function ended(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null) return;
  process.kill();
  await once(process, "exit");
}
