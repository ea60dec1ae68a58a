// The authority of certificates that clients show at the doors that speak TLS: kubectl and its kin instead
// of a bearer token, PostgreSQL's clients instead of a password. Another than the one the listeners'
// certificates come from, so that neither is ever taken for the other; nothing but this gateway trusts it.
//
// A certificate is for one delegation, which it names, and is worth what the tree says of that delegation
// now: revocation and expiry are those of every credential. That a client has its key is for TLS to prove.
//
// Who owns the state: the files in <data>/ca.

import "reflect-metadata";

import { createPublicKey, type KeyObject, type webcrypto, X509Certificate } from "node:crypto";
import { dirname, join } from "node:path";

import * as x509 from "@peculiar/x509";

import { GatewayError } from "../base/errors.ts";
import { AUTHORITY_SIGNATURE, caFiles, importAuthorityKey, openAuthority } from "./ca.ts";

export interface ClientAuthority {
  /** PEM, for who wants to know whom the gateway lets in. */
  readonly certificatePem: string;
  /** Throws GatewayError "invalid" for a key that cannot be certified. */
  certify(request: ClientCertificateRequest): Promise<ClientCertificate>;
  /** The delegation a certificate (DER) is for. Throws GatewayError "unauthenticated". */
  delegationOf(certificate: Uint8Array, nowMs: number): string;
}

export interface ClientCertificateRequest {
  /** SubjectPublicKeyInfo, PEM. */
  readonly publicKey: string;
  readonly delegationId: string;
  /** Of the delegation; the certificate lives a few hours at most. */
  readonly expiresAtMs: number;
  readonly nowMs: number;
}

export interface ClientCertificate {
  readonly certificatePem: string;
  readonly expiresAtMs: number;
  /** SHA-256 of the certificate, as `AB:CD:…`. */
  readonly fingerprint: string;
}

const BACKDATE_MS = 5 * 60_000;
const MAX_LIFE_MS = 8 * 3_600_000;
const MAX_CERTIFICATE_BYTES = 8192;
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const URI = "custody:delegation:";
const MIN_RSA_BITS = 2048;
const CURVES = new Set(["prime256v1", "secp384r1", "secp521r1"]);

/** Opens the authority of `dataDirectory`, making it when there is none. Throws "configuration". */
export async function openClientAuthority(
  dataDirectory: string,
  nowMs: number,
): Promise<ClientAuthority> {
  const directory = dirname(caFiles(dataDirectory).key);
  const files = {
    certificate: join(directory, "client-ca.pem"),
    key: join(directory, "client-ca.key"),
  };
  const { certificatePem, keyPem } = await openAuthority(files, "Custody client CA", nowMs);
  const issuer = new X509Certificate(certificatePem);
  const signingKey = await importAuthorityKey(keyPem);
  return {
    certificatePem,
    certify: (request) => certify(new x509.X509Certificate(certificatePem), signingKey, request),
    delegationOf: (certificate, atMs) => delegationOf(issuer, certificate, atMs),
  };
}

async function certify(
  issuer: x509.X509Certificate,
  signingKey: webcrypto.CryptoKey,
  { publicKey, delegationId, expiresAtMs, nowMs }: ClientCertificateRequest,
): Promise<ClientCertificate> {
  const key = certifiable(publicKey);
  const untilMs = Math.floor(Math.min(expiresAtMs, nowMs + MAX_LIFE_MS) / 1000) * 1000;
  const spki = new x509.PublicKey(new Uint8Array(key.export({ type: "spki", format: "der" })));
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [delegationId] }],
    issuer: issuer.subject,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(untilMs),
    publicKey: spki,
    signingKey,
    signingAlgorithm: AUTHORITY_SIGNATURE,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([CLIENT_AUTH]),
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: URI + delegationId }]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  const certificatePem = `${certificate.toString("pem")}\n`;
  const { fingerprint256: fingerprint } = new X509Certificate(certificatePem);
  return { certificatePem, expiresAtMs: untilMs, fingerprint };
}

function certifiable(pem: string): KeyObject {
  const refuse = (cause?: unknown) =>
    new GatewayError("invalid", "this is no public key that can be certified", {
      hint: "openssl ecparam -name prime256v1 -genkey -noout makes a key, openssl pkey -pubout its public half",
      cause,
    });
  if (!pem.includes("-----BEGIN PUBLIC KEY-----") || pem.includes("PRIVATE KEY")) throw refuse();
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (cause) {
    throw refuse(cause);
  }
  const { modulusLength = 0, namedCurve = "" } = key.asymmetricKeyDetails ?? {};
  const fits =
    key.asymmetricKeyType === "ed25519" ||
    (key.asymmetricKeyType === "ec" && CURVES.has(namedCurve)) ||
    (key.asymmetricKeyType === "rsa" && modulusLength >= MIN_RSA_BITS);
  if (!fits) throw refuse();
  return key;
}

function delegationOf(issuer: X509Certificate, der: Uint8Array, nowMs: number): string {
  if (der.length > MAX_CERTIFICATE_BYTES) throw refused("is too long");
  let certificate: X509Certificate;
  let isOurs: boolean;
  try {
    certificate = new X509Certificate(der);
    isOurs = certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch {
    throw refused("cannot be read");
  }
  if (!isOurs) throw refused("is not of this gateway's authority for clients");
  if (nowMs < certificate.validFromDate.getTime()) throw refused("is not good yet");
  if (nowMs >= certificate.validToDate.getTime())
    throw refused("has expired", "ask for another: custody kubernetes credential --certificate");
  // node calls the extended key usage so.
  if (certificate.ca || certificate.keyUsage?.join() !== CLIENT_AUTH)
    throw refused("is not a client's");
  const [, delegation] =
    /^URI:custody:delegation:(d-[a-z0-9-]{1,64})$/.exec(certificate.subjectAltName ?? "") ?? [];
  if (delegation === undefined) throw refused("names no delegation");
  return delegation;
}

function refused(what: string, hint?: string): GatewayError {
  return new GatewayError("unauthenticated", `this client certificate ${what}`, {
    ...(hint === undefined ? {} : { hint }),
  });
}
