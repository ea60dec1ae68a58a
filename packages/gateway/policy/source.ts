// Cuts a .cedar file into its policies, so that each can be given its own id and every message its
// place. Only as much of Cedar's lexing as that takes: strings, // comments, ";" and "@". Each piece
// is then parsed by Cedar as exactly one policy, so a cut at a wrong place cannot go unseen.

export interface PolicySource {
  readonly file: string;
  readonly text: string;
  /** Where `text` begins, 1-based. */
  readonly line: number;
  readonly column: number;
  /** Offsets in `text` of its annotations' "@". */
  readonly annotationOffsets: ReadonlyMap<string, number>;
}

export interface SourcePlace {
  readonly line: number;
  readonly column: number;
}

/** Everything but white space and comments between policies is in some piece. */
export function splitPolicies(file: string, fileText: string): readonly PolicySource[] {
  const pieces: PolicySource[] = [];
  const text = fileText.replace(/^\uFEFF/, "");
  let offset = skipTrivia(text, 0);
  while (offset < text.length) {
    const end = endOfPolicy(text, offset);
    const piece = text.slice(offset, end);
    const before = advance({ line: 1, column: 1 }, text.slice(0, offset));
    pieces.push({ file, text: piece, ...before, annotationOffsets: annotationsOf(piece) });
    offset = skipTrivia(text, end);
  }
  return pieces;
}

/** The place in the file of an offset in the piece's text. */
export function placeAt(source: PolicySource, offset: number): SourcePlace {
  return advance({ line: source.line, column: source.column }, source.text.slice(0, offset));
}

/** Cedar counts in bytes of UTF-8, JavaScript in UTF-16 units. */
export function offsetOfByte(text: string, byteOffset: number): number {
  return Buffer.from(text).subarray(0, byteOffset).toString().length;
}

function advance(from: SourcePlace, text: string): SourcePlace {
  const lastBreak = text.lastIndexOf("\n");
  if (lastBreak < 0) return { line: from.line, column: from.column + text.length };
  return { line: from.line + text.split("\n").length - 1, column: text.length - lastBreak };
}

function skipTrivia(text: string, from: number): number {
  let offset = from;
  for (;;) {
    if (/\s/.test(text.charAt(offset))) offset += 1;
    else if (text.startsWith("//", offset)) offset = endOfComment(text, offset);
    else return offset;
  }
}

function endOfComment(text: string, from: number): number {
  const end = text.indexOf("\n", from);
  return end < 0 ? text.length : end + 1;
}

function endOfString(text: string, from: number): number {
  let offset = from + 1;
  while (offset < text.length && text.charAt(offset) !== '"') {
    offset += text.charAt(offset) === "\\" ? 2 : 1;
  }
  return Math.min(offset + 1, text.length);
}

function endOfPolicy(text: string, from: number): number {
  for (const { offset, character } of significant(text, from)) {
    if (character === ";") return offset + 1;
  }
  return text.trimEnd().length;
}

function annotationsOf(piece: string): ReadonlyMap<string, number> {
  const offsets = new Map<string, number>();
  for (const { offset, character } of significant(piece, 0)) {
    if (character !== "@") continue;
    const name = /^@\s*([A-Za-z0-9_]*)/.exec(piece.slice(offset, offset + 200))?.[1];
    if (name !== undefined && !offsets.has(name)) offsets.set(name, offset);
  }
  return offsets;
}

/** The characters outside strings and comments. */
function* significant(
  text: string,
  from: number,
): Generator<{ readonly offset: number; readonly character: string }> {
  let offset = from;
  while (offset < text.length) {
    const character = text.charAt(offset);
    if (character === '"') offset = endOfString(text, offset);
    else if (text.startsWith("//", offset)) offset = endOfComment(text, offset);
    else {
      yield { offset, character };
      offset += 1;
    }
  }
}
