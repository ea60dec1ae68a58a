// Keys and signatures: each algorithm signs and verifies, and nothing verifies as something else.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import test from "node:test";
import { mpintField, nameField, SshReader, stringField, textField } from "./fields.ts";
import {
  fingerprint,
  parsePublicKey,
  parsePublicKeyLine,
  publicKeyBlob,
  publicKeyLine,
  SIGNATURE_ALGORITHMS,
  signatureProblem,
  signBlob,
} from "./keys.ts";

const ec = (namedCurve: string): KeyObject => generateKeyPairSync("ec", { namedCurve }).privateKey;
const ED25519 = generateKeyPairSync("ed25519").privateKey;
const P256 = ec("P-256");
const RSA = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const SIGNERS: readonly (readonly [KeyObject, string])[] = [
  [ED25519, "ssh-ed25519"],
  [P256, "ecdsa-sha2-nistp256"],
  [ec("P-384"), "ecdsa-sha2-nistp384"],
  [ec("P-521"), "ecdsa-sha2-nistp521"],
  [RSA, "rsa-sha2-256"],
  [RSA, "rsa-sha2-512"],
];
const DATA = randomBytes(100);

for (const [privateKey, algorithm] of SIGNERS) {
  test(`${algorithm}: good, and under any other name not`, () => {
    const key = parsePublicKey(publicKeyBlob(privateKey));
    for (let round = 0; round < 20; round++) {
      const data = randomBytes(round);
      const signature = signBlob(privateKey, algorithm, data);
      assert.equal(signatureProblem(key, signature, data, [algorithm]), undefined);
      const other = Buffer.concat([data, Buffer.of(0)]);
      assert.ok(signatureProblem(key, signature, other, [algorithm]) !== undefined);
    }
    const signature = signBlob(privateKey, algorithm, DATA);
    const raw = new SshReader(signature);
    raw.name();
    const rest = raw.rest();
    for (const name of [...SIGNATURE_ALGORITHMS, "ssh-rsa", "none"]) {
      const renamed = Buffer.concat([nameField(name), rest]);
      const problem = signatureProblem(key, renamed, DATA, SIGNATURE_ALGORITHMS);
      assert.equal(problem === undefined, name === algorithm, name);
    }
    assert.ok(signatureProblem(key, signature, DATA, []) !== undefined);
    for (const cut of [0, 1, 4, signature.length - 1]) {
      const problem = signatureProblem(key, signature.subarray(0, cut), DATA, [algorithm]);
      assert.ok(problem !== undefined, `${cut}`);
    }
    const behind = Buffer.concat([signature, Buffer.of(0)]);
    assert.ok(signatureProblem(key, behind, DATA, [algorithm]) !== undefined);
    for (const [wrong] of SIGNERS) {
      if (wrong.asymmetricKeyType === privateKey.asymmetricKeyType) continue;
      assert.throws(() => signBlob(wrong, algorithm, DATA), { code: "key" });
    }
  });
}

test("a key of one curve does not verify with another curve's hash", () => {
  const key = parsePublicKey(publicKeyBlob(P256));
  const pair = sign("sha384", DATA, { key: P256, dsaEncoding: "ieee-p1363" });
  const numbers = [pair.subarray(0, 32), pair.subarray(32)].map((one) => mpintField(one));
  const signature = Buffer.concat([
    nameField("ecdsa-sha2-nistp384"),
    stringField(Buffer.concat(numbers)),
  ]);
  const problem = signatureProblem(key, signature, DATA, SIGNATURE_ALGORITHMS);
  assert.match(problem ?? "", /does not sign with/);
  assert.throws(() => signBlob(P256, "ecdsa-sha2-nistp384", DATA), { code: "key" });
});

test("ECDSA numbers that are zero, negative, too long or followed by bytes are refused", () => {
  const key = parsePublicKey(publicKeyBlob(P256));
  const one = mpintField(Buffer.of(1));
  for (const numbers of [
    [mpintField(Buffer.of()), one],
    [one, mpintField(Buffer.of())],
    [stringField(Buffer.of(0xff)), one],
    [mpintField(Buffer.alloc(33, 1)), one],
    [one, one, one],
    [one],
  ]) {
    const signature = Buffer.concat([
      nameField("ecdsa-sha2-nistp256"),
      stringField(Buffer.concat(numbers)),
    ]);
    assert.ok(signatureProblem(key, signature, DATA, SIGNATURE_ALGORITHMS) !== undefined);
  }
});

test("an RSA signature whose leading zeros are left out is taken, a longer one is not", () => {
  const key = parsePublicKey(publicKeyBlob(RSA));
  for (let number = 0; ; number++) {
    const data = Buffer.from(String(number));
    const raw = sign("sha256", data, RSA);
    if (raw[0] !== 0) continue;
    const shorter = Buffer.concat([nameField("rsa-sha2-256"), stringField(raw.subarray(1))]);
    assert.equal(signatureProblem(key, shorter, data, ["rsa-sha2-256"]), undefined);
    const zeros = Buffer.concat([Buffer.alloc(1), raw]);
    const longer = Buffer.concat([nameField("rsa-sha2-256"), stringField(zeros)]);
    assert.ok(signatureProblem(key, longer, data, ["rsa-sha2-256"]) !== undefined);
    break;
  }
});

interface Token {
  readonly algorithm: string;
  readonly blob: Buffer;
  sign(flags: number, data: Buffer, application?: string): Buffer;
}

const sha256 = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest();

/** What a FIDO token signs (PROTOCOL.u2f), with a key that is in no token. */
function token(privateKey: KeyObject, algorithm: string, signRaw: (data: Buffer) => Buffer): Token {
  const plain = new SshReader(publicKeyBlob(privateKey));
  plain.name();
  const blob = Buffer.concat([nameField(algorithm), plain.rest(), textField("ssh:")]);
  return {
    algorithm,
    blob,
    sign: (flags, data, application = "ssh:") => {
      const counter = Buffer.from("0000002a", "hex");
      const signed = Buffer.concat([
        sha256(Buffer.from(application)),
        Buffer.of(flags),
        counter,
        sha256(data),
      ]);
      const raw = stringField(signRaw(signed));
      return Buffer.concat([nameField(algorithm), raw, Buffer.of(flags), counter]);
    },
  };
}

const TOKENS = [
  token(ED25519, "sk-ssh-ed25519@openssh.com", (data) => sign(null, data, ED25519)),
  token(P256, "sk-ecdsa-sha2-nistp256@openssh.com", (data) => {
    const pair = sign("sha256", data, { key: P256, dsaEncoding: "ieee-p1363" });
    return Buffer.concat([mpintField(pair.subarray(0, 32)), mpintField(pair.subarray(32))]);
  }),
];

for (const one of TOKENS) {
  test(`${one.algorithm}: only when somebody touched the token, for this application`, () => {
    const key = parsePublicKey(one.blob);
    const problem = (signature: Buffer): string | undefined =>
      signatureProblem(key, signature, DATA, [one.algorithm]);
    assert.equal(problem(one.sign(0x01, DATA)), undefined);
    assert.equal(problem(one.sign(0x05, DATA)), undefined);
    assert.match(problem(one.sign(0x00, DATA)) ?? "", /touched/);
    assert.match(problem(one.sign(0x04, DATA)) ?? "", /touched/);
    assert.ok(problem(one.sign(0x01, DATA, "web:")) !== undefined);
    assert.ok(problem(one.sign(0x01, randomBytes(9))) !== undefined);
    const flagged = one.sign(0x00, DATA);
    flagged[flagged.length - 5] = 0x01;
    assert.ok(problem(flagged) !== undefined, "flags that were not signed");
    const asPlain = Buffer.concat([one.sign(0x01, DATA), Buffer.of(0)]);
    assert.ok(problem(asPlain) !== undefined);
  });
}

test("a line of a public key, read and written", () => {
  const blob = publicKeyBlob(ED25519);
  const line = publicKeyLine(blob, "web-1 host key");
  assert.match(line, /^ssh-ed25519 [A-Za-z0-9+/=]+ web-1 host key$/);
  assert.deepEqual(parsePublicKeyLine(line), blob);
  assert.deepEqual(parsePublicKeyLine(`  ${publicKeyLine(blob)}\n`), blob);
  const base64 = blob.toString("base64");
  for (const bad of ["", "ssh-ed25519", `ssh-rsa ${base64}`, `ssh-ed25519 ${base64}*`, "a AAAA"]) {
    assert.throws(() => parsePublicKeyLine(bad), { name: "SshError" });
  }
  assert.match(fingerprint(blob), /^SHA256:[A-Za-z0-9+/]{43}$/);
});
