import assert from "node:assert/strict";
import { isUtf8 as nodeIsUtf8 } from "node:buffer";
import test from "node:test";
import fc from "fast-check";
import { isUtf8, utf8Text } from "./utf8.ts";

test("every sequence of up to two bytes, and every lead with edge continuations, as Node judges", () => {
  const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
  for (let first = 0; first < 256; first++) {
    assertSame(Buffer.of(first));
    for (let second = 0; second < 256; second++) assertSame(Buffer.of(first, second));
    for (const second of edges)
      for (const third of edges) {
        assertSame(Buffer.of(first, second, third));
        for (const fourth of edges) assertSame(Buffer.of(first, second, third, fourth));
      }
  }
});

test("any bytes, as Node judges", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 32 }), (bytes) => assertSame(bytes)));
});

test("any text comes back", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  fc.assert(
    fc.property(text, (original) => {
      const bytes = Buffer.from(`#${original}#`, "utf8");
      assert.equal(utf8Text(bytes, 1, bytes.length - 1), original);
    }),
  );
});

test("a sequence that is only whole with the bytes behind the end is refused", () => {
  assert.equal(utf8Text(Buffer.from("a\u20ac"), 0, 3), undefined);
  assert.equal(utf8Text(Buffer.from("\ufffd\u20ac"), 0, 5), undefined);
});

function assertSame(bytes: Uint8Array): void {
  const valid = nodeIsUtf8(bytes);
  assert.equal(isUtf8(bytes, 0, bytes.length), valid, Buffer.from(bytes).toString("hex"));
  const buffer = Buffer.from(bytes);
  assert.equal(utf8Text(buffer, 0, buffer.length) !== undefined, valid);
}
