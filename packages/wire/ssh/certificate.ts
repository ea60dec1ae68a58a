// OpenSSH certificates (PROTOCOL.certkeys): reading, verifying and making them. What is read is what
// was signed: the signature covers the blob's own bytes up to itself. A certificate that is not written
// in the one form the specification gives is refused, and so is whatever verifyCertificate() is not
// told to take: authorities, principal, role and critical options have no default.

import { SshError } from "./errors.ts";
import {
  nameField,
  SshReader,
  stringField,
  textField,
  uint32Field,
  uint64Field,
} from "./fields.ts";
import {
  importJwk,
  parsePublicKey,
  readKeyFields,
  SIGNATURE_ALGORITHMS,
  type SshPublicKey,
  signatureProblem,
} from "./keys.ts";

export interface SshCertificate {
  readonly blob: Buffer;
  /** "ssh-ed25519-cert-v01@openssh.com"… */
  readonly type: string;
  /** The certified key; its blob is the plain public key's. */
  readonly key: SshPublicKey;
  readonly nonce: Buffer;
  readonly serial: bigint;
  readonly role: CertificateRole;
  readonly keyId: string;
  /** Empty would mean every name there is; verifyCertificate() refuses that. */
  readonly principals: readonly string[];
  /** Seconds since 1970: from the first, until before the second. */
  readonly validAfter: bigint;
  readonly validBefore: bigint;
  readonly criticalOptions: readonly CertificateOption[];
  readonly extensions: readonly CertificateOption[];
  /** Public key blob of who signed. */
  readonly authority: Buffer;
  readonly signature: Buffer;
  /** What the signature covers. */
  readonly signedPart: Buffer;
}

export type CertificateRole = "user" | "host";

export interface CertificateOption {
  readonly name: string;
  /** undefined for a flag, which has no value. */
  readonly value: string | undefined;
}

/** CERTIFICATE_FOREVER as validBefore: no end. */
export const CERTIFICATE_FOREVER = 0xffffffffffffffffn;

export interface CertificateCheck {
  readonly role: CertificateRole;
  /** Must be one of the certificate's, to the letter. */
  readonly principal: string;
  /** Public key blobs of the authorities. */
  readonly authorities: readonly Buffer[];
  readonly nowSeconds: number;
  /** The critical options the caller knows and enforces; any other refuses the certificate. */
  readonly criticalOptions: readonly string[];
  /** What an authority may sign with; all of SIGNATURE_ALGORITHMS unless given. */
  readonly signatureAlgorithms?: readonly string[];
}

export type CertificateVerdict =
  | { readonly valid: true; readonly certificate: VerifiedCertificate }
  | { readonly valid: false; readonly problem: CertificateProblem };

export type CertificateProblem =
  | "authority"
  | "signature"
  | "role"
  | "not-yet-valid"
  | "expired"
  | "principal"
  | "critical-option";

/** A certificate that passed; only verifyCertificate() makes one. */
export type VerifiedCertificate = SshCertificate & { readonly [VERIFIED]: true };
declare const VERIFIED: unique symbol;

/** Whether the blob of a key is a certificate's, by its type name. */
export function isCertificate(blob: Buffer): boolean {
  try {
    return new SshReader(blob).name().endsWith(CERTIFICATE_SUFFIX);
  } catch {
    return false;
  }
}

/** @throws SshError for anything but a well-formed certificate; nothing is verified. */
export function parseCertificate(blob: Buffer): SshCertificate {
  const reader = new SshReader(blob);
  const type = reader.name();
  if (!type.endsWith(CERTIFICATE_SUFFIX)) throw new SshError("key", "not a certificate");
  const keyType = type.startsWith("sk-")
    ? type.replace(CERTIFICATE_SUFFIX, "@openssh.com")
    : type.slice(0, -CERTIFICATE_SUFFIX.length);
  const nonce = reader.string();
  if (nonce.length < MIN_NONCE_BYTES) {
    throw new SshError("syntax", `a certificate with a nonce of ${nonce.length} bytes`);
  }
  const keyFrom = reader.at;
  const { jwk, application } = readKeyFields(keyType, reader);
  const keyBlob = Buffer.concat([nameField(keyType), blob.subarray(keyFrom, reader.at)]);
  const serial = reader.uint64();
  const role = certificateRole(reader.uint32());
  const keyId = reader.text();
  const principals = readPrincipals(reader.string());
  const validAfter = reader.uint64();
  const validBefore = reader.uint64();
  const criticalOptions = readOptions(reader.string());
  const extensions = readOptions(reader.string());
  reader.string(); // Reserved, "currently unused and ignored".
  const authority = reader.string();
  if (isCertificate(authority)) {
    throw new SshError("key", "a certificate signed by a certificate");
  }
  const signedPart = blob.subarray(0, reader.at);
  const signature = reader.string();
  reader.done();
  return {
    blob,
    type,
    key: { type: keyType, blob: keyBlob, key: importJwk(jwk), application },
    nonce,
    serial,
    role,
    keyId,
    principals,
    validAfter,
    validBefore,
    criticalOptions,
    extensions,
    authority,
    signature,
    signedPart,
  };
}

/** The signature first; then what it says. Whoever shows the certificate has yet to prove its key. */
export function verifyCertificate(
  certificate: SshCertificate,
  check: CertificateCheck,
): CertificateVerdict {
  const problem = certificateProblem(certificate, check);
  if (problem !== undefined) return { valid: false, problem };
  return { valid: true, certificate: certificate as VerifiedCertificate };
}

function certificateProblem(
  certificate: SshCertificate,
  check: CertificateCheck,
): CertificateProblem | undefined {
  if (!check.authorities.some((authority) => authority.equals(certificate.authority))) {
    return "authority";
  }
  if (!signedByAuthority(certificate, check.signatureAlgorithms ?? SIGNATURE_ALGORITHMS)) {
    return "signature";
  }
  if (certificate.role !== check.role) return "role";
  if (!Number.isFinite(check.nowSeconds)) return "not-yet-valid";
  const now = BigInt(Math.floor(check.nowSeconds));
  if (now < certificate.validAfter) return "not-yet-valid";
  if (now >= certificate.validBefore) return "expired";
  if (!certificate.principals.includes(check.principal)) return "principal";
  if (!certificate.criticalOptions.every(({ name }) => check.criticalOptions.includes(name))) {
    return "critical-option";
  }
  return undefined;
}

function signedByAuthority(certificate: SshCertificate, allowed: readonly string[]): boolean {
  try {
    const authority = parsePublicKey(certificate.authority);
    const { signature, signedPart } = certificate;
    return signatureProblem(authority, signature, signedPart, allowed) === undefined;
  } catch (error) {
    if (error instanceof SshError) return false;
    throw error;
  }
}

export interface CertificateFields {
  /** Plain public key blob of who gets it. */
  readonly publicKey: Buffer;
  /** 32 random bytes. */
  readonly nonce: Buffer;
  readonly serial: bigint;
  readonly role: CertificateRole;
  readonly keyId: string;
  /** At least one. */
  readonly principals: readonly string[];
  readonly validAfter: bigint;
  readonly validBefore: bigint;
  /** In any order, each name once. */
  readonly criticalOptions: readonly CertificateOption[];
  readonly extensions: readonly CertificateOption[];
}

/** An authority: its key may be anywhere. */
export interface CertificateSigner {
  /** Plain public key blob. */
  readonly publicKey: Buffer;
  /** The SSH form of a signature over the bytes, as signBlob() makes it. */
  readonly sign: (data: Buffer) => Buffer | Promise<Buffer>;
}

/**
 * Makes a certificate, and looks at it as a receiver would before giving it out.
 * @throws SshError "syntax" for fields that cannot be, "key" when the signer's signature is not good.
 */
export async function signCertificate(
  fields: CertificateFields,
  signer: CertificateSigner,
): Promise<Buffer> {
  const signedPart = certificateToSign(fields, signer.publicKey);
  const signature = await signer.sign(signedPart);
  const blob = Buffer.concat([signedPart, stringField(signature)]);
  if (!signedByAuthority(parseCertificate(blob), SIGNATURE_ALGORITHMS)) {
    throw new SshError("key", "the authority's signature does not verify");
  }
  return blob;
}

function certificateToSign(fields: CertificateFields, authority: Buffer): Buffer {
  if (fields.principals.length === 0) throw new SshError("syntax", "a certificate for everybody");
  if (fields.validAfter >= fields.validBefore) {
    throw new SshError("syntax", "a certificate that is never valid");
  }
  const plain = new SshReader(fields.publicKey);
  const keyType = plain.name();
  return Buffer.concat([
    nameField(certificateType(keyType)),
    stringField(fields.nonce),
    plain.rest(),
    uint64Field(fields.serial),
    uint32Field(fields.role === "user" ? USER_CERTIFICATE : HOST_CERTIFICATE),
    textField(fields.keyId),
    stringField(Buffer.concat(fields.principals.map((name) => textField(checkedPrincipal(name))))),
    uint64Field(fields.validAfter),
    uint64Field(fields.validBefore),
    stringField(writeOptions(fields.criticalOptions)),
    stringField(writeOptions(fields.extensions)),
    stringField(Buffer.alloc(0)),
    stringField(authority),
  ]);
}

/** The certificate type of a plain key's type. */
export function certificateType(keyType: string): string {
  return keyType.startsWith("sk-")
    ? keyType.replace("@openssh.com", CERTIFICATE_SUFFIX)
    : `${keyType}${CERTIFICATE_SUFFIX}`;
}

/**
 * How a key, or a certificate, is named as an algorithm, and what the signature itself is to be made
 * with: RSA certificates are "ssh-rsa-cert-v01@openssh.com", used as "rsa-sha2-512-cert-v01@openssh.com"
 * with signatures "rsa-sha2-512" (RFC 8332, PROTOCOL.certkeys).
 */
export function signatureAlgorithmOf(algorithm: string): string {
  if (!algorithm.endsWith(CERTIFICATE_SUFFIX)) return algorithm;
  return algorithm.startsWith("sk-")
    ? algorithm.replace(CERTIFICATE_SUFFIX, "@openssh.com")
    : algorithm.slice(0, -CERTIFICATE_SUFFIX.length);
}

function readPrincipals(bytes: Buffer): string[] {
  const reader = new SshReader(bytes);
  const principals: string[] = [];
  while (reader.left > 0) {
    if (principals.length === MAX_PRINCIPALS) throw new SshError("limit", "too many principals");
    principals.push(checkedPrincipal(reader.text()));
  }
  return principals;
}

// A principal is one name. A comma, white space or a control character in one is read as something
// else by whoever joins names to a list (OpenSSH, CVE-2026-35414).
function checkedPrincipal(name: string): string {
  if (name === "" || !/^[^\p{Cc}\p{Cf}\p{Z},]+$/u.test(name)) {
    throw new SshError("syntax", "a principal that is not one name");
  }
  return name;
}

// PROTOCOL.certkeys: sorted by name, no name twice.
function readOptions(bytes: Buffer): CertificateOption[] {
  const reader = new SshReader(bytes);
  const options: CertificateOption[] = [];
  let before = "";
  while (reader.left > 0) {
    const name = reader.name();
    if (name <= before) throw new SshError("syntax", "options out of order");
    before = name;
    const data = new SshReader(reader.string());
    const value = data.left === 0 ? undefined : data.text();
    data.done();
    options.push({ name, value });
  }
  return options;
}

function writeOptions(options: readonly CertificateOption[]): Buffer {
  const sorted = options.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const fields = sorted.map(({ name, value }, index) => {
    if (sorted[index - 1]?.name === name) throw new SshError("syntax", `option ${name} twice`);
    const data = value === undefined ? Buffer.alloc(0) : textField(value);
    return Buffer.concat([nameField(name), stringField(data)]);
  });
  return Buffer.concat(fields);
}

function certificateRole(value: number): CertificateRole {
  if (value === USER_CERTIFICATE) return "user";
  if (value === HOST_CERTIFICATE) return "host";
  throw new SshError("syntax", `certificate type ${value}`);
}

const CERTIFICATE_SUFFIX = "-cert-v01@openssh.com";
const USER_CERTIFICATE = 1;
const HOST_CERTIFICATE = 2;
const MIN_NONCE_BYTES = 16;
const MAX_PRINCIPALS = 256;
