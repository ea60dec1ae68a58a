import "reflect-metadata";

import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import * as x509 from "@peculiar/x509";
import { caFiles, createCa, importAuthorityKey } from "./ca.ts";
import { openClientAuthority } from "./client-authority.ts";

const NOW_MS = Date.UTC(2026, 10, 23, 3, 0, 0);
const HOUR_MS = 3_600_000;
const root = mkdtempSync(join(tmpdir(), "custody-client-ca-"));
after(() => rmSync(root, { recursive: true }));

let folders = 0;
const folder = () => join(root, `data-${folders++}`);

function keyPem(type: "ec" | "ed25519" | "rsa" = "ec", bits = 2048): string {
  const { publicKey } =
    type === "ec"
      ? generateKeyPairSync("ec", { namedCurve: "prime256v1" })
      : type === "rsa"
        ? generateKeyPairSync("rsa", { modulusLength: bits })
        : generateKeyPairSync("ed25519");
  return publicKey.export({ type: "spki", format: "pem" }).toString();
}

const asked = (publicKey = keyPem(), change: { expiresAtMs?: number } = {}) => ({
  ...{ publicKey, delegationId: "d-abcd", nowMs: NOW_MS, expiresAtMs: NOW_MS + HOUR_MS },
  ...change,
});
const der = (pem: string) => new X509Certificate(pem).raw;
const refusal = (message: RegExp) => ({ code: "unauthenticated", message });

describe("a client certificate", () => {
  it("names its delegation, for every kind of key, as long as the delegation at most", async () => {
    const authority = await openClientAuthority(folder(), NOW_MS);
    for (const type of ["ec", "ed25519", "rsa"] as const) {
      const made = await authority.certify(asked(keyPem(type)));
      const certificate = new X509Certificate(made.certificatePem);
      assert.equal(authority.delegationOf(certificate.raw, NOW_MS), "d-abcd");
      assert.equal(certificate.validToDate.getTime(), NOW_MS + HOUR_MS);
      assert.equal(made.expiresAtMs, NOW_MS + HOUR_MS);
      assert.deepEqual([certificate.ca, certificate.keyUsage], [false, ["1.3.6.1.5.5.7.3.2"]]);
      assert.equal(certificate.fingerprint256, made.fingerprint);
    }
    const long = await authority.certify(asked(keyPem(), { expiresAtMs: NOW_MS + 90 * HOUR_MS }));
    assert.equal(long.expiresAtMs, NOW_MS + 8 * HOUR_MS);
  });

  it("is good in its time only", async () => {
    const authority = await openClientAuthority(folder(), NOW_MS);
    const made = der((await authority.certify(asked())).certificatePem);
    assert.throws(() => authority.delegationOf(made, NOW_MS + HOUR_MS), refusal(/expired/));
    assert.throws(() => authority.delegationOf(made, NOW_MS - HOUR_MS), refusal(/not good yet/));
  });

  it("of anybody else is refused: the listeners' authority, another gateway, itself, one altered", async () => {
    const data = folder();
    const authority = await openClientAuthority(data, NOW_MS);
    const foreign = await openClientAuthority(folder(), NOW_MS);
    const own = await createCa(data, NOW_MS);
    const listener = await own.issue({
      ...{ hosts: ["d-abcd"], notBeforeMs: NOW_MS - 1000, notAfterMs: NOW_MS + HOUR_MS },
    });
    const good = der((await authority.certify(asked())).certificatePem);
    const altered = Buffer.from(good);
    const at = altered.indexOf("d-abcd");
    altered.write("d-efgh", at, "latin1");
    const last = altered.lastIndexOf("d-abcd");
    altered.write("d-efgh", last, "latin1");
    const others: readonly (readonly [string, Uint8Array])[] = [
      ["another gateway's", der((await foreign.certify(asked())).certificatePem)],
      ["a listener's", der(listener.certificatePem)],
      ["the authority itself", der(authority.certificatePem)],
      ["altered", altered],
      ["cut", good.subarray(0, good.length - 5)],
      ["nothing", Buffer.alloc(0)],
      ["long", Buffer.alloc(100_000)],
    ];
    for (const [what, bytes] of others)
      assert.throws(() => authority.delegationOf(bytes, NOW_MS), { code: "unauthenticated" }, what);
    assert.equal(authority.delegationOf(good, NOW_MS), "d-abcd");
  });

  it("of the authority that is for something else, or names two, is refused", async () => {
    const data = folder();
    const authority = await openClientAuthority(data, NOW_MS);
    const signingKey = await importAuthorityKey(
      readFileSync(join(data, "ca/client-ca.key"), "utf8"),
    );
    const issuer = new x509.X509Certificate(authority.certificatePem);
    const make = async (usage: string, names: readonly string[], isCa = false) => {
      const { publicKey } = await crypto.subtle.generateKey(
        { name: "ECDSA", namedCurve: "P-256" },
        true,
        ["sign", "verify"],
      );
      const made = await x509.X509CertificateGenerator.create({
        ...{ subject: "CN=d-abcd", issuer: issuer.subject, publicKey, signingKey },
        notBefore: new Date(NOW_MS - 1000),
        notAfter: new Date(NOW_MS + HOUR_MS),
        signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
        extensions: [
          new x509.BasicConstraintsExtension(isCa),
          new x509.ExtendedKeyUsageExtension([usage]),
          new x509.SubjectAlternativeNameExtension(
            names.map((value) => ({ type: "url" as const, value })),
          ),
        ],
      });
      return Buffer.from(made.rawData);
    };
    const [client, server] = ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"];
    const name = "custody:delegation:d-abcd";
    assert.equal(authority.delegationOf(await make(client, [name]), NOW_MS), "d-abcd");
    for (const [usage, names, isCa] of [
      [server, [name], false],
      [client, [name], true],
      [client, [name, "custody:delegation:d-efgh"], false],
      [client, ["custody:delegation:d-abcd, URI:x"], false],
      [client, ["https://d-abcd"], false],
    ] as const) {
      const bytes = await make(usage, names, isCa);
      const what = `${usage} ${names.join()} ${isCa}`;
      assert.throws(() => authority.delegationOf(bytes, NOW_MS), { code: "unauthenticated" }, what);
    }
  });

  it("is for a key worth certifying", async () => {
    const authority = await openClientAuthority(folder(), NOW_MS);
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const { publicKey: odd } = generateKeyPairSync("ec", { namedCurve: "secp224r1" });
    for (const wrong of [
      "",
      "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
      privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      odd.export({ type: "spki", format: "pem" }).toString(),
      keyPem("rsa", 1024),
    ])
      await assert.rejects(authority.certify(asked(wrong)), { code: "invalid" });
  });
});

describe("the authority of client certificates", () => {
  it("is made once, apart from the listeners', and read by nobody else", async () => {
    const data = folder();
    const first = await openClientAuthority(data, NOW_MS);
    const again = await openClientAuthority(data, NOW_MS);
    assert.equal(again.certificatePem, first.certificatePem);
    const key = join(data, "ca/client-ca.key");
    assert.equal(statSync(key).mode & 0o777, 0o600);
    assert.notEqual(key, caFiles(data).key);
    assert.ok(
      new X509Certificate(first.certificatePem).checkPrivateKey(
        createPrivateKey(readFileSync(key)),
      ),
    );
    chmodSync(key, 0o644);
    await assert.rejects(openClientAuthority(data, NOW_MS), { code: "configuration" });
    chmodSync(key, 0o600);
    writeFileSync(key, "no key");
    await assert.rejects(openClientAuthority(data, NOW_MS), { code: "configuration" });
  });
});
