// From bytes to the text that is read as a command: strict UTF-8 without what people cannot see or a
// terminal would act on. Used for lines and, word by word, for commands that come as a list of words.

import { accept, MAX_LINE_BYTES, type Result, refuse } from "./script.ts";

const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Not in any text: control characters but tab and newline, format characters (bidirectional overrides,
 * zero-width ones, soft hyphen, byte order mark), line and paragraph separators, private use. What an
 * approver is shown must be what there is. Half a surrogate pair cannot come out of the decoder.
 */
const NEVER = /[^\P{Cc}\t\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Co}]/u;

/** A combining mark must have something to combine with, or it hides on the quote before it. */
const LOOSE_MARK = /(^|[\s'"\\])\p{M}/u;

export function readText(bytes: Uint8Array): Result<string> {
  if (bytes.length > MAX_LINE_BYTES)
    return refuse("limit", `the command is longer than ${MAX_LINE_BYTES} bytes`);
  let text: string;
  try {
    text = DECODER.decode(bytes);
  } catch {
    return refuse("characters", "the command is not UTF-8");
  }
  return checkText(text);
}

/** The same for text that was made from other text, as a line inside a word. */
export function checkText(text: string): Result<string> {
  const never = NEVER.exec(text);
  if (never !== null)
    return refuse(
      "characters",
      `the character ${nameOf(never[0])} cannot be in a command`,
      never.index,
    );
  const loose = LOOSE_MARK.exec(text);
  if (loose !== null)
    return refuse(
      "characters",
      "a combining mark with nothing before it cannot be in a command",
      loose.index,
    );
  return accept(text);
}

/** `U+202E`: the character itself must not reach a terminal. */
export function nameOf(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}
