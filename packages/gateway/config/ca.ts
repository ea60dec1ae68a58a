// The gateway's own certificate authority: made once by `custody init` (or by the first start), kept
// in <data>/ca. It signs nothing but the listeners' certificates (RFC 5280: CA, no CA below it), and
// clients trust it by its fingerprint.

import "reflect-metadata";

import {
  createHash,
  createPrivateKey,
  KeyObject,
  type webcrypto,
  X509Certificate,
} from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { dirname, join } from "node:path";

import * as x509 from "@peculiar/x509";

import { GatewayError } from "../base/errors.ts";
import { writeNewFile } from "../base/new-file.ts";

const DAY_MS = 86_400_000;
const CA_LIFE_MS = 3650 * DAY_MS;
/** Clocks of clients may be behind ours. */
const BACKDATE_MS = 3_600_000;
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
export const AUTHORITY_SIGNATURE = { name: "ECDSA", hash: "SHA-256" };
const KEY = { name: "ECDSA", namedCurve: "P-256" };

export interface CertificateAuthority {
  readonly certificatePem: string;
  /** SHA-256 over the certificate, as `AB:CD:…`: what `custody login` is given. */
  readonly fingerprint: string;
  issue(request: LeafRequest): Promise<IssuedCertificate>;
}

export interface LeafRequest {
  /** Names and addresses; the first one is the subject's common name. */
  readonly hosts: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface IssuedCertificate {
  readonly keyPem: string;
  readonly certificatePem: string;
}

/** Where the authority lives. The key is readable by the gateway's user only. */
export function caFiles(dataDirectory: string): AuthorityFiles {
  const directory = join(dataDirectory, "ca");
  return { certificate: join(directory, "ca.pem"), key: join(directory, "ca.key") };
}

/** Opens the authority of `dataDirectory`, making it when there is none. */
export async function openCa(dataDirectory: string, nowMs: number): Promise<CertificateAuthority> {
  return authority(await openAuthority(caFiles(dataDirectory), "Custody gateway CA", nowMs));
}

/** Makes the authority; refuses when any of its files is there. */
export async function createCa(
  dataDirectory: string,
  nowMs: number,
): Promise<CertificateAuthority> {
  return authority(await createAuthority(caFiles(dataDirectory), "Custody gateway CA", nowMs));
}

export interface AuthorityFiles {
  readonly certificate: string;
  readonly key: string;
}

/** An authority's certificate and key, PEM. */
export interface AuthorityPair {
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** What is in the files, made when there is nothing. Throws GatewayError "configuration". */
export async function openAuthority(
  files: AuthorityFiles,
  name: string,
  nowMs: number,
): Promise<AuthorityPair> {
  const present = [files.certificate, files.key].filter((file) => existsSync(file));
  if (present.length === 0) return createAuthority(files, name, nowMs);
  if (present.length === 1)
    throw new GatewayError("configuration", `${present[0]} is there without its other half`, {
      hint: "restore both files of the CA from a backup; a new CA would have to be trusted anew by every client",
    });
  refuseOpenKey(files.key);
  const certificatePem = readFileSync(files.certificate, "utf8");
  const keyPem = readFileSync(files.key, "utf8");
  try {
    const certificate = new X509Certificate(certificatePem);
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem))) throw new Error("not a pair");
    if (certificate.validToDate.getTime() < nowMs) throw new Error("expired");
  } catch (error) {
    throw new GatewayError("configuration", `the CA in ${files.certificate} cannot be used`, {
      hint: "its certificate and key must be a pair, whole and not expired",
      cause: error,
    });
  }
  return { certificatePem, keyPem };
}

async function createAuthority(
  files: AuthorityFiles,
  name: string,
  nowMs: number,
): Promise<AuthorityPair> {
  const keys = await crypto.subtle.generateKey(KEY, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + CA_LIFE_MS),
    keys,
    signingAlgorithm: AUTHORITY_SIGNATURE,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const certificatePem = `${certificate.toString("pem")}\n`;
  const keyPem = privatePem(keys.privateKey);
  mkdirSync(dirname(files.key), { recursive: true, mode: 0o700 });
  writeNewFile(files.key, keyPem, 0o600);
  writeNewFile(files.certificate, certificatePem, 0o644);
  return { certificatePem, keyPem };
}

/** `AB:CD:…`, SHA-256 over the DER of the first certificate of a PEM text. */
export function fingerprintOf(certificatePem: string): string {
  const der = new X509Certificate(certificatePem).raw;
  const hex = createHash("sha256").update(der).digest("hex").toUpperCase();
  return hex.match(/../g)?.join(":") ?? "";
}

function authority({ certificatePem, keyPem }: AuthorityPair): CertificateAuthority {
  const issuer = new x509.X509Certificate(certificatePem);
  return {
    certificatePem,
    fingerprint: fingerprintOf(certificatePem),
    issue: async (request) => {
      const keys = await crypto.subtle.generateKey(KEY, true, ["sign", "verify"]);
      const certificate = await x509.X509CertificateGenerator.create({
        // A common name is at most 64 characters (RFC 5280, A.1); clients read the names below it.
        subject: [{ CN: [(request.hosts[0] ?? "localhost").slice(0, 64)] }],
        issuer: issuer.subject,
        notBefore: new Date(request.notBeforeMs),
        notAfter: new Date(request.notAfterMs),
        publicKey: keys.publicKey,
        signingKey: await importAuthorityKey(keyPem),
        signingAlgorithm: AUTHORITY_SIGNATURE,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([SERVER_AUTH]),
          new x509.SubjectAlternativeNameExtension(request.hosts.map(generalName)),
          await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
          await x509.AuthorityKeyIdentifierExtension.create(issuer),
        ],
      });
      return {
        keyPem: privatePem(keys.privateKey),
        certificatePem: `${certificate.toString("pem")}\n`,
      };
    },
  };
}

function generalName(host: string): { type: "ip" | "dns"; value: string } {
  return { type: isIP(host) > 0 ? "ip" : "dns", value: host };
}

function privatePem(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: "pkcs8", format: "pem" }).toString();
}

/** For signing certificates. */
export async function importAuthorityKey(keyPem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(keyPem).export({ type: "pkcs8", format: "der" });
  return crypto.subtle.importKey("pkcs8", new Uint8Array(der), KEY, false, ["sign"]);
}

function refuseOpenKey(file: string): void {
  if ((statSync(file).mode & 0o077) === 0) return;
  throw new GatewayError("configuration", `${file} can be read by others than the gateway`, {
    hint: `chmod 600 ${file}; if others could read it, make a new CA`,
  });
}
