// Throw-away certificates for tests and the demo: a certificate authority and server certificates,
// made at run time and never written into the repository. X.509 v3 (RFC 5280) in DER, ECDSA P-256 with
// SHA-256 (RFC 5758); only what a TLS client verifies. Keys live as long as the caller keeps them.

import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";

/** PEM text of a key and its certificate. */
export interface KeyAndCertificate {
  readonly key: string;
  readonly cert: string;
}

export interface TestAuthority {
  /** The authority's own certificate, PEM: what a client trusts. */
  readonly cert: string;
  /** A server certificate for DNS names and IP addresses (`localhost`, `127.0.0.1`, `::1`). */
  issue(names: readonly string[], options?: IssueOptions): KeyAndCertificate;
}

export interface IssueOptions {
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

const DAY_MS = 86_400_000;

/** A new certificate authority with a key of its own. */
export function createTestAuthority(
  name = "Throw-away test CA",
  validity: IssueOptions = {},
): TestAuthority {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const keyId = keyIdentifier(pair.publicKey);
  const own = certificate({
    ...validity,
    issuer: name,
    subject: name,
    publicKey: pair.publicKey,
    signer: pair.privateKey,
    extensions: [
      extension([0x55, 0x1d, 0x13], true, sequence(boolean(true), integer(Buffer.of(0)))),
      // keyUsage: keyCertSign, cRLSign (bits 5 and 6; one unused bit at the end).
      extension([0x55, 0x1d, 0x0f], true, tlv(0x03, Buffer.of(0x01, 0x06))),
      extension([0x55, 0x1d, 0x0e], false, tlv(0x04, keyId)),
    ],
  });
  return {
    cert: own,
    issue: (names, options = {}) => issue(name, keyId, pair.privateKey, names, options),
  };
}

/** The SHA-256 of a certificate's DER bytes, as hex: what an operator compares by eye. */
export function fingerprint(pem: string): string {
  const der = Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ""), "base64");
  return createHash("sha256").update(der).digest("hex");
}

function issue(
  issuer: string,
  issuerKeyId: Buffer,
  signer: KeyObject,
  names: readonly string[],
  options: IssueOptions,
): KeyAndCertificate {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const cert = certificate({
    issuer,
    subject: names[0] ?? "localhost",
    publicKey: pair.publicKey,
    signer,
    ...options,
    extensions: [
      extension([0x55, 0x1d, 0x13], true, sequence()),
      // keyUsage: digitalSignature; extendedKeyUsage: serverAuth.
      extension([0x55, 0x1d, 0x0f], true, tlv(0x03, Buffer.of(0x07, 0x80))),
      extension(
        [0x55, 0x1d, 0x25],
        false,
        sequence(tlv(0x06, Buffer.of(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01))),
      ),
      extension([0x55, 0x1d, 0x11], false, sequence(...names.map(generalName))),
      extension([0x55, 0x1d, 0x23], false, sequence(tlv(0x80, issuerKeyId))),
    ],
  });
  return {
    key: pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    cert,
  };
}

interface CertificateFields extends IssueOptions {
  readonly issuer: string;
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly signer: KeyObject;
  readonly extensions: readonly Buffer[];
}

/** RFC 5280 section 4.1: TBSCertificate, signed. */
function certificate(fields: CertificateFields): string {
  const ecdsaWithSha256 = sequence(
    tlv(0x06, Buffer.of(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02)),
  );
  const notBefore = fields.notBefore ?? new Date(Date.now() - 3_600_000);
  const notAfter = fields.notAfter ?? new Date(Date.now() + 7 * DAY_MS);
  const body = sequence(
    tlv(0xa0, integer(Buffer.of(2))),
    integer(Buffer.concat([Buffer.of(0x01), randomBytes(15)])),
    ecdsaWithSha256,
    distinguishedName(fields.issuer),
    sequence(time(notBefore), time(notAfter)),
    distinguishedName(fields.subject),
    Buffer.from(fields.publicKey.export({ type: "spki", format: "der" })),
    tlv(0xa3, sequence(...fields.extensions)),
  );
  const signature = sign("sha256", body, fields.signer);
  const der = sequence(
    body,
    ecdsaWithSha256,
    tlv(0x03, Buffer.concat([Buffer.of(0x00), signature])),
  );
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** RFC 5280 section 4.2.1.2, method (1). */
function keyIdentifier(key: KeyObject): Buffer {
  const jwk = key.export({ format: "jwk" });
  const point = Buffer.concat([
    Buffer.of(0x04),
    Buffer.from(jwk.x ?? "", "base64url"),
    Buffer.from(jwk.y ?? "", "base64url"),
  ]);
  return createHash("sha1").update(point).digest();
}

function distinguishedName(commonName: string): Buffer {
  return sequence(
    tlv(0x31, sequence(tlv(0x06, Buffer.of(0x55, 0x04, 0x03)), tlv(0x0c, Buffer.from(commonName)))),
  );
}

/** UTCTime: enough until 2049 (RFC 5280 section 4.1.2.5). */
function time(value: Date): Buffer {
  const digits = value.toISOString().replace(/[-:T]/g, "").slice(2, 14);
  return tlv(0x17, Buffer.from(`${digits}Z`));
}

function generalName(name: string): Buffer {
  const family = isIP(name);
  if (family === 4) return tlv(0x87, Buffer.from(name.split(".").map(Number)));
  if (family === 6) return tlv(0x87, ipv6Bytes(name));
  return tlv(0x82, Buffer.from(name, "ascii"));
}

function ipv6Bytes(address: string): Buffer {
  const [head = "", tail = ""] = address.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === "" ? [] : tail.split(":");
  const groups = [...left, ...Array(8 - left.length - right.length).fill("0"), ...right];
  return Buffer.concat(groups.map((group) => Buffer.from(group.padStart(4, "0"), "hex")));
}

function extension(oid: readonly number[], critical: boolean, value: Buffer): Buffer {
  return sequence(
    tlv(0x06, Buffer.from(oid)),
    ...(critical ? [boolean(true)] : []),
    tlv(0x04, value),
  );
}

function boolean(value: boolean): Buffer {
  return tlv(0x01, Buffer.of(value ? 0xff : 0x00));
}

function integer(bytes: Buffer): Buffer {
  return tlv(0x02, bytes);
}

function sequence(...parts: Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts));
}

function tlv(tag: number, value: Buffer): Buffer {
  const length = value.length;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), value]);
  const bytes = length < 0x100 ? [length] : [length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, 0x80 | bytes.length, ...bytes), value]);
}
