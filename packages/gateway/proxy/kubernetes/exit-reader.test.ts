import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ExitReader } from "./exit-reader.ts";

const status = (value: unknown) => Buffer.from(JSON.stringify(value));
const failed = status({
  ...{ kind: "Status", status: "Failure", reason: "NonZeroExitCode" },
  details: { causes: [{ reason: "ExitCode", message: "7" }] },
});

function codeOf(...pieces: readonly Buffer[]): number | undefined {
  const reader = new ExitReader();
  for (const piece of pieces) reader.read(piece);
  return reader.code;
}

describe("the end of a process", () => {
  it("has the code its Status says", () => {
    assert.equal(codeOf(status({ status: "Success" })), 0);
    assert.equal(codeOf(failed), 7);
    assert.equal(codeOf(failed.subarray(0, 20), failed.subarray(20)), 7);
    for (const other of ["", "{", "[]", "1", '{"status":"Failure"}', '{"details":{"causes":[1]}}'])
      assert.equal(codeOf(Buffer.from(other)), undefined, other);
  });

  it("is read once, in however many pieces and of whatever length it comes", (t) => {
    const parse = t.mock.method(JSON, "parse");
    const reader = new ExitReader();
    for (let at = 0; at < failed.length; at++) reader.read(failed.subarray(at, at + 1));
    assert.deepEqual([reader.code, reader.code], [7, 7]);
    assert.equal(codeOf(failed, Buffer.alloc(1 << 20, " ")), 7);
    assert.equal(parse.mock.callCount(), 2);
  });
});
