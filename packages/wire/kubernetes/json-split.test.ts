import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { KubernetesWireError } from "./errors.ts";
import { readJson } from "./json-read.ts";
import { DocumentSplitter, ListSplitter } from "./json-split.ts";

const LIMITS = { maxObjectBytes: 1 << 20, maxFrameBytes: 1 << 16 };

interface Seen {
  head: string;
  elements: string[];
  tail: string;
  document: string | undefined;
}

function splitList(text: string, cuts: readonly number[], isList = true, limits = LIMITS): Seen {
  const seen: Seen = { head: "", elements: [], tail: "", document: undefined };
  const splitter = new ListSplitter(
    {
      head: (bytes) => {
        seen.head = bytes.toString();
        return isList;
      },
      element: (bytes) => void seen.elements.push(bytes.toString()),
      tail: (bytes) => {
        seen.tail = bytes.toString();
      },
      document: (bytes) => {
        seen.document = bytes.toString();
      },
    },
    limits,
  );
  for (const part of chunks(text, cuts)) splitter.push(part);
  splitter.end();
  return seen;
}

function chunks(text: string, cuts: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text);
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length].map((end, index) => bytes.subarray(places[index - 1] ?? 0, end));
}

/** Read by readJson: V8 may take one name for another (json-read.ts). */
function compact(text: string): string {
  return JSON.stringify(readJson(text));
}

const nasty = fc.oneof(
  fc.constantFrom('"', "\\", '\\"', "}{", "][", '"items":[', ",", "\u00e9", "\ud83d\ude00", "\\\\"),
  fc.string(),
);
const value = fc.oneof(
  nasty,
  fc.integer(),
  fc.constant(null),
  fc.array(nasty, { maxLength: 3 }),
  fc.dictionary(nasty, nasty, { maxKeys: 3 }),
);
const object = fc.dictionary(nasty, value, { maxKeys: 4 });
const cuts = fc.array(fc.nat(4000), { maxLength: 12 });

describe("lists", () => {
  it("come apart into exactly their elements, however they arrive", () => {
    fc.assert(
      fc.property(
        fc.array(object, { maxLength: 6 }),
        object,
        cuts,
        fc.boolean(),
        (items, metadata, at, pretty) => {
          const list = { kind: "PodList", metadata, items, after: 1 };
          const text = JSON.stringify(list, null, pretty ? 2 : 0);
          const seen = splitList(text, at);
          assert.deepEqual(
            seen.elements.map(compact),
            items.map((one) => JSON.stringify(one)),
          );
          assert.equal(seen.document, undefined);
          assert.match(seen.head, /"items": ?\[$/);
          assert.equal(
            compact(`${seen.head}${seen.elements.join(",")}${seen.tail}`),
            JSON.stringify(list),
          );
        },
      ),
    );
  });

  it("come in runs where they came together, with one comma between two of them", () => {
    fc.assert(
      fc.property(fc.array(object, { maxLength: 9 }), cuts, fc.boolean(), (items, at, isTaken) => {
        const text = JSON.stringify({ items });
        const got: string[] = [];
        let rows = 0;
        const sink = {
          head: () => true,
          element(bytes: Buffer) {
            rows++;
            got.push(bytes.toString());
          },
          run(bytes: Buffer, count: number) {
            assert.equal(JSON.parse(`[${bytes}]`).length, count);
            if (!isTaken) return false;
            rows += count;
            got.push(bytes.toString());
            return true;
          },
          tail: () => undefined,
          document: () => assert.fail("it is a list"),
        };
        const splitter = new ListSplitter(sink, LIMITS);
        for (const part of chunks(text, at)) splitter.push(part);
        splitter.end();
        assert.equal(rows, items.length);
        assert.equal(`{"items":[${got.join(",")}]}`, text);
      }),
    );
  });

  it("that are none come whole", () => {
    fc.assert(
      fc.property(object, cuts, (inner, at) => {
        const text = JSON.stringify({
          kind: "Pod",
          spec: { items: [inner], rows: [1] },
          list: [inner],
        });
        assert.equal(splitList(text, at).document, text);
      }),
    );
    const declined = JSON.stringify({ kind: "Odd", items: [{ a: 1 }], data: {} });
    assert.equal(splitList(declined, [5, 20], false).document, declined);
  });

  for (const text of [
    '{"items":["a"]}',
    '{"items":[1]}',
    '{"items":[[{}]]}',
    '{"items":[{}',
    '{"items":[{}{}]}',
    '{"items":[{},,{}]}',
    '{"items":[,{}]}',
    '{"items":[{"a":01}]}',
    '{"items":[{"a":"',
  ])
    it(`refuses ${text}`, () => {
      assert.throws(() => splitList(text, []), KubernetesWireError);
    });

  it("refuse an element beyond the limit before it is complete", () => {
    const limits = { maxObjectBytes: 100, maxFrameBytes: 100 };
    const sink = {
      head: () => true,
      element: () => undefined,
      tail: () => undefined,
      document: () => undefined,
    };
    const splitter = new ListSplitter(sink, limits);
    splitter.push(Buffer.from('{"items":[{"a":"'));
    assert.throws(() => splitter.push(Buffer.alloc(200, 0x61)), KubernetesWireError);
  });
});

describe("watches", () => {
  it("come apart into exactly their events, however they arrive", () => {
    fc.assert(
      fc.property(fc.array(object, { maxLength: 6 }), cuts, (events, at) => {
        const seen: string[] = [];
        const splitter = new DocumentSplitter((bytes) => void seen.push(bytes.toString()), LIMITS);
        const text = events.map((event) => `${JSON.stringify(event)}\n`).join("");
        for (const part of chunks(text, at)) splitter.push(part);
        splitter.end();
        assert.deepEqual(
          seen,
          events.map((event) => JSON.stringify(event)),
        );
      }),
    );
  });

  for (const text of ["x", "}", '{} "a" {}', "{}]"])
    it(`refuse ${text}`, () => {
      const splitter = new DocumentSplitter(() => undefined, LIMITS);
      assert.throws(() => splitter.push(Buffer.from(text)), KubernetesWireError);
    });

  it("refuse to end within an event", () => {
    const splitter = new DocumentSplitter(() => undefined, LIMITS);
    splitter.push(Buffer.from('{"type":"ADDED"'));
    assert.throws(() => splitter.end(), KubernetesWireError);
  });
});
