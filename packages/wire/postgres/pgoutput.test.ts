import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WireError } from "./errors.ts";
import { copyData } from "./frontend.ts";
import { createPgoutputReader } from "./pgoutput.ts";

const xlog = (payload: Buffer) =>
  copyData(Buffer.concat([Buffer.from("w"), Buffer.alloc(24), payload]));
const u32 = (value: number) => {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
};
const relation = (oid: number, columns: readonly string[], before = Buffer.alloc(0)) =>
  Buffer.concat([
    Buffer.from("R"),
    before,
    u32(oid),
    Buffer.from("public\0items\0d"),
    Buffer.of(0, columns.length),
    ...columns.map((name) =>
      Buffer.concat([Buffer.of(1), Buffer.from(`${name}\0`), u32(23), u32(0xffffffff)]),
    ),
  ]);
const rows = (letter: string, oid: number, before = Buffer.alloc(0)) =>
  Buffer.concat([Buffer.from(letter), before, u32(oid), Buffer.from("N"), Buffer.of(0, 0)]);

function readAll(...payloads: readonly Buffer[]) {
  const reader = createPgoutputReader();
  return payloads.map((payload) => {
    const frame = xlog(payload);
    return reader.read(frame, 0, frame.length);
  });
}

describe("a stream of pgoutput", () => {
  test("names the relations rows are of, with their columns", () => {
    const begin = Buffer.concat([Buffer.from("B"), Buffer.alloc(20)]);
    const commit = Buffer.concat([Buffer.from("C"), Buffer.alloc(25)]);
    const truncate = Buffer.concat([Buffer.from("T"), u32(2), Buffer.of(0), u32(7), u32(8)]);
    assert.deepEqual(
      readAll(
        ...[begin, relation(7, ["id", "name"]), rows("I", 7), rows("U", 7), rows("D", 7)],
        ...[truncate, Buffer.from("M…"), commit],
      ),
      [
        { kind: "other" },
        { kind: "relation", oid: 7, schema: "public", name: "items", columns: ["id", "name"] },
        { kind: "rows", oids: [7] },
        { kind: "rows", oids: [7] },
        { kind: "rows", oids: [7] },
        { kind: "rows", oids: [7, 8] },
        { kind: "message" },
        { kind: "other" },
      ],
    );
  });

  test("has the transaction in front inside a block of a streamed one", () => {
    const xid = u32(4711);
    const start = Buffer.concat([Buffer.from("S"), xid, Buffer.of(1)]);
    assert.deepEqual(
      readAll(start, relation(9, ["a"], xid), rows("I", 9, xid), Buffer.from("E"), rows("I", 5)),
      [
        { kind: "other" },
        { kind: "relation", oid: 9, schema: "public", name: "items", columns: ["a"] },
        { kind: "rows", oids: [9] },
        { kind: "other" },
        { kind: "rows", oids: [5] },
      ],
    );
  });

  test("is nothing another plugin sends, and no message cut short or too long", () => {
    for (const payload of [
      Buffer.from("table public.items: INSERT: id[integer]:1"),
      Buffer.from('{"change":[]}'),
      Buffer.from("BEGIN 751"),
      Buffer.from("COMMIT 751"),
      Buffer.from(""),
      relation(7, ["id"]).subarray(0, -1),
      Buffer.concat([relation(7, ["id"]), Buffer.of(0)]),
      Buffer.concat([Buffer.from("T"), u32(0xffffffff), Buffer.of(0)]),
    ])
      assert.throws(() => readAll(payload), WireError, payload.toString());
    const reader = createPgoutputReader();
    const keepalive = copyData(Buffer.concat([Buffer.from("k"), Buffer.alloc(17)]));
    assert.deepEqual(reader.read(keepalive, 0, keepalive.length), { kind: "other" });
    const neither = copyData(Buffer.from("n"));
    assert.throws(() => reader.read(neither, 0, neither.length), WireError);
  });
});
