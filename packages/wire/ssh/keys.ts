// Public keys and signatures as SSH writes them: ssh-ed25519 (RFC 8709), ecdsa-sha2-nistp* (RFC 5656),
// ssh-rsa keys with rsa-sha2-256/512 signatures (RFC 8332), and OpenSSH's hardware keys, which only
// verify here (PROTOCOL.u2f). SHA-1 signatures ("ssh-rsa") and DSA do not exist here.

import {
  createHash,
  createPublicKey,
  type JsonWebKey,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { SshError } from "./errors.ts";
import { mpintField, nameField, SshReader, stringField } from "./fields.ts";

/** Every signature algorithm there is here, best first. */
export const SIGNATURE_ALGORITHMS: readonly string[] = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "sk-ssh-ed25519@openssh.com",
  "sk-ecdsa-sha2-nistp256@openssh.com",
  "rsa-sha2-512",
  "rsa-sha2-256",
];

/** A parsed public key. */
export interface SshPublicKey {
  /** "ssh-ed25519", "ssh-rsa"…: the blob's own first field. */
  readonly type: string;
  readonly blob: Buffer;
  readonly key: KeyObject;
  /** A hardware key's application, "ssh:…". */
  readonly application: Buffer | undefined;
}

/** @throws SshError for anything but a plain public key of a known type. */
export function parsePublicKey(blob: Buffer): SshPublicKey {
  const reader = new SshReader(blob);
  const type = reader.name();
  const { jwk, application } = readKeyFields(type, reader);
  reader.done();
  return { type, blob, key: importJwk(jwk), application };
}

/**
 * Reads the fields of a key of `type` behind its type name; certificates hold them in the same form.
 * @throws SshError
 */
export function readKeyFields(
  type: string,
  reader: SshReader,
): { readonly jwk: JsonWebKey; readonly application: Buffer | undefined } {
  switch (type) {
    case "ssh-ed25519":
      return { jwk: ed25519Fields(reader), application: undefined };
    case "sk-ssh-ed25519@openssh.com":
      return { jwk: ed25519Fields(reader), application: reader.string() };
    case "sk-ecdsa-sha2-nistp256@openssh.com":
      return { jwk: ecdsaFields("nistp256", reader), application: reader.string() };
    case "ssh-rsa":
      return { jwk: rsaFields(reader), application: undefined };
    default: {
      const curve = type.startsWith("ecdsa-sha2-") ? type.slice("ecdsa-sha2-".length) : "";
      return { jwk: ecdsaFields(curve, reader), application: undefined };
    }
  }
}

/** The SSH form of a public key, or of a private key's public half. @throws SshError "key" */
export function publicKeyBlob(key: KeyObject): Buffer {
  const jwk = (key.type === "private" ? createPublicKey(key) : key).export({ format: "jwk" });
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") {
    return Buffer.concat([nameField("ssh-ed25519"), stringField(base64url(jwk.x))]);
  }
  if (jwk.kty === "RSA") {
    return Buffer.concat([
      nameField("ssh-rsa"),
      mpintField(base64url(jwk.e)),
      mpintField(base64url(jwk.n)),
    ]);
  }
  const curve = CURVES.find((one) => one.crv === jwk.crv);
  if (jwk.kty !== "EC" || curve === undefined) {
    throw new SshError("key", `keys of type ${key.asymmetricKeyType} have no form in SSH here`);
  }
  return Buffer.concat([
    nameField(`ecdsa-sha2-${curve.name}`),
    nameField(curve.name),
    stringField(Buffer.concat([Buffer.of(0x04), base64url(jwk.x), base64url(jwk.y)])),
  ]);
}

/** "SHA256:…", as OpenSSH shows it. */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/** "ssh-ed25519 AAAA… comment" */
export function publicKeyLine(blob: Buffer, comment = ""): string {
  const line = `${new SshReader(blob).name()} ${blob.toString("base64")}`;
  return comment === "" ? line : `${line} ${comment}`;
}

/** The blob of a line of that form. @throws SshError */
export function parsePublicKeyLine(line: string): Buffer {
  const [type, base64] = line.trim().split(/[ \t]+/);
  if (type === undefined || base64 === undefined || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
    throw new SshError("syntax", "not a public key line");
  }
  const blob = Buffer.from(base64, "base64");
  if (new SshReader(blob).name() !== type) {
    throw new SshError("syntax", "the line's key is of another type than the line says");
  }
  return blob;
}

/** The signature algorithms a key of this type can make, best first. */
export function algorithmsOfKey(type: string): readonly string[] {
  if (type === "ssh-rsa") return ["rsa-sha2-512", "rsa-sha2-256"];
  return SIGNATURE_ALGORITHMS.includes(type) ? [type] : [];
}

/** Signs; the result is the SSH form: algorithm and signature. @throws SshError "key" */
export function signBlob(privateKey: KeyObject, algorithm: string, data: Buffer): Buffer {
  const curve = CURVES.find((one) => algorithm === `ecdsa-sha2-${one.name}`);
  const expected =
    curve !== undefined ? "ec" : algorithm.startsWith("rsa-sha2-") ? "rsa" : "ed25519";
  if (
    privateKey.asymmetricKeyType !== expected ||
    !["ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512"].concat(CURVE_ALGORITHMS).includes(algorithm) ||
    (curve !== undefined && privateKey.asymmetricKeyDetails?.namedCurve !== curve.openssl)
  ) {
    throw new SshError("key", `this key cannot sign with ${algorithm}`);
  }
  if (curve === undefined) {
    const hash = expected === "rsa" ? hashOfRsa(algorithm) : null;
    return Buffer.concat([nameField(algorithm), stringField(sign(hash, data, privateKey))]);
  }
  const pair = sign(curve.hash, data, { key: privateKey, dsaEncoding: "ieee-p1363" });
  const half = pair.length / 2;
  const numbers = [mpintField(pair.subarray(0, half)), mpintField(pair.subarray(half))];
  return Buffer.concat([nameField(algorithm), stringField(Buffer.concat(numbers))]);
}

/**
 * What is wrong with a signature, undefined when it is good: an algorithm that is allowed, of this
 * key's type, and the only one tried. Never throws.
 */
export function signatureProblem(
  key: SshPublicKey,
  signature: Buffer,
  data: Buffer,
  allowed: readonly string[],
): string | undefined {
  try {
    const reader = new SshReader(signature);
    const algorithm = reader.name();
    if (!allowed.includes(algorithm)) return `signatures with ${algorithm} are not taken`;
    if (!algorithmsOfKey(key.type).includes(algorithm)) {
      return `a key of type ${key.type} does not sign with ${algorithm}`;
    }
    return verifies(key, algorithm, reader, data) ? undefined : "the signature does not verify";
  } catch (error) {
    if (error instanceof SshError) return error.message;
    return "the signature does not verify";
  }
}

function verifies(key: SshPublicKey, algorithm: string, reader: SshReader, data: Buffer): boolean {
  const raw = reader.string();
  let signed = data;
  if (key.application !== undefined) {
    // PROTOCOL.u2f: what the token signs is the application, its flags and counter, and the message.
    const flags = reader.byte();
    const counter = reader.bytes(4);
    if ((flags & USER_PRESENT) === 0) throw new SshError("key", "nobody touched the hardware key");
    const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest();
    signed = Buffer.concat([sha256(key.application), Buffer.of(flags), counter, sha256(data)]);
  }
  reader.done();
  if (algorithm.endsWith("ed25519") || algorithm === "sk-ssh-ed25519@openssh.com") {
    return raw.length === 64 && verify(null, signed, key.key, raw);
  }
  if (key.type === "ssh-rsa") {
    const size = (key.key.asymmetricKeyDetails?.modulusLength ?? 0) / 8;
    if (raw.length > size) return false;
    // Some signers leave leading zeros out; OpenSSH takes such signatures too.
    const padded = Buffer.concat([Buffer.alloc(Math.ceil(size) - raw.length), raw]);
    return verify(hashOfRsa(algorithm), signed, key.key, padded);
  }
  const curve = CURVES.find((one) => algorithm.includes(one.name))!;
  const numbers = new SshReader(raw);
  const pair = Buffer.alloc(2 * curve.bytes);
  for (const end of [curve.bytes, 2 * curve.bytes]) {
    const number = numbers.mpint();
    if (number.length > curve.bytes) return false;
    pair.set(number, end - number.length);
  }
  numbers.done();
  return verify(curve.hash, signed, { key: key.key, dsaEncoding: "ieee-p1363" }, pair);
}

export function importJwk(jwk: JsonWebKey): KeyObject {
  try {
    return createPublicKey({ key: jwk, format: "jwk" });
  } catch {
    throw new SshError("key", "the public key is not valid");
  }
}

function ed25519Fields(reader: SshReader): JsonWebKey {
  const point = reader.string();
  if (point.length !== 32) throw new SshError("key", `an Ed25519 key of ${point.length} bytes`);
  return { kty: "OKP", crv: "Ed25519", x: point.toString("base64url") };
}

function ecdsaFields(name: string, reader: SshReader): JsonWebKey {
  const curve = CURVES.find((one) => one.name === name);
  if (curve === undefined) throw new SshError("key", "a public key of an unknown type");
  if (reader.name() !== name) throw new SshError("key", "the curve is not the key type's");
  const point = reader.string();
  if (point.length !== 1 + 2 * curve.bytes || point[0] !== 0x04) {
    throw new SshError("key", "the point is not in uncompressed form");
  }
  const x = point.toString("base64url", 1, 1 + curve.bytes);
  return { kty: "EC", crv: curve.crv, x, y: point.toString("base64url", 1 + curve.bytes) };
}

function rsaFields(reader: SshReader): JsonWebKey {
  const e = reader.mpint();
  const n = reader.mpint();
  const bits = n.length === 0 ? 0 : n.length * 8 - (Math.clz32(n[0]!) - 24);
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) {
    throw new SshError("key", `an RSA key of ${bits} bits`);
  }
  if (
    e.length === 0 ||
    e.length > 8 ||
    (e[e.length - 1]! & 1) === 0 ||
    (e.length === 1 && e[0]! < 3)
  ) {
    throw new SshError("key", "an RSA exponent that cannot be");
  }
  return { kty: "RSA", e: e.toString("base64url"), n: n.toString("base64url") };
}

function hashOfRsa(algorithm: string): string {
  return algorithm === "rsa-sha2-512" ? "sha512" : "sha256";
}

function base64url(text: string | undefined): Buffer {
  return Buffer.from(text ?? "", "base64url");
}

const CURVES = [
  { name: "nistp256", crv: "P-256", openssl: "prime256v1", bytes: 32, hash: "sha256" },
  { name: "nistp384", crv: "P-384", openssl: "secp384r1", bytes: 48, hash: "sha384" },
  { name: "nistp521", crv: "P-521", openssl: "secp521r1", bytes: 66, hash: "sha512" },
] as const;
const CURVE_ALGORITHMS = CURVES.map((curve) => `ecdsa-sha2-${curve.name}`);
const USER_PRESENT = 0x01;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 16_384;
