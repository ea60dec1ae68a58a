import assert from "node:assert/strict";
import test from "node:test";
import { SlipGuard } from "./slip-guard.ts";

function typing(...parts: readonly string[]) {
  const lines: string[] = [];
  const guard = new SlipGuard((line) => {
    lines.push(line);
    return line.startsWith("rm") ? "no removal" : undefined;
  });
  const passed = parts.map((part) => guard.typed(Buffer.from(part)));
  return {
    lines,
    keys: passed.map(({ keys }) => keys.toString()).join(""),
    held: passed.flatMap(({ held }) => held ?? []),
  };
}

test("the Enter of a line that is stopped is held once; a second one lets it go", () => {
  const once = typing("r", "m -rf x", "\r");
  assert.deepEqual([once.keys, once.held], ["rm -rf x", ["no removal"]]);
  const twice = typing("rm x\r", "\r", "rm y\r");
  assert.deepEqual([twice.keys, twice.held.length], ["rm x\rrm y", 2]);
});

test("another key is another thought: the line is looked at again", () => {
  const typed = typing("rm x\r", "y", "\r");
  assert.deepEqual([typed.lines, typed.held.length], [["rm x", "rm xy"], 2]);
});

test("what follows a held Enter in the same piece does not run on", () => {
  const { keys, held } = typing("ls\rrm x\rls\r");
  assert.deepEqual([keys, held.length], ["ls\rrm x", 1]);
});

test("of what is pasted the first lines are read and no more", () => {
  const { keys, lines } = typing("ls\r".repeat(5000));
  assert.deepEqual([lines.length, keys.length], [8, 15_000]);
  assert.deepEqual(typing("ls\r".repeat(5000), "rm x\r").held, ["no removal"]);
});

test("erased, given up and started again as a terminal has it", () => {
  assert.deepEqual(typing("lsé\x7f\x7f\x7fps\r").lines, ["ps"]);
  assert.deepEqual(typing("rm x\x15ls\r", "rm y\x03\r").lines, ["ls"]);
});

test("what keys put together that do not mean themselves is not read", () => {
  for (const keys of ["\x1b[A\r", "rm \t\r", "\x12rm\r", `rm ${"x".repeat(5000)}\r`]) {
    const { held, keys: passed } = typing(keys);
    assert.deepEqual([passed, held], [keys, []]);
  }
  assert.equal(typing("\x1b[A\r", "rm x\r").held.length, 1);
});
