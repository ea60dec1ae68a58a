// A key for an SSH client and its certificate, in the files OpenSSH looks for: `id`, `id.pub` and
// `id-cert.pub`. The private key is in OpenSSH's own format (PROTOCOL.key), which every version reads.

import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { nameField, stringField, textField, uint32Field } from "@custody/wire/ssh/fields.ts";
import { publicKeyBlob, publicKeyLine } from "@custody/wire/ssh/keys.ts";

import { replace } from "./contexts.ts";

export interface SshFiles {
  readonly key: string;
  readonly publicKey: string;
  readonly certificate: string;
  readonly knownHosts: string;
  readonly config: string;
  /** Two lines: until when the certificate is shown, in seconds since 1970, and for which delegation. */
  readonly goodUntil: string;
}

const MAGIC = Buffer.from("openssh-key-v1\0", "latin1");
const BLOCK_BYTES = 8;
const LINE_LENGTH = 70;

export function sshFiles(directory: string): SshFiles {
  return {
    key: join(directory, "id"),
    publicKey: join(directory, "id.pub"),
    certificate: join(directory, "id-cert.pub"),
    knownHosts: join(directory, "known_hosts"),
    config: join(directory, "config"),
    goodUntil: join(directory, "good-until"),
  };
}

/** The public key line of the key in this folder; a new one is made where there is none. */
export function openSshKey(directory: string): string {
  const files = sshFiles(directory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  try {
    return readFileSync(files.publicKey, "utf8").trim();
  } catch {
    const { privateKey } = generateKeyPairSync("ed25519");
    const line = publicKeyLine(publicKeyBlob(privateKey), "custody");
    replace(files.key, privateKeyText(privateKey));
    // Last, since it is what says that the key is there.
    replace(files.publicKey, `${line}\n`);
    return line;
  }
}

/** An Ed25519 key without a passphrase: the file's mode protects it. */
export function privateKeyText(key: KeyObject): string {
  const { d = "" } = key.export({ format: "jwk" });
  const { x = "" } = createPublicKey(key).export({ format: "jwk" });
  const seed = Buffer.from(d, "base64url");
  const point = Buffer.from(x, "base64url");
  const check = randomBytes(4);
  const secret = Buffer.concat([
    ...[check, check, nameField("ssh-ed25519"), stringField(point)],
    ...[stringField(Buffer.concat([seed, point])), textField("custody")],
  ]);
  const padding = Buffer.from(
    Array.from(
      { length: (BLOCK_BYTES - (secret.length % BLOCK_BYTES)) % BLOCK_BYTES },
      (_, n) => n + 1,
    ),
  );
  const bytes = Buffer.concat([
    ...[MAGIC, nameField("none"), nameField("none"), stringField(Buffer.alloc(0))],
    ...[uint32Field(1), stringField(publicKeyBlob(key))],
    stringField(Buffer.concat([secret, padding])),
  ]);
  const lines = bytes.toString("base64").match(new RegExp(`.{1,${LINE_LENGTH}}`, "g")) ?? [];
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join("\n")}\n-----END OPENSSH PRIVATE KEY-----\n`;
}
