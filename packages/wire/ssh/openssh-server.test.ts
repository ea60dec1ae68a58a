// Debian's sshd as the server of our client.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import test from "node:test";
import {
  type CertificateFields,
  parseCertificate,
  signCertificate,
  verifyCertificate,
} from "./certificate.ts";
import { CIPHERS, MACS } from "./ciphers.ts";
import { hostKeyProofProblem } from "./host-key-rotation.ts";
import { parsePublicKeyLine, publicKeyBlob, publicKeyLine, signBlob } from "./keys.ts";
import type { SshClientOptions } from "./options.ts";
import {
  authorizedLine,
  ed25519,
  keygen,
  lacking,
  OPENSSH_SERVER,
  runProcess,
  type Sshd,
  startClient,
  startSshd,
  type TestClient,
  testFolder,
} from "./peer-harness.ts";

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const skip = lacking(...OPENSSH_SERVER);
const INPUT = randomBytes(3 << 20);

interface Test {
  after(end: () => Promise<void> | void): void;
}

async function connected(
  t: Test,
  options: Partial<SshClientOptions> = {},
  lines: readonly string[] = [],
  privateKey: KeyObject = ed25519(),
): Promise<{ client: TestClient; sshd: Sshd; folder: string }> {
  const folder = testFolder(t);
  const sshd = await startSshd(folder, [authorizedLine(privateKey)], lines);
  t.after(() => sshd.close());
  const blob = publicKeyBlob(privateKey);
  const client = await startClient(sshd.port, { privateKey, blob }, options);
  t.after(() => client.end());
  return { client, sshd, folder };
}

test("output, errors, exit status, signal and half-close of commands", { skip }, async (t) => {
  const { client } = await connected(t);
  const run = await client.exec("sort; echo err >&2; exit 7", Buffer.from("b\na\n"));
  assert.equal(run.status, 7);
  assert.equal(run.stdout.toString(), "a\nb\n");
  assert.equal(run.stderr.toString(), "err\n");
  await client.exec("kill -TERM $$");
  const signal = client.events.find(
    (event) => event.kind === "channel-request" && event.request.kind === "exit-signal",
  );
  assert.ok(signal?.kind === "channel-request" && signal.request.kind === "exit-signal");
  assert.equal(signal.request.signal, "TERM");
});

test("command bytes arrive as they are, valid UTF-8 or not", { skip }, async (t) => {
  const { client } = await connected(t);
  const odd = Buffer.from([0xff, 0xc3, 0x28, 0xe2, 0x80, 0x8b, 0x01]);
  const command = Buffer.concat([Buffer.from("printf %s '"), odd, Buffer.from("'")]);
  assert.deepEqual((await client.exec(command)).stdout, odd);
});

for (const { name } of CIPHERS) {
  test(`cipher ${name}, new keys of ours every 256 KB, data both ways`, { skip }, async (t) => {
    const options = { algorithms: { cipher: [name] }, limits: { rekeyBytes: 256 * 1024 } };
    const { client } = await connected(t, options);
    const run = await client.exec("cat", INPUT);
    assert.equal(digest(run.stdout), digest(INPUT));
    const keyed = client.events.filter(({ kind }) => kind === "keyed").length;
    assert.ok(keyed > 5, `${keyed} exchanges`);
  });
}

for (const { name } of MACS) {
  test(`MAC ${name}`, { skip }, async (t) => {
    const { client } = await connected(t, { algorithms: { cipher: ["aes256-ctr"], mac: [name] } });
    const run = await client.exec("cat", INPUT);
    assert.equal(digest(run.stdout), digest(INPUT));
  });
}

for (const name of [
  "curve25519-sha256",
  "ecdh-sha2-nistp256",
  "ecdh-sha2-nistp384",
  "ecdh-sha2-nistp521",
  "diffie-hellman-group14-sha256",
  "diffie-hellman-group16-sha512",
]) {
  test(`key exchange ${name}, and again with sshd's new keys every 64 KB`, { skip }, async (t) => {
    const lines = ["RekeyLimit 64K"];
    const { client } = await connected(t, { algorithms: { kex: [name] } }, lines);
    const run = await client.exec("cat", INPUT.subarray(0, 1 << 20));
    assert.equal(digest(run.stdout), digest(INPUT.subarray(0, 1 << 20)));
    const keyed = client.events.filter(({ kind }) => kind === "keyed").length;
    assert.ok(keyed > 5, `${keyed} exchanges`);
  });
}

test("new keys after a time, and on request, with commands going on", { skip }, async (t) => {
  let now = 0;
  const { client } = await connected(t, { nowMs: () => now, limits: { rekeyMs: 1000 } });
  const runs = Array.from({ length: 5 }, () => client.exec("cat", INPUT));
  now = 1000;
  await new Promise((resolve) => setTimeout(resolve, 20));
  client.connection.rekey();
  client.pump();
  for (const run of await Promise.all(runs)) assert.equal(digest(run.stdout), digest(INPUT));
  const keyed = client.events.filter(({ kind }) => kind === "keyed").length;
  assert.ok(keyed >= 2, `${keyed} exchanges`);
});

for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
  test(`a ${type} key, and a certificate for one session with force-command`, {
    skip,
  }, async (t) => {
    const privateKey =
      type === "ed25519"
        ? ed25519()
        : type === "rsa"
          ? generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey
          : generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
    const authority = ed25519();
    const folder = testFolder(t);
    const trusted = join(folder, "authorities");
    writeFileSync(trusted, `${publicKeyLine(publicKeyBlob(authority))}\n`);
    const lines = [`TrustedUserCAKeys ${trusted}`];
    const plain = await connected(t, {}, lines, privateKey);
    assert.equal((await plain.client.exec("echo in")).stdout.toString(), "in\n");
    const now = BigInt(Math.floor(Date.now() / 1000));
    const fields: CertificateFields = {
      publicKey: publicKeyBlob(privateKey),
      nonce: randomBytes(32),
      serial: 4711n,
      role: "user",
      keyId: "corp/engineer@example.com > agent",
      principals: [userInfo().username],
      validAfter: now - 60n,
      validBefore: now + 60n,
      criticalOptions: [
        { name: "force-command", value: "echo forced" },
        { name: "source-address", value: "127.0.0.0/8" },
      ],
      extensions: [],
    };
    const signer = {
      publicKey: publicKeyBlob(authority),
      sign: (data: Buffer) => signBlob(authority, "ssh-ed25519", data),
    };
    const login = async (changed: Partial<CertificateFields>): Promise<TestClient> => {
      const blob = await signCertificate({ ...fields, ...changed }, signer);
      return await startClient(plain.sshd.port, { privateKey, blob });
    };
    const client = await login({});
    assert.equal((await client.exec("rm -rf /nowhere")).stdout.toString(), "forced\n");
    await client.end();
    assert.match(plain.sshd.log(), /ID corp\/engineer@example\.com > agent \(serial 4711\)/);
    await assert.rejects(login({ principals: ["nobody"] }), /authentication failed/);
    await assert.rejects(login({ validBefore: now - 1n }), /authentication failed/);
    const elsewhere = [{ name: "source-address", value: "10.0.0.0/8" }];
    await assert.rejects(login({ criticalOptions: elsewhere }), /authentication failed/);
    const unknown = [{ name: "delegation@custody", value: "d-1" }];
    await assert.rejects(login({ criticalOptions: unknown }), /authentication failed/);
  });
}

test("a host that is not the expected one hears nothing from us", { skip }, async (t) => {
  let offered: Buffer | undefined;
  const accepted = await connected(t, {
    hostKeyAccepted: (offer) => {
      offered = Buffer.from(offer.key);
      return true;
    },
  });
  assert.deepEqual(offered, accepted.sshd.hostKey);
  const privateKey = ed25519();
  const blob = publicKeyBlob(privateKey);
  const options = { hostKeyAccepted: () => false };
  await assert.rejects(startClient(accepted.sshd.port, { privateKey, blob }, options), {
    code: "host-key",
  });
});

test("a host certificate of sshd's is verified by its authority", { skip }, async (t) => {
  const folder = testFolder(t);
  const privateKey = ed25519();
  keygen(join(folder, "host-key"), "ed25519");
  keygen(join(folder, "authority"), "ecdsa");
  const sign = await runProcess("ssh-keygen", [
    ...["-q", "-s", join(folder, "authority"), "-h", "-I", "web-1", "-n", "web-1.internal"],
    ...["-V", "+1h", join(folder, "host-key.pub")],
  ]);
  assert.equal(sign.status, 0, sign.stderr);
  const certificate = join(folder, "host-key-cert.pub");
  assert.ok(existsSync(certificate));
  const sshd = await startSshd(
    folder,
    [authorizedLine(privateKey)],
    [`HostCertificate ${certificate}`],
  );
  t.after(() => sshd.close());
  const authorities = [parsePublicKeyLine(readFileSync(join(folder, "authority.pub"), "utf8"))];
  const verdicts: unknown[] = [];
  const blob = publicKeyBlob(privateKey);
  const client = await startClient(
    sshd.port,
    { privateKey, blob },
    {
      hostKeyAccepted: ({ key }) => {
        const verdict = verifyCertificate(parseCertificate(key), {
          role: "host",
          principal: "web-1.internal",
          authorities,
          nowSeconds: Date.now() / 1000,
          criticalOptions: [],
        });
        verdicts.push(verdict.valid);
        return verdict.valid;
      },
    },
  );
  assert.equal((await client.exec("echo in")).stdout.toString(), "in\n");
  assert.deepEqual(verdicts, [true]);
  await client.end();
});

test("sshd proves its other host keys (hostkeys-00, hostkeys-prove-00)", { skip }, async (t) => {
  const folder = testFolder(t);
  keygen(join(folder, "other"), "rsa");
  const { client } = await connected(t, {}, [`HostKey ${join(folder, "other")}`]);
  const { connection } = client;
  await client.exec("true");
  const told = client.events.find(
    (event) => event.kind === "global-request" && event.request.kind === "hostkeys-00@openssh.com",
  );
  assert.ok(told?.kind === "global-request" && told.request.kind === "hostkeys-00@openssh.com");
  const { keys } = told.request;
  assert.equal(keys.length, 2);
  connection.requestGlobal({ kind: "hostkeys-prove-00@openssh.com", keys }, "proof");
  client.pump();
  await client.exec("true");
  const reply = client.events.find((event) => event.kind === "global-reply");
  assert.ok(reply?.kind === "global-reply" && reply.tag === "proof" && reply.success);
  assert.equal(hostKeyProofProblem(keys, connection.sessionId, reply.data), undefined);
  assert.ok(hostKeyProofProblem(keys.toReversed(), connection.sessionId, reply.data) !== undefined);
  assert.ok(hostKeyProofProblem(keys, Buffer.alloc(32), reply.data) !== undefined);
});

test("thirty commands over one connection, ten at once", { skip }, async (t) => {
  const { client } = await connected(t, {}, ["MaxSessions 60"]);
  for (let round = 0; round < 3; round++) {
    const runs = Array.from({ length: 10 }, async (_, index) => {
      const run = await client.exec(`echo ${round}-${index}`);
      assert.equal(run.stdout.toString(), `${round}-${index}\n`);
    });
    await Promise.all(runs);
  }
});

test("a forwarding through sshd, and one it refuses", { skip }, async (t) => {
  const { client, sshd } = await connected(t);
  const { connection } = client;
  const open = (port: number) => ({
    kind: "direct-tcpip" as const,
    host: Buffer.from("127.0.0.1"),
    port,
    originHost: Buffer.from("127.0.0.1"),
    originPort: 1,
  });
  const through = connection.openChannel(open(sshd.port));
  const refused = connection.openChannel(open(1));
  client.pump();
  await client.exec("sleep 0.2");
  assert.ok(
    client.events.some((event) => event.kind === "channel-opened" && event.channel === through),
  );
  assert.ok(
    client.events.some((event) => event.kind === "channel-refused" && event.channel === refused),
  );
  assert.ok(connection.unconsumedBytes(through) > 20, "the version line of sshd");
});
