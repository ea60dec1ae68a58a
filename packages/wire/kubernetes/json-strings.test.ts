import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { hasMoreValues, StringEnds } from "./json-strings.ts";

/** A text that counts how often its characters are looked at. */
function counted(text: string) {
  let looks = 0;
  const target = {
    length: text.length,
    charCodeAt(at: number) {
      looks += 1;
      return text.charCodeAt(at);
    },
    indexOf(wanted: string, from: number) {
      const at = text.indexOf(wanted, from);
      looks += (at < 0 ? text.length : at) + 1 - from;
      return at;
    },
  };
  return { text: target as unknown as string, looks: () => looks };
}

function valuesOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1;
  return Object.values(value).reduce((sum, one) => sum + valuesOf(one), 1);
}

describe("strings of JSON", () => {
  it("end where their quote is", () => {
    for (const [text, within, end] of [
      ['"a"', 1, 3],
      ['"a\\"b"', 1, 6],
      ['"a\\"b"', 2, 6],
      ['"\\\\"', 1, 4],
      ['"', 1, 1],
      ['"a', 1, 2],
      ['"a\\', 1, 3],
      ['"a\\"', 1, 4],
    ] as const)
      assert.equal(new StringEnds(text).from(within), end, text);
  });

  it("are found in a few looks at each character, whatever they are made of", () => {
    for (const text of [
      `"${"\\\\".repeat(50_000)}"`,
      `"${'\\"'.repeat(50_000)}"`,
      `[${'"",'.repeat(30_000)}"\\\\"]`,
      `[${'"\\\\",'.repeat(30_000)}""]`,
      `"${"a".repeat(100_000)}`,
      '"\\'.repeat(50_000),
    ]) {
      const { looks, text: read } = counted(text);
      const ends = new StringEnds(read);
      let strings = 0;
      for (let at = text.indexOf('"'); at >= 0; at = text.indexOf('"', at)) {
        at = ends.from(at + 1);
        strings++;
      }
      assert.ok(strings > 0);
      assert.ok(looks() <= 3 * text.length, `${looks()} looks at ${text.slice(0, 20)}`);
    }
  });
});

describe("values of JSON", () => {
  it("are more than a number exactly when they are", () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.integer({ min: 1, max: 20 }),
        fc.constantFrom(undefined, 1),
        (value, most, space) => {
          const text = JSON.stringify(value, null, space);
          const count = valuesOf(value);
          // An empty list or object is counted with what could be in it.
          const empty =
            text.replaceAll(/"(?:[^"\\]|\\.)*"/g, "").match(/\[\s*\]|\{\s*\}/g)?.length ?? 0;
          const found = hasMoreValues(text, most);
          if (count > most) assert.equal(found, true);
          if (count + empty <= most) assert.equal(found, false);
        },
      ),
    );
  });

  it("are counted outside strings, in a few looks at each character", () => {
    const text = `{"a":"${'[{,\\"'.repeat(20_000)}","b":[1,2]}`;
    assert.equal(hasMoreValues(text, 5), false);
    assert.equal(hasMoreValues(text, 4), true);
    const { looks, text: read } = counted(text);
    assert.equal(hasMoreValues(read, 100), false);
    assert.ok(looks() <= 3 * text.length);
  });
});
