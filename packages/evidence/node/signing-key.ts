// Private keys of signed notes, in the text form of Go's sumdb tools:
// `PRIVATE+KEY+<name>+<id>+<base64 of type and seed>`. Types: a log's Ed25519 (0x01), and a witness's Ed25519
// (0x04) and ML-DSA-44 (0x06), which differ in what is signed (core/cosignature.ts).

import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { cosignedMessage, joinTimestamped } from "../core/cosignature.ts";
import {
  COSIGNATURE_ML_DSA_44,
  ED25519,
  formatKey,
  isKeyName,
  type KeyType,
  keyId,
  signatureLine,
} from "../core/note.ts";

export class SigningKeyError extends Error {
  override readonly name = "SigningKeyError";
}

export interface SigningKey {
  readonly name: string;
  readonly type: KeyType;
  /** For who verifies: `<name>+<id>+<base64>`. */
  readonly vkey: string;
  /** The line to put under a note with this text. Cosigners need the time. */
  line(text: string, seconds?: number): string;
  /** The same key under another name. */
  named(name: string): SigningKey;
}

const SEED_BYTES = 32;
/** DER of PKCS #8 up to the seed: RFC 8410, section 7, and RFC 9881, section 6 (the seed alone). */
const PKCS8_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");
const PKCS8_ML_DSA_44 = Buffer.from("3034020100300b060960864801650304031104228020", "hex");

export function makeSigningKey(
  name: string,
  type: KeyType,
  random: (bytes: number) => Buffer,
): string {
  if (!isKeyName(name)) throw new SigningKeyError("a key's name has neither spaces nor plus signs");
  const seed = random(SEED_BYTES);
  const id = Buffer.from(keyId(name, type, publicKeyOf(type, seed).raw)).toString("hex");
  const material = Buffer.concat([Buffer.of(type), seed]).toString("base64");
  return `PRIVATE+KEY+${name}+${id}+${material}`;
}

/** Throws SigningKeyError for what is no key, or one whose id is another's. */
export function parseSigningKey(text: string): SigningKey {
  const match = /^PRIVATE\+KEY\+([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text);
  const material = Buffer.from(match?.[3] ?? "", "base64");
  const type = material[0] as KeyType;
  if (match === null || material.length !== 1 + SEED_BYTES || !TYPES.includes(type)) {
    throw new SigningKeyError("not a key of a signed note");
  }
  const name = match[1]!;
  const pair = publicKeyOf(type, material.subarray(1));
  if (Buffer.from(keyId(name, type, pair.raw)).toString("hex") !== match[2]) {
    throw new SigningKeyError("the key's id is another key's");
  }
  return signingKey(name, type, pair);
}

function signingKey(name: string, type: KeyType, pair: KeyPair): SigningKey {
  const { key, raw } = pair;
  const id = keyId(name, type, raw);
  return {
    name,
    type,
    vkey: formatKey(name, type, raw),
    named: (other) => signingKey(other, type, pair),
    line(note, seconds) {
      if (type === ED25519) return signatureLine(name, id, sign(null, Buffer.from(note), key));
      const time = BigInt(Math.floor(seconds ?? 0));
      const message = cosignedMessage(type, name, time, note);
      if (message === undefined) throw new SigningKeyError("only a checkpoint can be cosigned");
      return signatureLine(name, id, joinTimestamped(time, sign(null, message, key)));
    },
  };
}

const TYPES: readonly KeyType[] = [ED25519, 0x04, COSIGNATURE_ML_DSA_44];

interface KeyPair {
  readonly key: KeyObject;
  readonly raw: Buffer;
}

function publicKeyOf(type: KeyType, seed: Buffer): KeyPair {
  const isMlDsa = type === COSIGNATURE_ML_DSA_44;
  const der = Buffer.concat([isMlDsa ? PKCS8_ML_DSA_44 : PKCS8_ED25519, seed]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const jwk: { x?: string; pub?: string } = createPublicKey(key).export({ format: "jwk" });
  return { key, raw: Buffer.from((isMlDsa ? jwk.pub : jwk.x) ?? "", "base64url") };
}
