// SASLprep (RFC 4013) of a password, for stored strings; the tables are RFC 3454's. Two parts of it are
// not here: passwords with right-to-left text (section 6 of RFC 3454) are refused, and code points
// newer than Unicode 3.2 are taken as they are, which is what PostgreSQL's own client does with them.

/** The prepared password, or undefined when it holds what may not be in one. */
export function saslPrepared(password: string): string | undefined {
  if (!password.isWellFormed()) return undefined;
  if (/^[ -~]*$/.test(password)) return password;
  let mapped = "";
  for (const character of password) {
    const point = character.codePointAt(0) ?? 0;
    if (isIn(NON_ASCII_SPACES, point)) mapped += " ";
    else if (!isIn(MAPPED_TO_NOTHING, point)) mapped += character;
  }
  const prepared = mapped.normalize("NFKC");
  if (OTHERWISE_PROHIBITED.test(prepared)) return undefined;
  for (const character of prepared) {
    if (isIn(PROHIBITED, character.codePointAt(0) ?? 0)) return undefined;
  }
  return prepared;
}

/** Code points from, to. */
type Ranges = readonly (readonly [number, number])[];

function isIn(ranges: Ranges, point: number): boolean {
  return ranges.some(([from, to]) => point >= from && point <= to);
}

/** Table C.1.2, mapped to U+0020 by RFC 4013 section 2.1. */
const NON_ASCII_SPACES: Ranges = [
  [0x00a0, 0x00a0],
  [0x1680, 0x1680],
  [0x2000, 0x200b],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
];

/** Table B.1. */
const MAPPED_TO_NOTHING: Ranges = [
  [0x00ad, 0x00ad],
  [0x034f, 0x034f],
  [0x1806, 0x1806],
  [0x180b, 0x180d],
  [0x200c, 0x200d],
  [0x2060, 0x2060],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
];

/** Tables C.2.2 and C.6 to C.9, as far as the expression below does not say them. */
const PROHIBITED: Ranges = [
  [0x0340, 0x0341],
  [0x06dd, 0x06dd],
  [0x070f, 0x070f],
  [0x180e, 0x180e],
  [0x200e, 0x200f],
  [0x2028, 0x202e],
  [0x2061, 0x2063],
  [0x206a, 0x206f],
  [0x2ff0, 0x2ffb],
  [0xfff9, 0xfffd],
  [0x1d173, 0x1d17a],
  [0xe0001, 0xe0001],
  [0xe0020, 0xe007f],
];

/** Control characters, private use, non-characters (C.2.1, C.3, C.4), and right-to-left scripts. */
const OTHERWISE_PROHIBITED =
  /[\p{Cc}\p{Co}\p{NChar}\p{sc=Hebrew}\p{sc=Arabic}\p{sc=Syriac}\p{sc=Thaana}\p{sc=Nko}]/u;
