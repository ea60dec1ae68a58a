import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { KubernetesWireError } from "./errors.ts";
import { JsonScanner } from "./json-scan.ts";

/** How much of it one object or array is; undefined: it is none. In pieces of so many bytes. */
function scanned(bytes: Buffer, size: number): number | undefined {
  const scanner = new JsonScanner();
  try {
    for (let from = 0; from < bytes.length; from += size) {
      const piece = bytes.subarray(from, from + size);
      const end = scanner.read(piece, 0);
      if (!scanner.isWithin) return from + end;
      assert.equal(end, piece.length);
    }
  } catch (thrown) {
    assert.ok(thrown instanceof KubernetesWireError);
  }
  return undefined;
}

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString("latin1"));
    return true;
  } catch {
    return false;
  }
}

const sizes = fc.constantFrom(1, 2, 3, 7, 64, 1 << 20);
const text = fc.string({ unit: "grapheme", maxLength: 120 });
const document = fc
  .oneof(
    fc.array(fc.jsonValue()),
    fc.dictionary(fc.constantFrom("a", "b", "items"), fc.jsonValue()),
  )
  .chain((value) => fc.constantFrom(JSON.stringify(value), JSON.stringify(value, null, 1)));

describe("an object or array", () => {
  it("is read to exactly its end, however it arrives", () => {
    fc.assert(
      fc.property(document, text, sizes, (written, after, size) => {
        const bytes = Buffer.from(written);
        assert.equal(scanned(Buffer.concat([bytes, Buffer.from(after)]), size), bytes.length);
      }),
    );
  });

  it("is one exactly when JSON.parse takes it: any byte of it another one, left out or twice", () => {
    const bytes = fc.constantFrom(
      ...Buffer.from('"\\{}[],:0123456789.eE+-tfnula \n\t\u0001\u001f/bu\u00ff', "latin1"),
    );
    fc.assert(
      fc.property(
        document,
        fc.nat(),
        bytes,
        fc.nat(2),
        sizes,
        (written, place, byte, how, size) => {
          const whole = Buffer.from(written, "latin1");
          const at = 1 + (place % (whole.length - 1));
          const other = Buffer.concat([
            whole.subarray(0, at),
            how === 0 ? Buffer.alloc(0) : Buffer.from([byte]),
            whole.subarray(how === 2 ? at : at + 1),
          ]);
          const end = scanned(other, size);
          // What comes after its end is not the scanner's.
          if (end === undefined) assert.equal(isJson(other), false);
          else assert.equal(isJson(other.subarray(0, end)), true);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("has no control character and no false escape in a string, wherever in a long one it is", () => {
    for (let length = 40; length < 80; length++)
      for (const wrong of ["\u0000", "\u001f", "\n", "\\x", "\\u12g4"]) {
        const bytes = Buffer.from(`{"a":"${"x".repeat(length)}${wrong}${"y".repeat(9)}"}`);
        assert.equal(scanned(bytes, 1 << 20), undefined);
        assert.equal(scanned(bytes, 5), undefined);
      }
  });

  for (const written of [
    "[01]",
    "[1.]",
    "[.5]",
    "[1e]",
    "[-]",
    "[+1]",
    "[tru]",
    "[nulll]",
    "{1:2}",
  ])
    it(`is not ${written}`, () => {
      assert.equal(scanned(Buffer.from(written), 3), undefined);
    });

  it("nests as deeply as Go's reader goes, and no deeper", () => {
    const nested = (depth: number) => Buffer.from("[".repeat(depth) + "]".repeat(depth));
    assert.equal(scanned(nested(10_000), 4096), 20_000);
    assert.equal(scanned(nested(10_001), 4096), undefined);
  });
});
