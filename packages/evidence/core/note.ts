// C2SP signed notes: a text, and lines "— <key name> <base64 of key id and signature>". Ed25519
// signatures over the text (type 0x01) and the timestamped cosignatures of tlog-cosignature (0x04, 0x06).
//
// Reading a note with keys is `verifyNote`: every key asked for must have signed, and a signature by one
// of them that does not verify is an error. Lines of other keys are passed over, as the format wants.
// Where so many of several keys are enough, `verifiedSigners` tells which have signed.

import { fromBase64, toBase64 } from "./base64.ts";
import { cosignedMessage, splitTimestamped } from "./cosignature.ts";
import { equalBytes } from "./merkle.ts";
import { sha256 } from "./sha256.ts";

export class NoteError extends Error {
  override readonly name = "NoteError";
}

export const ED25519 = 0x01;
export const COSIGNATURE_V1 = 0x04;
export const COSIGNATURE_ML_DSA_44 = 0x06;

export type KeyType = typeof ED25519 | typeof COSIGNATURE_V1 | typeof COSIGNATURE_ML_DSA_44;

const PUBLIC_KEY_BYTES: Readonly<Record<number, number>> = {
  [ED25519]: 32,
  [COSIGNATURE_V1]: 32,
  [COSIGNATURE_ML_DSA_44]: 1312,
};

/** A verifier key, `<name>+<hex key id>+<base64 of type and public key>`. */
export interface NoteKey {
  readonly name: string;
  readonly id: Uint8Array;
  readonly type: KeyType;
  readonly publicKey: Uint8Array;
}

export interface NoteSignature {
  readonly name: string;
  readonly id: Uint8Array;
  readonly signature: Uint8Array;
}

export interface Note {
  /** Ends with a newline; what is signed. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

const MAX_NOTE_BYTES = 1_000_000;
const MAX_SIGNATURES = 100;

/** First four bytes of SHA-256(name || 0x0A || type || public key). */
export function keyId(name: string, type: number, publicKey: Uint8Array): Uint8Array {
  const nameBytes = new TextEncoder().encode(name);
  const input = new Uint8Array(nameBytes.length + 2 + publicKey.length);
  input.set(nameBytes);
  input[nameBytes.length] = 0x0a;
  input[nameBytes.length + 1] = type;
  input.set(publicKey, nameBytes.length + 2);
  return sha256(input).slice(0, 4);
}

export function isKeyName(name: string): boolean {
  return name !== "" && !/[\s+]/u.test(name);
}

export function formatKey(name: string, type: number, publicKey: Uint8Array): string {
  const material = new Uint8Array(1 + publicKey.length);
  material[0] = type;
  material.set(publicKey, 1);
  return `${name}+${hex(keyId(name, type, publicKey))}+${toBase64(material)}`;
}

/** Throws NoteError for a key that is malformed, of an unknown type, or whose id is not its own. */
export function parseKey(text: string): NoteKey {
  const match = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/u.exec(text);
  if (match === null || !isKeyName(match[1]!)) throw new NoteError("malformed verifier key");
  const [, name, id, base64] = match as unknown as [string, string, string, string];
  const material = fromBase64(base64);
  const type = material?.[0];
  if (material === undefined || !isKeyType(type)) {
    throw new NoteError(`verifier key of ${name}: unknown type`);
  }
  const publicKey = material.slice(1);
  if (publicKey.length !== PUBLIC_KEY_BYTES[type])
    throw new NoteError(`verifier key of ${name}: wrong length`);
  const computed = keyId(name, type, publicKey);
  if (hex(computed) !== id) throw new NoteError(`verifier key of ${name}: its id is another key's`);
  return { name, id: computed, type, publicKey };
}

/** Splits a note; verifies nothing. Throws NoteError for what is not one. */
export function parseNote(bytes: Uint8Array): Note {
  if (bytes.length > MAX_NOTE_BYTES) throw new NoteError("the note is too large");
  let whole: string;
  try {
    whole = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new NoteError("the note is not UTF-8");
  }
  for (let index = 0; index < whole.length; index++) {
    const code = whole.charCodeAt(index);
    if (code < 0x20 && code !== 0x0a) throw new NoteError("a control character in the note");
  }
  const split = whole.lastIndexOf("\n\n");
  if (split < 0 || !whole.endsWith("\n")) throw new NoteError("the note has no signatures");
  const lines = whole.slice(split + 2, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) throw new NoteError("the note has too many signatures");
  return { text: whole.slice(0, split + 1), signatures: lines.map(parseSignature) };
}

/** The text, when every one of `keys` has signed it. Throws NoteError that names the key otherwise. */
export async function verifyNote(bytes: Uint8Array, keys: readonly NoteKey[]): Promise<string> {
  if (keys.length === 0) throw new NoteError("no key to verify the note with");
  const { text, signers } = await verifiedSigners(bytes, keys);
  for (const key of keys) {
    if (!signers.some((signer) => signer.key === key)) {
      throw new NoteError(`not signed by ${key.name}+${hex(key.id)}`);
    }
  }
  return text;
}

export interface Signer {
  readonly key: NoteKey;
  /** When it cosigned, in seconds since the Unix epoch; undefined for what is no cosignature. */
  readonly seconds: number | undefined;
}

/**
 * Which of `keys` have signed. Throws NoteError for what is no note, and when a signature in the name of one
 * of them does not verify: such a note is malformed.
 */
export async function verifiedSigners(
  bytes: Uint8Array,
  keys: readonly NoteKey[],
): Promise<{ readonly text: string; readonly signers: readonly Signer[] }> {
  const note = parseNote(bytes);
  const signers: Signer[] = [];
  for (const key of keys) {
    const own = note.signatures.filter(
      (line) => line.name === key.name && equalBytes(line.id, key.id),
    );
    if (own.length === 0) continue;
    if (own.length > 1) throw new NoteError(`signed more than once by ${key.name}`);
    const { signature } = own[0]!;
    if (!(await verifySignature(key, note.text, signature))) {
      throw new NoteError(`the signature of ${key.name}+${hex(key.id)} does not verify`);
    }
    const seconds = key.type === ED25519 ? undefined : Number(splitTimestamped(signature)?.seconds);
    signers.push({ key, seconds });
  }
  return { text: note.text, signers };
}

/** One line for the end of a note. */
export function signatureLine(name: string, id: Uint8Array, signature: Uint8Array): string {
  const blob = new Uint8Array(id.length + signature.length);
  blob.set(id);
  blob.set(signature, id.length);
  return `\u2014 ${name} ${toBase64(blob)}\n`;
}

function parseSignature(line: string): NoteSignature {
  const match = /^\u2014 ([^ ]+) ([^ ]+)$/u.exec(line);
  const blob = match === null ? undefined : fromBase64(match[2]!);
  if (match === null || !isKeyName(match[1]!) || blob === undefined || blob.length < 5) {
    throw new NoteError("a malformed signature line");
  }
  return { name: match[1]!, id: blob.slice(0, 4), signature: blob.slice(4) };
}

async function verifySignature(
  key: NoteKey,
  text: string,
  signature: Uint8Array,
): Promise<boolean> {
  if (key.type === ED25519) {
    return verifyWith("Ed25519", key.publicKey, new TextEncoder().encode(text), signature);
  }
  const parts = splitTimestamped(signature);
  const message = parts && cosignedMessage(key.type, key.name, parts.seconds, text);
  if (parts === undefined || message === undefined) return false;
  const algorithm = key.type === COSIGNATURE_V1 ? "Ed25519" : "ML-DSA-44";
  return verifyWith(algorithm, key.publicKey, message, parts.signature);
}

async function verifyWith(
  algorithm: "Ed25519" | "ML-DSA-44",
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  // What Web Crypto calls a raw key has another name for the newer algorithms, which not all have.
  const format = (algorithm === "Ed25519" ? "raw" : "raw-public") as "raw";
  try {
    const key = await crypto.subtle.importKey(format, publicKey.slice(), algorithm, false, [
      "verify",
    ]);
    return await crypto.subtle.verify(algorithm, key, signature.slice(), message.slice());
  } catch (cause) {
    throw new NoteError(`${algorithm} cannot be verified here`, { cause });
  }
}

function isKeyType(type: number | undefined): type is KeyType {
  return type !== undefined && Object.hasOwn(PUBLIC_KEY_BYTES, type);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
