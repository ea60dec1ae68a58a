// The parser in a thread of its own, for texts so large that parsing them would hold up every session
// (parse-elsewhere.ts). One text at a time; the tree goes back as text, which is the cheapest way.

import { parentPort } from "node:worker_threads";
import { loadParser, parseSql } from "./parse.ts";

export interface ParseRequest {
  readonly id: number;
  readonly text: string;
  readonly maxTextBytes: number;
}

export interface ParseAnswer {
  readonly id: number;
  /** JSON of Parsed or Unclassified. */
  readonly json: string;
}

if (parentPort !== null) {
  const port = parentPort;
  await loadParser();
  port.on("message", ({ id, text, maxTextBytes }: ParseRequest) => {
    const answer: ParseAnswer = { id, json: JSON.stringify(parseSql(text, maxTextBytes)) };
    port.postMessage(answer);
  });
}
