// The hash of tls-server-end-point (RFC 5929 section 4.1): the certificate's own, by the hash its signature
// is made with, SHA-256 in the place of MD5 and SHA-1. Kinds of which it is undefined (EdDSA), or which do
// not say it in their name (RSASSA-PSS), have none.

import { createHash, type X509Certificate } from "node:crypto";

export function certificateHash(certificate: X509Certificate | undefined): Buffer | undefined {
  const hash = HASH_OF_SIGNATURE.get(certificate?.signatureAlgorithmOid ?? "");
  if (certificate === undefined || hash === undefined) return undefined;
  return createHash(hash).update(certificate.raw).digest();
}

const HASH_OF_SIGNATURE: ReadonlyMap<string, string> = new Map([
  // RSA with PKCS #1 v1.5 (RFC 8017, A.2.4).
  ["1.2.840.113549.1.1.4", "sha256"],
  ["1.2.840.113549.1.1.5", "sha256"],
  ["1.2.840.113549.1.1.14", "sha224"],
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
  // ECDSA (RFC 5758, section 3.2).
  ["1.2.840.10045.4.1", "sha256"],
  ["1.2.840.10045.4.3.1", "sha224"],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"],
]);
