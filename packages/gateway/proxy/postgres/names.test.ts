import assert from "node:assert/strict";
import { test } from "node:test";
import { NameTable, NEVER_CERTAIN, requireWholeName } from "./names.ts";

const limits = { maxNames: 3 };

test("a name set in this segment is certain before its reply, in a later one only after", () => {
  const names = new NameTable<string>(limits);
  const parse = {};
  names.propose("a", "select", parse, 1);
  assert.deepEqual(names.lookup("a", 1), { certain: true, value: "select" });
  assert.deepEqual(names.lookup("a", 2), { certain: false });
  names.settle("a", parse, true);
  assert.deepEqual(names.lookup("a", 2), { certain: true, value: "select" });
});

test("a skipped Parse over an existing name leaves the old meaning, and is uncertain until known", () => {
  const names = new NameTable<string>(limits);
  names.assign("a", "delete");
  const close = {};
  const parse = {};
  names.propose("a", undefined, close, 7);
  names.propose("a", "select", parse, 7);
  assert.deepEqual(names.lookup("a", 8), { certain: false });
  names.settle("a", close, false);
  names.settle("a", parse, false);
  assert.deepEqual(names.lookup("a", 8), { certain: true, value: "delete" });
});

test("what a simple Query changes is never certain before its reply", () => {
  const names = new NameTable<string>(limits);
  names.assign("", "select");
  names.propose("", undefined, {}, NEVER_CERTAIN);
  assert.deepEqual(names.lookup("", 4), { certain: false });
  names.propose("", "update", {}, 4);
  assert.deepEqual(names.lookup("", 4), { certain: true, value: "update" });
});

test("the number of names is bounded", () => {
  const names = new NameTable<number>(limits);
  for (const name of ["a", "b", "c"]) assert.equal(names.assign(name, 1), true);
  assert.equal(names.assign("d", 1), false);
  assert.equal(names.propose("d", 1, {}, 1), false);
  assert.equal(names.assign("a", undefined), true);
  assert.equal(names.propose("d", 1, {}, 1), true);
});

test("a name is whole up to 63 bytes, and only ASCII is the same in every encoding", () => {
  for (const name of ["", "a".repeat(63), "S_1", "~"]) requireWholeName(name);
  for (const name of ["a".repeat(64), "ä", "～", "〜", "語".repeat(22), "😀"])
    assert.throws(() => requireWholeName(name), { code: "protocol" });
});
