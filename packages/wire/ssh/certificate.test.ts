import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after } from "node:test";
import {
  CERTIFICATE_FOREVER,
  type CertificateCheck,
  type CertificateFields,
  certificateType,
  isCertificate,
  parseCertificate,
  type SshCertificate,
  signatureAlgorithmOf,
  signCertificate,
  verifyCertificate,
} from "./certificate.ts";
import { SshError } from "./errors.ts";
import { nameField, stringField, textField } from "./fields.ts";
import {
  algorithmsOfKey,
  parsePublicKeyLine,
  publicKeyBlob,
  publicKeyLine,
  signBlob,
} from "./keys.ts";
import { lacking, OPENSSH_CLIENT } from "./peer-harness.ts";

const skip = lacking(...OPENSSH_CLIENT);
const NOW = 1_800_000_000;
const folder = mkdtempSync(join(tmpdir(), "ssh-certificate-"));
after(() => rmSync(folder, { recursive: true }));

const KEYS: Readonly<Record<string, () => KeyObject>> = {
  "ssh-ed25519": () => generateKeyPairSync("ed25519").privateKey,
  "ecdsa-sha2-nistp256": () => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey,
  "ecdsa-sha2-nistp384": () => generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey,
  "ecdsa-sha2-nistp521": () => generateKeyPairSync("ec", { namedCurve: "P-521" }).privateKey,
  "ssh-rsa": () => generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
};
const authorityKey = KEYS["ssh-ed25519"]!();
const authority = publicKeyBlob(authorityKey);
const holder = publicKeyBlob(KEYS["ssh-ed25519"]!());

const FIELDS: CertificateFields = {
  publicKey: holder,
  nonce: randomBytes(32),
  serial: 7n,
  role: "user",
  keyId: "corp/engineer@example.com > agent",
  principals: ["orders", "web-1"],
  validAfter: BigInt(NOW - 60),
  validBefore: BigInt(NOW + 60),
  criticalOptions: [
    { name: "source-address", value: "127.0.0.1/32" },
    { name: "force-command", value: "true" },
  ],
  extensions: [{ name: "permit-pty", value: undefined }],
};
const CHECK: CertificateCheck = {
  role: "user",
  principal: "web-1",
  authorities: [authority],
  nowSeconds: NOW,
  criticalOptions: ["force-command", "source-address"],
};

function sign(fields: Partial<CertificateFields>, key = authorityKey): Promise<Buffer> {
  const algorithm = algorithmsOfKey(publicKeyLine(publicKeyBlob(key)).split(" ")[0]!)[0]!;
  return signCertificate(
    { ...FIELDS, ...fields },
    { publicKey: publicKeyBlob(key), sign: (data) => signBlob(key, algorithm, data) },
  );
}

/** Signs a certificate whose bytes are changed first, as a careless authority would. */
async function signChanged(change: (parts: Buffer[]) => Buffer[]): Promise<Buffer> {
  const { signedPart } = parseCertificate(await sign({}));
  const parts = change(split(signedPart));
  const changed = Buffer.concat(parts);
  return Buffer.concat([changed, stringField(signBlob(authorityKey, "ssh-ed25519", changed))]);
}

/** The 13 fields of an Ed25519 certificate up to the authority. */
function split(signedPart: Buffer): Buffer[] {
  const sizes = [-1, -1, -1, 8, 4, -1, -1, 8, 8, -1, -1, -1, -1];
  let at = 0;
  return sizes.map((size) => {
    const end = size < 0 ? at + 4 + signedPart.readUInt32BE(at) : at + size;
    const part = signedPart.subarray(at, end);
    at = end;
    return part;
  });
}

function with_(index: number, value: Buffer): (parts: Buffer[]) => Buffer[] {
  return (parts) => parts.with(index, value);
}

for (const [type, make] of Object.entries(KEYS)) {
  for (const authorityType of ["ssh-ed25519", "ecdsa-sha2-nistp384", "ssh-rsa"]) {
    test(`a certificate of a ${type} key by a ${authorityType} authority: ours, read by ssh-keygen`, {
      skip,
    }, async () => {
      const signer = KEYS[authorityType]!();
      const publicKey = publicKeyBlob(make());
      const blob = await sign({ publicKey }, signer);
      const certificate = parseCertificate(blob);
      assert.equal(certificate.type, certificateType(type));
      assert.deepEqual(certificate.key.blob, publicKey);
      const authorities = [publicKeyBlob(signer)];
      assert.equal(verifyCertificate(certificate, { ...CHECK, authorities }).valid, true);
      const path = join(folder, `${type}-${authorityType}-cert.pub`);
      writeFileSync(path, `${publicKeyLine(blob)}\n`);
      const shown = execFileSync("ssh-keygen", ["-L", "-f", path], { encoding: "utf8" });
      assert.match(shown, /Key ID: "corp\/engineer@example.com > agent"/);
      assert.match(shown, /Serial: 7/);
      assert.match(shown, /orders\s+web-1\s/);
      assert.match(shown, /force-command true\s+source-address 127/);
      assert.match(shown, /permit-pty/);
    });
  }
}

for (const authorityType of ["ed25519", "ecdsa", "rsa"]) {
  for (const type of ["ed25519", "ecdsa", "rsa"]) {
    test(`a certificate of a ${type} key by a ${authorityType} authority: ssh-keygen's, read by us`, {
      skip,
    }, () => {
      const authorityPath = keygen(`authority-${authorityType}-${type}`, authorityType);
      const path = keygen(`holder-${authorityType}-${type}`, type);
      const options = ["-I", "chain 1", "-n", "a,b", "-V", "+1h", "-z", "18446744073709551615"];
      const limits = ["-O", "force-command=id", "-O", "source-address=10.0.0.0/8,::1"];
      execFileSync("ssh-keygen", ["-q", "-s", authorityPath, ...options, ...limits, `${path}.pub`]);
      const blob = parsePublicKeyLine(readFileSync(`${path}-cert.pub`, "utf8"));
      const certificate = parseCertificate(blob);
      assert.deepEqual(certificate.key.blob, lineOf(path));
      assert.equal(certificate.keyId, "chain 1");
      assert.equal(certificate.serial, 0xffffffffffffffffn);
      assert.deepEqual(certificate.principals, ["a", "b"]);
      assert.deepEqual(certificate.criticalOptions, [
        { name: "force-command", value: "id" },
        { name: "source-address", value: "10.0.0.0/8,::1" },
      ]);
      assert.equal(certificate.extensions.length, 5);
      const check = {
        ...CHECK,
        principal: "b",
        authorities: [authority, lineOf(authorityPath)],
        nowSeconds: Date.now() / 1000,
      };
      assert.deepEqual(verifyCertificate(certificate, check), { valid: true, certificate });
    });
  }
}

function keygen(name: string, type: string): string {
  const path = join(folder, name);
  const bits = type === "rsa" ? ["-b", "2048"] : [];
  execFileSync("ssh-keygen", ["-q", "-t", type, ...bits, "-N", "", "-f", path]);
  return path;
}

function lineOf(path: string): Buffer {
  return parsePublicKeyLine(readFileSync(`${path}.pub`, "utf8"));
}

const REFUSED: readonly {
  readonly name: string;
  readonly fields?: Partial<CertificateFields>;
  readonly check?: Partial<CertificateCheck>;
  readonly problem: string;
}[] = [
  { name: "another authority", check: { authorities: [holder] }, problem: "authority" },
  { name: "no authority", check: { authorities: [] }, problem: "authority" },
  { name: "the other role", fields: { role: "host" }, problem: "role" },
  { name: "a host asked for", check: { role: "host" }, problem: "role" },
  { name: "too early", check: { nowSeconds: NOW - 61 }, problem: "not-yet-valid" },
  { name: "no time", check: { nowSeconds: Number.NaN }, problem: "not-yet-valid" },
  { name: "the end itself", check: { nowSeconds: NOW + 60 }, problem: "expired" },
  { name: "another principal", check: { principal: "web-2" }, problem: "principal" },
  { name: "a part of a principal", check: { principal: "web" }, problem: "principal" },
  { name: "an empty principal", check: { principal: "" }, problem: "principal" },
  { name: "in other case", check: { principal: "WEB-1" }, problem: "principal" },
  {
    name: "an option nobody enforces",
    check: { criticalOptions: ["force-command"] },
    problem: "critical-option",
  },
  {
    name: "signatures of that kind not taken",
    check: { signatureAlgorithms: ["rsa-sha2-512"] },
    problem: "signature",
  },
];
for (const { name, fields, check, problem } of REFUSED) {
  test(`verifyCertificate refuses: ${name}`, async () => {
    const certificate = parseCertificate(await sign(fields ?? {}));
    const verdict = verifyCertificate(certificate, { ...CHECK, ...check });
    assert.deepEqual(verdict, { valid: false, problem });
  });
}

test("the bounds of validity are inclusive and exclusive", async () => {
  const certificate = parseCertificate(await sign({}));
  for (const nowSeconds of [NOW - 60, NOW + 59.999]) {
    assert.equal(verifyCertificate(certificate, { ...CHECK, nowSeconds }).valid, true);
  }
  const forever = parseCertificate(
    await sign({ validAfter: 0n, validBefore: CERTIFICATE_FOREVER }),
  );
  assert.equal(verifyCertificate(forever, { ...CHECK, nowSeconds: 2 ** 50 }).valid, true);
});

test("a changed bit anywhere refuses the certificate", async () => {
  const blob = await sign({});
  for (let bit = 0; bit < blob.length * 8; bit += 3) {
    const changed = Buffer.from(blob);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    let certificate: SshCertificate;
    try {
      certificate = parseCertificate(changed);
    } catch (error) {
      assert.ok(error instanceof SshError);
      continue;
    }
    assert.equal(verifyCertificate(certificate, CHECK).valid, false, `bit ${bit}`);
  }
});

const MALFORMED: Readonly<Record<string, (parts: Buffer[]) => Buffer[]>> = {
  "no principals": with_(6, stringField(Buffer.alloc(0))),
  "a list as one principal": with_(6, stringField(textField("root,web-1"))),
  "an empty principal": with_(6, stringField(textField(""))),
  "a principal with a line's end": with_(6, stringField(textField("web-1\n"))),
  "principals without the inner string": with_(6, textField("web-1")),
  "a role that is none": with_(4, Buffer.from("00000003", "hex")),
  "options out of order": with_(
    9,
    stringField(
      Buffer.concat(["source-address", "force-command"].map((name) => option(name, "x"))),
    ),
  ),
  "an option twice": with_(
    9,
    stringField(Buffer.concat([option("force-command", "a"), option("force-command", "b")])),
  ),
  "bytes behind an option's value": with_(
    9,
    stringField(
      Buffer.concat([
        nameField("force-command"),
        stringField(Buffer.concat([textField("a"), Buffer.of(0)])),
      ]),
    ),
  ),
  "a short nonce": with_(1, stringField(Buffer.alloc(15))),
  "another key type": with_(0, nameField("ecdsa-sha2-nistp256-cert-v01@openssh.com")),
  "a key type that is none": with_(0, nameField("ssh-dss-cert-v01@openssh.com")),
  "a short key": with_(2, stringField(Buffer.alloc(31))),
};
for (const [name, change] of Object.entries(MALFORMED)) {
  test(`a well signed certificate that is not well formed is refused: ${name}`, async () => {
    const blob = await signChanged(change);
    if (name === "no principals") {
      const verdict = verifyCertificate(parseCertificate(blob), CHECK);
      assert.deepEqual(verdict, { valid: false, problem: "principal" });
      return;
    }
    assert.throws(() => parseCertificate(blob), SshError);
  });
}

function option(name: string, value: string): Buffer {
  return Buffer.concat([nameField(name), stringField(textField(value))]);
}

test("a certificate signed by a certificate is refused", async () => {
  const nested = await sign({ publicKey: authority });
  const blob = await signChanged(with_(12, stringField(nested)));
  assert.throws(() => parseCertificate(blob), /signed by a certificate/);
});

test("SHA-1 signatures of an RSA authority are refused", async () => {
  const { createSign } = await import("node:crypto");
  const rsa = KEYS["ssh-rsa"]!();
  const good = parseCertificate(await sign({}, rsa));
  const sha1 = createSign("sha1").update(good.signedPart).sign(rsa);
  const signature = Buffer.concat([nameField("ssh-rsa"), stringField(sha1)]);
  const blob = Buffer.concat([good.signedPart, stringField(signature)]);
  const authorities = [publicKeyBlob(rsa)];
  const verdict = verifyCertificate(parseCertificate(blob), { ...CHECK, authorities });
  assert.deepEqual(verdict, { valid: false, problem: "signature" });
});

test("signCertificate makes nothing that would be refused", async () => {
  const wrong: Partial<CertificateFields>[] = [
    { principals: [] },
    { principals: ["a,b"] },
    { principals: ["a b"] },
    { principals: ["a\u2028b"] },
    { validBefore: FIELDS.validAfter },
    { nonce: Buffer.alloc(8) },
    { serial: -1n },
    { serial: 1n << 64n },
    { keyId: "\ud800" },
    { criticalOptions: [FIELDS.criticalOptions[0]!, FIELDS.criticalOptions[0]!] },
    { publicKey: Buffer.concat([holder, Buffer.of(0)]) },
    { publicKey: await sign({}) },
  ];
  for (const fields of wrong)
    await assert.rejects(sign(fields), SshError, JSON.stringify(Object.keys(fields)));
  const liar = {
    publicKey: authority,
    sign: (data: Buffer) => signBlob(KEYS["ssh-ed25519"]!(), "ssh-ed25519", data),
  };
  await assert.rejects(signCertificate(FIELDS, liar), { code: "key" });
  const elsewhere = {
    publicKey: authority,
    sign: async (data: Buffer) => signBlob(authorityKey, "ssh-ed25519", data),
  };
  assert.ok(isCertificate(await signCertificate(FIELDS, elsewhere)));
});

test("a certificate's algorithm names and what signs for them", () => {
  const pairs = {
    "ssh-ed25519-cert-v01@openssh.com": "ssh-ed25519",
    "rsa-sha2-512-cert-v01@openssh.com": "rsa-sha2-512",
    "sk-ssh-ed25519-cert-v01@openssh.com": "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": "ecdsa-sha2-nistp521",
    "ssh-ed25519": "ssh-ed25519",
  };
  for (const [name, inner] of Object.entries(pairs))
    assert.equal(signatureAlgorithmOf(name), inner);
});

test("keys of ssh-keygen's and ours are written alike", { skip }, () => {
  // ssh-keygen has no PEM for Ed25519.
  for (const type of ["ecdsa", "rsa"]) {
    const path = join(folder, `pem-${type}`);
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-m", "PEM", "-f", path]);
    const key = createPrivateKey(readFileSync(path));
    assert.deepEqual(publicKeyBlob(key), lineOf(path));
  }
});
