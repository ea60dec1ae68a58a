// A certificate for a listener of one run, signed by its own key: it is trusted by whom it is given to, and
// by nobody else (RFC 5280).

import "reflect-metadata";

import { KeyObject, randomBytes } from "node:crypto";
import { isIP } from "node:net";

import * as x509 from "@peculiar/x509";

/** PEM. */
export interface ThrowAway {
  readonly key: string;
  readonly cert: string;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
/** A program may run for long; the key is gone with it. */
const LIFE_MS = 365 * 86_400_000;
const BACKDATE_MS = 3_600_000;

export async function throwAwayCertificate(names: readonly string[]): Promise<ThrowAway> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const nowMs = Date.now();
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: `00${randomBytes(16).toString("hex")}`,
    name: "CN=custody run",
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + LIFE_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyCertSign,
        true,
      ),
      new x509.ExtendedKeyUsageExtension([SERVER_AUTH]),
      new x509.SubjectAlternativeNameExtension(
        names.map((name) => ({
          type: isIP(name) > 0 ? ("ip" as const) : ("dns" as const),
          value: name,
        })),
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const key = KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }).toString();
  return { key, cert: `${cert.toString("pem")}\n` };
}
