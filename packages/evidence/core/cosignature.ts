// C2SP tlog-cosignature: what a witness signs, and the form of its signature: seconds u64, then the
// signature itself. Ed25519 (type 0x04) signs a time line and the whole text of the checkpoint; ML-DSA-44
// (type 0x06) signs a structure with the witness's name, the time, the log's origin, its size and its root.

import { parseCheckpoint } from "./checkpoint.ts";

const LABEL = "subtree/v1\n\0";

/** The bytes to sign; undefined when the text is no checkpoint of this form. */
export function cosignedMessage(
  type: 0x04 | 0x06,
  name: string,
  seconds: bigint,
  text: string,
): Uint8Array | undefined {
  const encoder = new TextEncoder();
  if (type === 0x04) return encoder.encode(`cosignature/v1\ntime ${seconds}\n${text}`);
  const checkpoint = checkpointOrNone(text);
  const cosigner = encoder.encode(name);
  const origin = encoder.encode(checkpoint?.origin ?? "");
  if (checkpoint === undefined || cosigner.length > 255 || origin.length > 255) return undefined;
  const parts = [
    encoder.encode(LABEL),
    Uint8Array.of(cosigner.length),
    cosigner,
    bigEndian(seconds),
    Uint8Array.of(origin.length),
    origin,
    bigEndian(0n),
    bigEndian(BigInt(checkpoint.size)),
    checkpoint.root,
  ];
  const message = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    message.set(part, at);
    at += part.length;
  }
  return message;
}

export function joinTimestamped(seconds: bigint, signature: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + signature.length);
  bytes.set(bigEndian(seconds));
  bytes.set(signature, 8);
  return bytes;
}

/** undefined when it is too short, or its time is none. */
export function splitTimestamped(
  bytes: Uint8Array,
): { readonly seconds: bigint; readonly signature: Uint8Array } | undefined {
  if (bytes.length <= 8) return undefined;
  const seconds = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0);
  if (seconds === 0n || seconds > 0x7fff_ffff_ffff_ffffn) return undefined;
  return { seconds, signature: bytes.slice(8) };
}

function bigEndian(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

function checkpointOrNone(text: string) {
  try {
    return parseCheckpoint(text);
  } catch {
    return undefined;
  }
}
