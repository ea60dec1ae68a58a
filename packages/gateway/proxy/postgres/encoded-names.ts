// Names in a database that is not in UTF-8. The parser reads a text in UTF-8: it cuts names at 63 bytes of it and
// folds the capitals of ASCII alone. The server does both in its own encoding: É may be é to it (a single byte,
// by the locale), names of which the first 63 bytes differ may be one here and two there, and two characters may
// be one after the conversion. Only names that neither does anything to are taken; constants may have anything in
// them.
//
// What is a name is asked of the parser itself: it reads the text once more with every character beyond ASCII
// replaced by a letter, and whatever is another then, but for constants, is (or was cut to) a name with such a
// character in it.

/** Every character is one byte, and no two are the same one. */
const SINGLE_BYTE = /^(?:LATIN|WIN(?!936|949|950|932)|ISO_8859|KOI8)/;
/** Of UTF-8: uncut, and no longer in the server's own. */
const MAX_BYTES = 60;
const BEYOND_ASCII = /\P{ASCII}/u;

/** `encoding` as `server_encoding` has it; `parse` gives the tree of a text, and throws for a syntax error. */
export function hasDoubtfulNames(
  encoding: string,
  text: string,
  parse: (text: string) => unknown,
): boolean {
  if (encoding === "UTF8") return false;
  // U&"\00e9": a name without such a character in the text.
  if (/u&"/i.test(text)) return true;
  if (!BEYOND_ASCII.test(text)) return false;
  const plain = text.replace(/\P{ASCII}/gu, "x");
  try {
    return differs(parse(text), parse(plain), SINGLE_BYTE.test(encoding));
  } catch {
    return true;
  }
}

function differs(one: unknown, other: unknown, isSingleByte: boolean): boolean {
  if (typeof one === "string" && typeof other === "string")
    return one !== other && !(isSingleByte && isTheSameThere(one));
  if (Array.isArray(one))
    return (
      !Array.isArray(other) ||
      one.length !== other.length ||
      one.some((part, index) => differs(part, other[index], isSingleByte))
    );
  if (typeof one !== "object" || one === null || typeof other !== "object" || other === null)
    return one !== other;
  const [mine, theirs] = [one as Record<string, unknown>, other as Record<string, unknown>];
  const keys = Object.keys(mine);
  if (keys.length !== Object.keys(theirs).length) return true;
  // The body of a function is a text of its own.
  const isBody = mine.defname === "as" && theirs.defname === "as";
  return keys.some(
    (key) =>
      !LEFT_OUT.has(key) &&
      !(isBody && key === "arg") &&
      differs(mine[key], theirs[key], isSingleByte),
  );
}

/** Constants; and places in the text, which are counted in bytes. */
const LEFT_OUT = new Set("A_Const comment payload location stmt_location stmt_len".split(" "));

function isTheSameThere(name: string): boolean {
  const beyond = name.match(/\P{ASCII}/gu) ?? [];
  return (
    Buffer.byteLength(name) < MAX_BYTES &&
    beyond.every((character) => character === character.toLowerCase())
  );
}
