import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createTerminalFilter } from "./terminal-filter.ts";

const filtered = (text: string) => createTerminalFilter()(Buffer.from(text)).toString();

test("text, colours and movement pass; what makes a terminal act or answer does not", () => {
  const shown = "a\x1b[1;31mred\x1b[0m\r\n\x1b[2J\x1b[10;5Hü\x1b[?25l\x1b[?1049h\t";
  assert.equal(filtered(shown), shown);
  for (const [hostile, left] of [
    ["\x1b]0;title\x07x", "x"],
    ["\x1b]52;c;ZXZpbA==\x1b\\x", "x"],
    ['\x1bP$q"p\x1b\\x', "x"],
    ["\x1b_apc\x1b\\x", "x"],
    ["\x1b[6nx", "x"],
    ["\x1b[cx", "x"],
    ["\x1b[>0qx", "x"],
    ["\x1b[?1006hx", "x"],
    ["\x1b[21tx", "x"],
    ["\x1b(0x", "x"],
    ["\u009b6nx", "6nx"],
    ["\u009d0;t\x07x", "0;tx"],
    ["\x07\x00x", "x"],
    ["\x1b]8;;file:///etc\x1b\\x", "x"],
    ["\x1bcx", "x"],
  ] as const)
    assert.equal(filtered(hostile), left, JSON.stringify(hostile));
});

test("wherever it is cut, the same passes", () => {
  const piece = fc.constantFrom(
    "\x1b[31m",
    "\x1b]0;t\x07",
    "\x1b[6n",
    "text",
    "\x1bP1\x1b\\",
    "\x1b",
    "[",
    "]",
    "0",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.nat(40), (pieces, cut) => {
      const whole = Buffer.from(pieces.join(""));
      const filter = createTerminalFilter();
      const parts = Buffer.concat([filter(whole.subarray(0, cut)), filter(whole.subarray(cut))]);
      assert.deepEqual(parts, createTerminalFilter()(whole));
    }),
  );
});
