import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { dataRow } from "./backend.ts";
import { dataRowFields, RowWriter } from "./data-row.ts";

const value = fc.option(fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)));
const replacement = fc.oneof(fc.constant(undefined), value);

const rowOf = fc.array(fc.tuple(value, replacement), { maxLength: 20 });

const writer = new RowWriter();

test("rewritten rows are the rows of the new values, wherever they lie, one behind the other", () => {
  fc.assert(
    fc.property(fc.array(rowOf, { maxLength: 8 }), (rows) => {
      const written: Buffer[] = [];
      for (const columns of rows) {
        const row = dataRow(columns.map(([before]) => before));
        const buffer = Buffer.concat([Buffer.alloc(3, 0xff), row, Buffer.alloc(9, 0xff)]);
        const asked = columns.flatMap(([, after], column) => (after === undefined ? [] : [column]));
        const seen: (Buffer | null)[] = [];
        writer.write(buffer, 3, 3 + row.length, asked, (column, from, at, length) => {
          seen.push(length < 0 ? null : from.subarray(at, at + length));
          return columns[column]?.[1];
        });
        assert.deepEqual(
          seen,
          asked.map((column) => columns[column]?.[0]),
        );
        written.push(writer.buffer.subarray(writer.start, writer.end));
      }
      // Looked at last: no row is written over by a later one.
      for (const [index, columns] of rows.entries())
        assert.deepEqual(
          written[index],
          dataRow(columns.map(([before, after]) => (after === undefined ? before : after))),
        );
    }),
  );
});

test("rows share a block, side by side, until the next one", () => {
  const long = dataRow(["a", Buffer.alloc(30_000), "b"]);
  writer.write(long, 0, long.length, [0], () => Buffer.alloc(40_000, 1));
  const { buffer, end } = writer;
  assert.equal(end, 70_000 + 7 + 3 * 4 + 1);
  const row = dataRow(["a", "secret", "b"]);
  writer.write(row, 0, row.length, [1], () => Buffer.from("***"));
  assert.notEqual(writer.buffer, buffer);
  const first = writer.buffer;
  const after = writer.end;
  writer.write(row, 0, row.length, [1], () => undefined);
  assert.equal(writer.buffer, first);
  assert.equal(writer.start, after);
  assert.deepEqual(first.subarray(0, after), dataRow(["a", "***", "b"]));
});

test("a row without a column that is to be masked is refused", () => {
  const row = dataRow(["a"]);
  assert.throws(() => writer.write(row, 0, row.length, [1], () => null), { code: "truncated" });
});

test("more columns than there is room for are refused", () => {
  const row = dataRow(["a", "b"]);
  assert.throws(() => dataRowFields(row, 0, row.length, new Int32Array(3)), { code: "limit" });
  assert.equal(dataRowFields(row, 0, row.length, new Int32Array(4)), 2);
});

test("a row is refused before its values are masked past the end", () => {
  const row = dataRow(["abc", "d"]);
  const cut = row.subarray(0, row.length - 1);
  const write = (bytes: Buffer) => writer.write(bytes, 0, bytes.length, [0, 1], () => null);
  assert.throws(() => write(cut), { code: "length" });
  row.writeInt32BE(6, 7);
  assert.throws(() => write(row), { name: "WireError" });
});
