import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Gathered } from "./gathered.ts";

describe("gathered bytes", () => {
  it("are what came, in its order, and gone when they are taken", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3 }), { maxLength: 300 }), (pieces) => {
        const gathered = new Gathered();
        for (const piece of pieces) gathered.add(Buffer.from(piece));
        const whole = Buffer.concat(pieces);
        assert.equal(gathered.length, whole.length);
        assert.deepEqual(gathered.take(), whole);
        assert.equal(gathered.length, 0);
        assert.equal(gathered.take().length, 0);
      }),
    );
  });

  it("are in a few pieces, however many they came in", () => {
    const gathered = new Gathered();
    const byte = Buffer.of(7);
    for (let count = 0; count < 300_000; count++) gathered.add(byte);
    assert.ok(gathered.pieces < 4 * 64, String(gathered.pieces));
    assert.deepEqual(gathered.take(), Buffer.alloc(300_000, 7));
  });

  it("in one piece are that piece", () => {
    const gathered = new Gathered();
    const piece = Buffer.from("abc");
    gathered.add(piece);
    assert.equal(gathered.take(), piece);
  });
});
