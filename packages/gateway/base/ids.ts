// Identifiers people read aloud and copy: a kind, a dash, and lower-case Crockford base32, which has
// no letter that looks like a digit. Randomness comes in from outside.

import { randomBytes } from "node:crypto";

export type RandomBytes = (size: number) => Buffer;
export const systemRandom: RandomBytes = (size) => randomBytes(size);

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/** What an identifier names: delegation, session, request (one command), hold, participant. */
export type IdKind = "d" | "s" | "r" | "h" | "p";

/** `kind` + "-" + `length` base32 characters (5 bits each). */
export function newId(kind: IdKind, length: number, random: RandomBytes = systemRandom): string {
  return `${kind}-${base32(random(length), length)}`;
}

/** `length` characters, each from the low five bits of one byte. */
export function base32(bytes: Uint8Array, length: number): string {
  let text = "";
  for (let index = 0; index < length; index++) text += ALPHABET[(bytes[index] ?? 0) & 31];
  return text;
}
