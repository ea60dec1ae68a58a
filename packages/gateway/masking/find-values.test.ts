import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Find, findAddress, findCardNumber, findWebToken } from "./find-values.ts";

/** Each way of finding, its pattern, and what texts that look like it are made of. */
const WAYS: readonly { find: Find; pattern: RegExp; parts: readonly string[] }[] = [
  {
    find: findWebToken,
    pattern: /\beyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,2048}/g,
    parts: ["eyJ", "eyJ-", ".", ".eyJ", "a".repeat(7), "a", "_", " ", "b".repeat(4090)],
  },
  {
    find: findAddress,
    pattern: /[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}/g,
    parts: ["@", ".", "a", "-", "+", " ", "b".repeat(62), ".c.d.e.f.g.h", "%"],
  },
];

function placesBy(find: Find, text: string): string[] {
  const places: string[] = [];
  for (let from = 0; ; ) {
    const place = find(text, from, text.length);
    if (place === undefined) return places;
    places.push(`${place.start} ${place.end}`);
    from = place.end;
  }
}

test("what is found is what the pattern finds", () => {
  for (const { find, parts, pattern } of WAYS)
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...parts), { maxLength: 24 }).map((list) => list.join("")),
        (text) => {
          const wanted = [...text.matchAll(pattern)].map(
            ({ 0: found, index }) => `${index} ${index + found.length}`,
          );
          assert.deepEqual(placesBy(find, text), wanted);
        },
      ),
      { numRuns: 300 },
    );
});

test("a card's number is found as its pattern and its check digit say", () => {
  const candidate = /(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])/g;
  const alone =
    /^(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{5})(?![0-9])/;
  const checks = (written: string) => {
    const digits = written.replaceAll(/[ -]/g, "");
    const sum = [...digits].reverse().reduce((before, digit, index) => {
      const value = index % 2 === 1 ? Number(digit) * 2 : Number(digit);
      return before + (value > 9 ? value - 9 : value);
    }, 0);
    return sum % 10 === 0 && !/^(.)\1*$/.test(digits);
  };
  const lengthOf = (found: string) => {
    if (checks(found)) return found.length;
    const first = alone.exec(found)?.[0];
    return first !== undefined && checks(first) ? first.length : 0;
  };
  const parts = ["4242", "4242424242424242", "378282246310005", "0", "1", " ", "-", "x", "2026"];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...parts), { maxLength: 16 }), (list) => {
      const text = list.join("");
      const wanted: string[] = [];
      candidate.lastIndex = 0;
      for (let match = candidate.exec(text); match !== null; match = candidate.exec(text)) {
        const length = lengthOf(match[0]);
        candidate.lastIndex = match.index + Math.max(1, length);
        if (length > 0) wanted.push(`${match.index} ${match.index + length}`);
      }
      assert.deepEqual(placesBy(findCardNumber, text), wanted);
    }),
    { numRuns: 1000 },
  );
});

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
      looks += (at < 0 ? text.length : at) - from;
      return at;
    },
    slice: (from: number, to: number) => text.slice(from, to),
  };
  return { text: target as unknown as string, looks: () => looks };
}

test("no text has its characters looked at more than a few times each", () => {
  for (const { find, text, most } of [
    { find: findWebToken, text: "eyJ-".repeat(10_000), most: 4 },
    {
      find: findWebToken,
      text: `${"eyJ-".repeat(1000)}.${"eyJ-".repeat(2000)} `.repeat(8),
      most: 8,
    },
    { find: findWebToken, text: "a.eyJ".repeat(8000), most: 8 },
    { find: findAddress, text: `${"a".repeat(63)}@`.repeat(600), most: 8 },
    { find: findAddress, text: "a@".repeat(20_000), most: 8 },
    { find: findCardNumber, text: "1 ".repeat(20_000), most: 80 },
  ]) {
    const { text: seen, looks } = counted(text);
    placesBy(find, seen);
    assert.ok(looks() <= most * text.length, `${looks()} looks at ${text.length} characters`);
  }
});
