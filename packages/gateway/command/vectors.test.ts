// vectors/shell: lines and what they say, or why they are refused. A valid line is also run as it is: the
// shells that hosts are declared to have read it as it was decided even before it is made canonical.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { openPlayground, shells } from "../../../conformance/support/shells.ts";
import { emit } from "./canonical.ts";
import { parseLine } from "./parse-line.ts";
import type { Script } from "./script.ts";

interface Valid {
  readonly line: string;
  readonly script: Script;
  readonly canonical: string;
}

interface Invalid {
  readonly line?: string;
  readonly hex?: string;
  readonly code: string;
}

const VALID = vectors<Valid>("valid/lines.json");
const INVALID = vectors<Invalid>("invalid/lines.json");

function vectors<T>(path: string): readonly T[] {
  const url = new URL(`../../../vectors/shell/${path}`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8"));
}

test("valid lines are read as the vectors say, and written as they say", () => {
  assert.ok(VALID.length > 60);
  for (const { line, script, canonical } of VALID) {
    const read = parseLine(Buffer.from(line));
    assert.ok(read.ok, line);
    assert.deepEqual(JSON.parse(JSON.stringify(read.value)), script, line);
    assert.equal(emit(read.value), canonical, line);
    const again = parseLine(Buffer.from(canonical));
    assert.ok(again.ok, canonical);
    assert.equal(emit(again.value), canonical);
  }
});

test("invalid lines are refused for what they are", () => {
  assert.ok(INVALID.length > 100);
  for (const { line, hex, code } of INVALID) {
    const bytes = hex === undefined ? Buffer.from(line ?? "") : Buffer.from(hex, "hex");
    const read = parseLine(bytes);
    assert.ok(!read.ok, line ?? hex);
    assert.equal(read.refusal.code, code, line ?? hex);
    assert.doesNotMatch(read.refusal.message, /\p{Cc}/u);
  }
});

test("shells read valid lines as they were read here", () => {
  const declared = shells().filter(({ name }) => ["dash", "bash", "busybox"].includes(name));
  using playground = openPlayground(["p", "if"]);
  for (const shell of declared) {
    const raw = playground.runAll(
      shell,
      VALID.map(({ line }) => line),
    );
    const canonical = playground.runAll(
      shell,
      VALID.map((one) => one.canonical),
    );
    VALID.forEach(({ line }, index) => {
      assert.deepEqual(raw[index], canonical[index], `${shell.name}: ${line}`);
    });
  }
});
