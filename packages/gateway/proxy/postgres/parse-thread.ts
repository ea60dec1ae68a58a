// The parser in a thread of its own, for texts so large that parsing them would hold up every session
// (parse-elsewhere.ts). One text at a time; the tree goes back as text, which is the cheapest way.

import { parentPort } from "node:worker_threads";
import type { Grammar } from "./grammars.ts";
import { loadParser, parseSql } from "./parse.ts";

export interface ParseRequest {
  readonly id: number;
  readonly text: string;
  readonly maxTextBytes: number;
  readonly grammar: Grammar;
  readonly encoding: string;
}

export interface ParseAnswer {
  readonly id: number;
  /** JSON of Parsed or Unclassified; undefined: it is nested too deeply to be written as text. */
  readonly json: string | undefined;
}

if (parentPort !== null) {
  const port = parentPort;
  port.on("message", async (request: ParseRequest) => {
    await loadParser(request.grammar);
    const answer: ParseAnswer = { id: request.id, json: jsonOf(request) };
    port.postMessage(answer);
  });
}

function jsonOf({ grammar, maxTextBytes, text, encoding }: ParseRequest): string | undefined {
  try {
    return JSON.stringify(parseSql(text, maxTextBytes, grammar, encoding));
  } catch (thrown) {
    if (thrown instanceof RangeError) return undefined;
    throw thrown;
  }
}
