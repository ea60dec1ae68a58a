// The parser in a thread of its own, for texts so large that parsing them would hold up every session
// (parse-elsewhere.ts). One text at a time; the tree goes back as text, which is the cheapest way.

import { parentPort } from "node:worker_threads";
import type { Grammar } from "./grammars.ts";
import { loadParser, type Parsed, parseSql } from "./parse.ts";
import type { Unclassified } from "./plan.ts";

export interface ParseRequest {
  readonly id: number;
  readonly text: string;
  readonly maxTextBytes: number;
  readonly grammar: Grammar;
  readonly encoding: string;
}

export interface ParseAnswer {
  readonly id: number;
  /**
   * JSON of lists of statements, each small enough to be read in a turn unless one statement is all of it; or why
   * it was refused; undefined: it is nested too deeply to be written as text.
   */
  readonly found: readonly string[] | Unclassified | undefined;
}

if (parentPort !== null) {
  const port = parentPort;
  port.on("message", async (request: ParseRequest) => {
    await loadParser(request.grammar);
    const answer: ParseAnswer = { id: request.id, found: foundIn(request) };
    port.postMessage(answer);
  });
}

function foundIn({ encoding, grammar, maxTextBytes, text }: ParseRequest): ParseAnswer["found"] {
  try {
    const parsed = parseSql(text, maxTextBytes, grammar, encoding);
    return "unclassified" in parsed ? parsed : inPieces(parsed);
  } catch (thrown) {
    if (thrown instanceof RangeError) return undefined;
    throw thrown;
  }
}

/** Whoever reads them gives others their turn between two. */
const PIECE_CHARACTERS = 128 * 1024;

function inPieces({ statements }: Parsed): string[] {
  const pieces: string[] = [];
  let piece: string[] = [];
  let characters = 0;
  const end = () => {
    if (piece.length > 0) pieces.push(`[${piece.join()}]`);
    piece = [];
    characters = 0;
  };
  for (const statement of statements) {
    const json = JSON.stringify(statement);
    if (characters + json.length > PIECE_CHARACTERS) end();
    piece.push(json);
    characters += json.length;
  }
  end();
  return pieces;
}
