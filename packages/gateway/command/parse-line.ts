// From a line to what it says, or to why it is refused: two readers that were written apart must agree on
// every word, and the text that would be sent must itself be read as the same.

import { isDeepStrictEqual } from "node:util";
import { emit } from "./canonical.ts";
import { redirectionRefusal } from "./redirections.ts";
import { MAX_CANONICAL_BYTES, type Result, refuse, type Script } from "./script.ts";
import { checkText, readText } from "./text.ts";
import { tokenize } from "./tokenize.ts";
import { readWithUnbash } from "./unbash-reading.ts";

/** The bytes of a line as a client sent them. Never throws. */
export function parseLine(line: Uint8Array): Result<Script> {
  const text = readText(line);
  return text.ok ? readTwice(text.value) : text;
}

/** A line inside of a line: the argument of `sh -c`. Never throws. */
export function parseNestedLine(line: string): Result<Script> {
  const text = checkText(line);
  return text.ok ? readTwice(text.value) : text;
}

function readTwice(line: string): Result<Script> {
  const ours = tokenize(line);
  if (!ours.ok) return ours;
  const theirs = readWithUnbash(line);
  if (!theirs.ok) return theirs;
  if (!isDeepStrictEqual(ours.value, theirs.value))
    return refuse("disagreement", "two readers of the command do not agree on what it says");
  const redirection = redirectionRefusal(ours.value);
  if (redirection !== undefined) return { ok: false, refusal: redirection };
  const canonical = emit(ours.value);
  if (Buffer.byteLength(canonical) > MAX_CANONICAL_BYTES)
    return refuse("limit", "the command is too long once every word is quoted");
  const again = tokenize(canonical);
  if (!again.ok || !isDeepStrictEqual(again.value, ours.value))
    return refuse("disagreement", "the command cannot be written so that every shell reads it so");
  return ours;
}
