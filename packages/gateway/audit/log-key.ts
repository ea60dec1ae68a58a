// The log's Ed25519 key, in the text forms of signed notes that Go's sumdb tools read and write:
// `<data>/keys/log.key` (mode 0600) and its verifier key beside it in `log.vkey`, made at first start.
// The name in the key is the log's origin.

import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import {
  ED25519,
  formatKey,
  isKeyName,
  keyId,
  parseKey,
  signatureLine,
} from "@custody/evidence/core/note.ts";
import { GatewayError } from "../base/errors.ts";
import { base32, type RandomBytes } from "../base/ids.ts";

export interface LogKey {
  readonly origin: string;
  /** For auditors: `<origin>+<id>+<base64>`. */
  readonly vkey: string;
  /** The note: the text and our signature line. */
  sign(text: string): string;
}

const SEED_BYTES = 32;
/** DER of a PKCS #8 Ed25519 key up to its seed (RFC 8410, section 7). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** Reads the key, or makes it. `origin` counts at the making only; the default is random. */
export function loadLogKey(dataDirectory: string, random: RandomBytes, origin?: string): LogKey {
  const directory = join(dataDirectory, "keys");
  const path = join(directory, "log.key");
  let text: string;
  try {
    text = readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    text = makeKey(random, origin ?? `custody.invalid/log-${base32(random(10), 10)}`);
    writeNew(path, text);
    writeNew(join(directory, "log.vkey"), parsePrivateKey(text, path).vkey);
  }
  return parsePrivateKey(text, path);
}

/** `PRIVATE+KEY+<name>+<id>+<base64 of type and seed>` */
function parsePrivateKey(text: string, path: string): LogKey {
  const match = /^PRIVATE\+KEY\+([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text);
  const material = Buffer.from(match?.[3] ?? "", "base64");
  if (match === null || material.length !== 1 + SEED_BYTES || material[0] !== ED25519) {
    throw new GatewayError("configuration", `${path} does not hold a log key`);
  }
  const origin = match[1]!;
  const privateKey = privateKeyOf(material.subarray(1));
  const publicKey = publicKeyOf(privateKey);
  const id = keyId(origin, ED25519, publicKey);
  if (Buffer.from(id).toString("hex") !== match[2]) {
    throw new GatewayError("configuration", `${path}: the key's id is another key's`);
  }
  const vkey = formatKey(origin, ED25519, publicKey);
  parseKey(vkey);
  return {
    origin,
    vkey,
    sign: (note) =>
      `${note}\n${signatureLine(origin, id, sign(null, Buffer.from(note, "utf8"), privateKey))}`,
  };
}

export function makeKey(random: RandomBytes, origin: string): string {
  if (!isKeyName(origin)) {
    throw new GatewayError("configuration", "a log's origin has neither spaces nor plus signs");
  }
  const seed = random(SEED_BYTES);
  const publicKey = publicKeyOf(privateKeyOf(seed));
  const id = Buffer.from(keyId(origin, ED25519, publicKey)).toString("hex");
  const material = Buffer.concat([Buffer.of(ED25519), seed]).toString("base64");
  return `PRIVATE+KEY+${origin}+${id}+${material}`;
}

function privateKeyOf(seed: Buffer): KeyObject {
  return createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: "der",
    type: "pkcs8",
  });
}

function publicKeyOf(privateKey: KeyObject): Buffer {
  const jwk = createPublicKey(privateKey).export({ format: "jwk" });
  return Buffer.from(jwk.x ?? "", "base64url");
}

function writeNew(path: string, text: string): void {
  const fd = openSync(path, "wx", 0o600);
  try {
    writeSync(fd, `${text}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
