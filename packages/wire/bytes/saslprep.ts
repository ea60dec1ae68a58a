// SASLprep (RFC 4013) of a password, for stored strings. The tables are RFC 3454's, said in Unicode
// properties. Two parts of it are not here: passwords with right-to-left text (section 6 of RFC 3454)
// are refused, and code points newer than Unicode 3.2 are taken as they are, which is what
// PostgreSQL's own client does with them.

/** The prepared password, or undefined when it holds what may not be in one. */
export function saslPrepared(password: string): string | undefined {
  if (!password.isWellFormed()) return undefined;
  if (/^[ -~]*$/.test(password)) return password;
  const prepared = password
    .replace(NON_ASCII_SPACE, " ")
    .replace(MAPPED_TO_NOTHING, "")
    .normalize("NFKC");
  if (prepared === "" || PROHIBITED.test(prepared) || RIGHT_TO_LEFT.test(prepared))
    return undefined;
  return prepared;
}

// C.1.2 but U+0020, and U+200B, which B.1 has too; RFC 4013 section 2.1 maps it to a space.
const NON_ASCII_SPACE = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu;
// B.1
const MAPPED_TO_NOTHING =
  /[\u00ad\u034f\u1806\u180b-\u180d\u200c\u200d\u2060\ufe00-\ufe0f\ufeff]/gu;
// C.2 control, C.3 private use, C.4 non-characters, C.6 to C.9
const PROHIBITED =
  /[\p{Cc}\p{Co}\p{Noncharacter_Code_Point}\u06dd\u070f\u180e\u2028\u2029\u2061-\u2063\u206a-\u206f\ufff9-\uffff\u2ff0-\u2ffb\u0340\u0341\u200e\u200f\u202a-\u202e\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}]/u;
const RIGHT_TO_LEFT =
  /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;
