// Values that are in classified columns and nowhere else, and the search for them in whatever came over
// the wire: as they are, in any case, cut into pieces, reversed, in hex, in base64, binary.

import { randomBytes } from "node:crypto";

export type CanaryName =
  | "email"
  | "phone"
  | "ssn"
  | "json"
  | "tag"
  | "code"
  | "salary"
  | "visit"
  | "secret"
  | "contact"
  | "token"
  | "guc"
  | "role"
  | "far"
  | "stored";

export interface Canaries {
  readonly values: ReadonlyMap<CanaryName, string | number>;
  /** `a piece of email, reversed`, one each. */
  find(bytes: Buffer): string[];
}

const TEXTS: readonly CanaryName[] = [
  ...([
    "email",
    "phone",
    "json",
    "tag",
    "code",
    "visit",
    "secret",
    "contact",
    "token",
    "guc",
    "role",
    "far",
    "stored",
  ] as const),
];
const NUMBERS: readonly CanaryName[] = ["ssn", "salary"];

/** Pieces this long are no accident in a text of letters that words do not have. */
const PIECE = 5;
/** A number's digits are common: more of them make a piece. */
const DIGITS = 7;

export function makeCanaries(): Canaries {
  const values = new Map<CanaryName, string | number>();
  for (const name of TEXTS) values.set(name, word(22));
  for (const name of NUMBERS)
    values.set(name, 1_200_000_000 + (randomBytes(4).readUInt32BE() % 900_000_000));
  const pieces = new Map<string, string>();
  const binary: [string, Buffer][] = [];
  for (const [name, value] of values) {
    if (typeof value === "string") addText(pieces, name, value);
    else {
      addPieces(pieces, `a piece of ${name}`, String(value), DIGITS);
      const bytes = Buffer.alloc(4);
      bytes.writeInt32BE(value);
      binary.push([`${name}, binary`, bytes]);
    }
  }
  const lengths = [...new Set([...pieces.keys()].map((piece) => piece.length))];
  return {
    values,
    find(bytes) {
      const text = bytes.toString("latin1");
      const lower = text.toLowerCase();
      const found = new Set<string>();
      for (const length of lengths)
        for (let at = 0; at + length <= text.length; at++) {
          const what =
            pieces.get(lower.slice(at, at + length)) ?? pieces.get(text.slice(at, at + length));
          if (what !== undefined) found.add(what);
        }
      for (const [what, needle] of binary) if (bytes.includes(needle)) found.add(what);
      return [...found];
    },
  };
}

/**
 * Vowels and rare consonants in turn: no word of ours has five such letters, and our own identifiers have
 * none of these vowels (base/ids.ts).
 */
function word(length: number): string {
  const letters = ["iou", "xqzjw"];
  let made = "";
  for (const [at, byte] of randomBytes(length).entries()) {
    const from = letters[at % 2] ?? "";
    made += from[byte % from.length];
  }
  return made;
}

function addText(pieces: Map<string, string>, name: string, value: string): void {
  const bytes = Buffer.from(value);
  addPieces(pieces, `a piece of ${name}`, value, PIECE);
  addPieces(pieces, `a piece of ${name}, reversed`, [...value].reverse().join(""), PIECE);
  addPieces(pieces, `a piece of ${name}, in hex`, bytes.toString("hex"), PIECE * 2);
  addPieces(
    pieces,
    `a piece of ${name}, in capitals and hex`,
    Buffer.from(value.toUpperCase()).toString("hex"),
    PIECE * 2,
  );
  // Base64 of a text depends on where it begins: three ways.
  for (const shift of [0, 1, 2]) {
    const encoded = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64");
    addPieces(pieces, `a piece of ${name}, in base64`, encoded.slice(4, -4), 8);
  }
}

function addPieces(pieces: Map<string, string>, what: string, text: string, size: number): void {
  for (let at = 0; at + size <= text.length; at++) pieces.set(text.slice(at, at + size), what);
}
