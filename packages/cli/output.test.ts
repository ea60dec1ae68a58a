import assert from "node:assert/strict";
import { test } from "node:test";

import { facts, harmless, jsonLine, oneLine, relative, span, table } from "./output.ts";

const plain = { colour: false, columns: 80 };

interface Row {
  readonly id: string;
  readonly what: string;
  readonly where: string;
}

const columns = [
  { title: "ID", value: (row: Row) => row.id },
  { title: "WHAT", value: (row: Row) => row.what, flexible: true },
  { title: "WHERE", value: (row: Row) => row.where, flexible: true },
];

test("a table fits the terminal by cutting what may be cut, never an id", () => {
  const id = "d-0123456789abcdefghjk";
  const rows = [{ id, what: "w".repeat(70), where: "x".repeat(40) }];
  for (const width of [60, 80, 120]) {
    const lines = table({ ...plain, columns: width }, columns, rows)
      .trimEnd()
      .split("\n");
    for (const line of lines) assert.ok([...line].length <= width, `${width}: ${line}`);
    assert.ok(lines[1]?.startsWith(`${id}  w`));
    assert.equal(lines[1]?.includes("…"), width < 138);
  }
  const narrow = table({ ...plain, columns: 20 }, columns, rows);
  assert.ok(narrow.includes(id));
});

test("what comes from outside cannot reach the terminal as a command", () => {
  const evil = "a\u001b]0;title\u0007b\u009b31mc\u202ed\re\u0000";
  const shown = harmless(evil);
  assert.ok(!/[\p{Cc}\p{Cf}]/u.test(shown), JSON.stringify(shown));
  assert.ok(shown.startsWith("a\\u{1b}]0;title"));
  const rows = [{ id: evil, what: "two\nlines", where: "" }];
  const text = table(plain, columns, rows) + facts(plain, [["name", evil]]);
  assert.ok(!/(?!\n)[\p{Cc}\p{Cf}]/u.test(text));
  assert.equal(text.trimEnd().split("\n").length, 3);
  assert.equal(oneLine("a\n\t b "), "a b");
});

test("colours are for terminals", () => {
  const paint = [
    { title: "ID", value: (row: Row) => row.id, paint: () => (text: string) => `<${text}>` },
  ];
  const rows = [{ id: "x", what: "", where: "" }];
  assert.equal(table(plain, columns, rows).includes("\u001b"), false);
  assert.ok(table({ colour: true, columns: 80 }, columns, rows).includes("\u001b[1mID"));
  assert.ok(table(plain, paint, rows).includes("<x"));
});

test("times are near enough to be understood", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  assert.equal(relative("2026-01-01T00:09:29Z", now), "in 9m");
  assert.equal(relative("2025-12-31T21:00:00Z", now), "3h ago");
  assert.equal(relative("never", now), "never");
  assert.deepEqual([0, 59_000, 3_540_000, 43_199_000, 90_000_000, 259_200_000].map(span), [
    "0s",
    "59s",
    "59m",
    "12h",
    "25h",
    "3d",
  ]);
});

test("nor as JSON, which is the same value all the same", () => {
  const value = {
    name: "a\u009b31mb\u202ec\u{e0041}d\u2028e\u007ff\u001b]0;g\u0007\u00e9\u{1f600}",
    "\u202ekey": ["\n\t", null, 1],
  };
  const line = jsonLine(value);
  assert.doesNotMatch(line.slice(0, -1), /[\p{Cc}\p{Cf}\u2028\u2029]/u);
  assert.deepEqual(JSON.parse(line), value);
  assert.match(line, /\u00e9\u{1f600}/u);
});
