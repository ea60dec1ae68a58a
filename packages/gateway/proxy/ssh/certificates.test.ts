import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import test from "node:test";
import { parseCertificate, signCertificate } from "@custody/wire/ssh/certificate.ts";
import { publicKeyBlob, publicKeyLine, signBlob } from "@custody/wire/ssh/keys.ts";
import { systemRandom } from "../../base/ids.ts";
import {
  clientCertificate,
  delegationOf,
  hostCertificate,
  sessionCertificate,
} from "./certificates.ts";

const NOW_MS = Date.UTC(2026, 10, 22, 20, 0, 0);
const deps = { clock: { nowMs: () => NOW_MS }, random: systemRandom };
const key = () => generateKeyPairSync("ed25519").privateKey;
const userCa = key();

function ours(change: { publicKey?: Buffer; notAfterMs?: number } = {}) {
  return clientCertificate(deps, userCa, {
    delegationId: "d-7f3kabcd",
    keyId: "corp/engineer@example.com > ci",
    publicKey: publicKeyBlob(key()),
    notAfterMs: NOW_MS + 60_000,
    ...change,
  });
}

test("a client's certificate gives its delegation, until it expires", async () => {
  const blob = await ours();
  assert.equal(delegationOf(deps, userCa, blob, "127.0.0.1"), "d-7f3kabcd");
  for (const [laterMs, message] of [
    [60_000, /has expired/],
    [-121_000, /not valid yet/],
  ] as const) {
    const clock = { nowMs: () => NOW_MS + laterMs };
    assert.throws(() => delegationOf({ clock }, userCa, blob, "127.0.0.1"), {
      code: "unauthenticated",
      message,
    });
  }
});

test("no certificate of another purpose or authority signs a client in", async () => {
  const [another, host, target] = [key(), key(), key()];
  const session = await sessionCertificate(deps, target, {
    sessionId: "s-1",
    chain: "somebody",
    principals: ["custody"],
    expiresAtMs: NOW_MS + 60_000,
    sourceAddress: undefined,
    command: undefined,
  });
  const hostOne = await hostCertificate(deps, { host, hostCa: host }, ["custody"]);
  const cases: readonly [Buffer, KeyObject, RegExp][] = [
    [await ours(), another, /not one of this gateway's/],
    [session.certificate, userCa, /not one of this gateway's/],
    // Signed by the right key, were one key used for everything: still refused by what they say.
    [session.certificate, target, /names no delegation/],
    [hostOne, host, /not one of a client/],
    [publicKeyBlob(key()), userCa, /cannot be read/],
  ];
  for (const [blob, authority, message] of cases)
    assert.throws(() => delegationOf(deps, authority, blob, "127.0.0.1"), { message });
});

test("every bit of a certificate counts", async () => {
  const blob = await ours();
  for (let at = 0; at < blob.length; at += 1) {
    const changed = Buffer.from(blob);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    assert.throws(() => delegationOf(deps, userCa, changed, "127.0.0.1"), {
      code: "unauthenticated",
    });
  }
});

test("critical options are known and enforced, or the certificate is refused", async () => {
  const make = (criticalOptions: readonly { name: string; value: string | undefined }[]) =>
    signCertificate(
      {
        publicKey: publicKeyBlob(key()),
        nonce: Buffer.alloc(32, 1),
        serial: 1n,
        role: "user",
        keyId: "x",
        principals: ["custody"],
        validAfter: BigInt(NOW_MS / 1000 - 1),
        validBefore: BigInt(NOW_MS / 1000 + 60),
        criticalOptions,
        extensions: [],
      },
      { publicKey: publicKeyBlob(userCa), sign: (data) => signBlob(userCa, "ssh-ed25519", data) },
    );
  const delegation = { name: "delegation@custody", value: "d-1" };
  const local = await make([delegation, { name: "source-address", value: "10.0.0.0/8,::1" }]);
  assert.equal(delegationOf(deps, userCa, local, "10.2.3.4"), "d-1");
  assert.equal(delegationOf(deps, userCa, local, "::1"), "d-1");
  for (const address of ["11.0.0.1", "::2", "unknown"])
    assert.throws(() => delegationOf(deps, userCa, local, address), { message: /this address/ });
  const odd = await make([delegation, { name: "source-address", value: "10.0.0.0/8,everywhere" }]);
  assert.throws(() => delegationOf(deps, userCa, odd, "10.2.3.4"), { message: /this address/ });
  const forced = await make([delegation, { name: "force-command", value: "true" }]);
  assert.throws(() => delegationOf(deps, userCa, forced, "::1"), { message: /critical option/ });
});

test("ssh-keygen reads what is made, the chain as the key id on one line", async () => {
  const authority = key();
  const { certificate } = await sessionCertificate(deps, authority, {
    sessionId: "s-abc",
    chain: "corp/engineer@example.com > ci\njob",
    principals: ["deploy"],
    expiresAtMs: NOW_MS + 60_000,
    sourceAddress: "10.0.0.1",
    command: undefined,
  });
  const listed = spawnSync("ssh-keygen", ["-L", "-f", "-"], {
    input: publicKeyLine(certificate),
    encoding: "utf8",
    env: { ...process.env, TZ: "UTC" },
  });
  assert.equal(listed.status, 0, listed.stderr);
  assert.match(listed.stdout, /Key ID: "custody s-abc corp\/engineer@example\.com > ci\?job"/);
  assert.match(
    listed.stdout,
    /Principals:\s+deploy\s+Critical Options:\s+source-address 10\.0\.0\.1/,
  );
  assert.match(listed.stdout, /from 2026-11-22T19:58:00 to 2026-11-22T20:01:00/);
  assert.deepEqual(parseCertificate(certificate).principals, ["deploy"]);
});

test("a certificate for one command says which, permits nothing beside and is over soon", async () => {
  const { certificate } = await sessionCertificate(deps, key(), {
    ...{ sessionId: "s-abc", chain: "somebody", principals: ["deploy"] },
    expiresAtMs: NOW_MS + 3_600_000,
    ...{ sourceAddress: "10.0.0.1", command: "'systemctl' 'restart' 'nginx'" },
  });
  const parsed = parseCertificate(certificate);
  assert.deepEqual(parsed.criticalOptions, [
    { name: "force-command", value: "'systemctl' 'restart' 'nginx'" },
    { name: "source-address", value: "10.0.0.1" },
  ]);
  assert.deepEqual(
    parsed.extensions.map(({ name }) => name),
    ["permit-pty"],
  );
  assert.equal(parsed.validBefore, BigInt(NOW_MS / 1000 + 120));
});
