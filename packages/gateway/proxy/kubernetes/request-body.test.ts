import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { bodyFacts } from "./body-facts.ts";
import { readBody } from "./request-body.ts";

const JSON_PATCH = "application/json-patch+json";
const YAML = "application/yaml";

function patch(count: number, path: (index: number) => string): string {
  return JSON.stringify(
    Array.from({ length: count }, (_, index) => ({ op: "add", path: path(index), value: "x" })),
  );
}

const read = (text: string, type = "application/json") => readBody(Buffer.from(text), type);

describe("a body", () => {
  it("has no more values than can be looked at in one turn, and what is text in it is none", () => {
    assert.throws(() => read(`{"a":[${"[],".repeat(100_000)}1]}`), /more than 100000 values/);
    const text = `{"a":"${"[,{".repeat(100_000)}"}`;
    assert.equal(read(text).bytes?.toString(), text);
  });

  it("of a patch has no more operations than can be judged in one turn, and no longer paths", () => {
    assert.throws(
      () =>
        read(
          patch(2001, () => "/a"),
          JSON_PATCH,
        ),
      /more than 2000 operations/,
    );
    assert.throws(
      () =>
        read(
          patch(1000, () => "/a".repeat(20)),
          JSON_PATCH,
        ),
      /paths of the patch are too long/,
    );
  });

  it("of a patch says the labels it writes, the last ones, and that there are more", () => {
    const { labels } = bodyFacts(
      read(
        patch(2000, (index) => `/metadata/labels/a${index}`),
        JSON_PATCH,
      ),
    );
    assert.ok(labels.length < 1000);
    assert.deepEqual([labels[0], labels.at(-1)], ["a0=x", "…"]);
    const written = [
      { op: "add", path: "/metadata/labels", value: { a: "1", b: "1" } },
      { op: "add", path: "/metadata/labels/a", value: "2" },
    ];
    assert.deepEqual(bodyFacts(read(JSON.stringify(written), JSON_PATCH)).labels, ["a=2", "b=1"]);
  });

  it("in YAML has no more in it than can be read in one turn", () => {
    assert.throws(() => read(`a:\n${"- a\n".repeat(20_000)}`, YAML), /write it as JSON/);
    assert.throws(() => read(`a: [${"a,".repeat(20_000)}]`, YAML), /write it as JSON/);
    assert.deepEqual(read(`a: |\n${"  text and more of it\n".repeat(1000)}`, YAML).value, {
      a: "text and more of it\n".repeat(1000),
    });
  });

  it("in YAML has texts as names, each once in its object", () => {
    assert.deepEqual(read("a: { b: 1, c: { b: 2 } }\nb: 3\n", YAML).value, {
      a: { b: 1, c: { b: 2 } },
      b: 3,
    });
    for (const text of ["a: 1\nb: { c: 1, d: 1, c: 2 }\n", "1: a\n'1': b\n", "? [a]\n: 1\n"])
      assert.throws(() => read(text, YAML), /not one YAML document/, text);
  });
});
