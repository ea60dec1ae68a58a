// A key made for one client and a certificate of the delegation for it: for clients that show a certificate at a
// door of the gateway instead of a token.

import { generateKeyPairSync } from "node:crypto";

import type { Invocation } from "./invocation.ts";

export interface CertifiedKey {
  /** PEM. */
  readonly certificate: string;
  /** PKCS #8, PEM. */
  readonly key: string;
  readonly expiresAt: string;
}

export async function certifiedKey(invocation: Invocation): Promise<CertifiedKey> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const body = { publicKey: publicKey.export({ type: "spki", format: "pem" }).toString() };
  const made = await invocation.withClient((client) => client.call("clientCertificate", { body }));
  return { ...made, key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() };
}
