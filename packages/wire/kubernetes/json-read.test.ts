import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { readJson } from "./json-read.ts";

const name = fc.oneof(
  fc.string(),
  fc
    .array(fc.constantFrom("\\", '"', "a", "Z", "\n", "\u00e9", "u0061", ",", "{", ":"), {
      minLength: 1,
      maxLength: 3,
    })
    .map((parts) => parts.join("")),
);
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.oneof(name, fc.integer(), fc.double({ noNaN: true }), fc.boolean(), fc.constant(null)),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.array(fc.tuple(name, tie("value")), { maxLength: 4 }).map((pairs) => {
      const object = {};
      for (const [key, one] of pairs)
        Object.defineProperty(object, key, { value: one, enumerable: true, configurable: true });
      return object;
    }),
  ),
}));

describe("JSON", () => {
  it("has the names that are written, whatever was read before", () => {
    for (const [before, written, isRead] of [
      [String.raw`{"x1":1,"d\\u0":1}`, String.raw`{"x1":1,"d\u0061ta":2}`, '{"x1":1,"data":2}'],
      [String.raw`{"x2":[],"\\":0}`, String.raw`{"x2":1,"\"":2}`, String.raw`{"x2":1,"\"":2}`],
      [
        String.raw`[{"x3":1,"a\\":1}]`,
        String.raw`{"x3":1,"a\"" : 1}`,
        String.raw`{"x3":1,"a\"":1}`,
      ],
    ] as const) {
      readJson(before);
      assert.equal(JSON.stringify(readJson(written)), isRead);
    }
  });

  it("comes back as it was written", () => {
    fc.assert(
      fc.property(value, fc.constantFrom(0, 1, "\t"), (one, space) => {
        const read = readJson(JSON.stringify(one, null, space));
        assert.equal(JSON.stringify(read), JSON.stringify(one));
      }),
      { numRuns: 2000 },
    );
  });

  it("is refused where V8 refuses it", () => {
    const change = fc.record({
      at: fc.nat(),
      put: fc.constantFrom("", "\\", '"', ",", "}", "]", "0", "\n"),
    });
    fc.assert(
      fc.property(value, change, (one, { at, put }) => {
        const whole = JSON.stringify({ '"': one });
        const place = at % whole.length;
        const text = whole.slice(0, place) + put + whole.slice(place + 1);
        assert.equal(
          isRefused(() => readJson(text)),
          isRefused(() => JSON.parse(text)),
          text,
        );
      }),
      { numRuns: 2000 },
    );
  });

  it("keeps numbers as they are written, where that is asked for", () => {
    const ofNumber = (_value: number, source: string) => `<${source}>`;
    for (const key of ["a", String.raw`\u0061`])
      assert.deepEqual(readJson(`{"${key}":[1.50,-0,1e3,"1",true]}`, ofNumber), {
        a: ["<1.50>", "<-0>", "<1e3>", "1", true],
      });
  });

  it("of a name given twice has the last value, and a prototype is a name", () => {
    const read = readJson(String.raw`{"\u0061":1,"__proto__":{"b":1},"a":2}`) as object;
    assert.equal(JSON.stringify(read), '{"a":2,"__proto__":{"b":1}}');
    assert.equal(Object.getPrototypeOf(read), Object.prototype);
  });

  it("that is nested without an end is refused", () => {
    const deep = (depth: number) => `{"\\u0061":${"[".repeat(depth)}${"]".repeat(depth)}}`;
    assert.ok(readJson(deep(900)));
    assert.throws(() => readJson(deep(1_000_000)), RangeError);
  });
});

function isRefused(read: () => unknown): boolean {
  try {
    read();
    return false;
  } catch (thrown) {
    assert.ok(thrown instanceof SyntaxError);
    return true;
  }
}
