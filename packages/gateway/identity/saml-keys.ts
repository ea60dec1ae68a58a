// The service provider's own key: signs its requests, and providers encrypt assertions to it. Made at the
// first start with a SAML provider; readable by the gateway's user only. Its certificate is a wrapping
// for metadata, which nobody validates by its dates, so it lives as long as the key.

import "reflect-metadata";

import { createPrivateKey, KeyObject, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { writeNewFile } from "../base/new-file.ts";

export interface SamlKeys {
  readonly privateKeyPem: string;
  readonly certificatePem: string;
}

const KEY = {
  name: "RSASSA-PKCS1-v1_5",
  hash: "SHA-256",
  modulusLength: 3072,
  publicExponent: new Uint8Array([1, 0, 1]),
};
const LIFE_MS = 3650 * 86_400_000;

/** Reads `<data>/keys/saml.key` and `saml.pem`, makes them at first. Throws GatewayError "configuration". */
export async function openSamlKeys(dataDirectory: string, clock: Clock): Promise<SamlKeys> {
  const folder = join(dataDirectory, "keys");
  const files = { key: join(folder, "saml.key"), certificate: join(folder, "saml.pem") };
  if (!existsSync(files.key) && !existsSync(files.certificate)) {
    const made = await makeKeys(clock.nowMs());
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // A crash in between leaves a key without certificate, which is noticed at the next start.
    writeNewFile(files.key, made.privateKeyPem, 0o600);
    writeNewFile(files.certificate, made.certificatePem, 0o644);
    return made;
  }
  try {
    if ((statSync(files.key).mode & 0o077) !== 0) throw new Error("others can read it");
    const privateKeyPem = readFileSync(files.key, "utf8");
    const certificatePem = readFileSync(files.certificate, "utf8");
    if (!new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(privateKeyPem)))
      throw new Error("they are not a pair");
    return { privateKeyPem, certificatePem };
  } catch (cause) {
    throw new GatewayError("configuration", `${files.key} and saml.pem cannot be used`, {
      hint: "both have to be there, a pair, the key with mode 0600; remove both to make new ones",
      cause,
    });
  }
}

async function makeKeys(nowMs: number): Promise<SamlKeys> {
  const keys = await crypto.subtle.generateKey(KEY, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=Custody SAML service provider",
    notBefore: new Date(nowMs - 3_600_000),
    notAfter: new Date(nowMs + LIFE_MS),
    keys,
    signingAlgorithm: KEY,
  });
  const privateKey = KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" });
  return {
    privateKeyPem: privateKey.toString(),
    certificatePem: `${certificate.toString("pem")}\n`,
  };
}
