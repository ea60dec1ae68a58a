// The digests that tie a leaf to what its session's recording holds: `command` and `parameters` of a
// `command.intent` leaf are these, SHA-256 in base64url.

import { hash } from "node:crypto";

/** Of the command's text (or bytes) exactly as the client sent it, UTF-8. */
export function commandDigest(text: string | Buffer): string {
  return hash("sha256", text, "base64url");
}

/** Of bound parameters: count, then each length and value, -1 for null; all numbers i32 big-endian. */
export function parametersDigest(parameters: readonly (Buffer | null)[]): string {
  return hash("sha256", encodeParameters(parameters), "base64url");
}

export function encodeParameters(parameters: readonly (Buffer | null)[]): Buffer {
  let size = 4;
  for (const value of parameters) size += 4 + (value?.length ?? 0);
  const bytes = Buffer.allocUnsafe(size);
  let at = bytes.writeInt32BE(parameters.length, 0);
  for (const value of parameters) {
    at = bytes.writeInt32BE(value === null ? -1 : value.length, at);
    if (value !== null) at += value.copy(bytes, at);
  }
  return bytes;
}
