import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { dataRow } from "./backend.ts";
import { dataRowFields, rewriteDataRow } from "./data-row.ts";

const value = fc.option(fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)));
const replacement = fc.oneof(fc.constant(undefined), value);

test("a rewritten row is the row of the new values, wherever it lies", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(value, replacement), { maxLength: 20 }),
      fc.nat({ max: 9 }),
      (columns, offset) => {
        const row = dataRow(columns.map(([before]) => before));
        const buffer = Buffer.concat([Buffer.alloc(offset, 0xff), row, Buffer.alloc(9, 0xff)]);
        const seen: (Buffer | null)[] = [];
        const rewritten = rewriteDataRow(
          buffer,
          offset,
          offset + row.length,
          (column, at, length) => {
            assert.equal(column, seen.length);
            seen.push(length < 0 ? null : buffer.subarray(at, at + length));
            return columns[column]?.[1];
          },
        );
        assert.deepEqual(
          seen,
          columns.map(([before]) => before),
        );
        const expected = columns.map(([before, after]) => (after === undefined ? before : after));
        assert.deepEqual(rewritten, dataRow(expected));
      },
    ),
  );
});

test("a row that keeps its values is not copied", () => {
  const row = dataRow(["a", null, ""]);
  const kept = rewriteDataRow(row, 0, row.length, () => undefined);
  assert.equal(kept.buffer, row.buffer);
  assert.deepEqual(kept, row);
});

test("more columns than there is room for are refused", () => {
  const row = dataRow(["a", "b"]);
  assert.throws(() => dataRowFields(row, 0, row.length, new Int32Array(3)), { code: "limit" });
  assert.equal(dataRowFields(row, 0, row.length, new Int32Array(4)), 2);
});

test("a row is refused before its values are masked past the end", () => {
  const row = dataRow(["abc", "d"]);
  const cut = row.subarray(0, row.length - 1);
  assert.throws(() => rewriteDataRow(cut, 0, cut.length, () => null), { code: "length" });
  row.writeInt32BE(6, 7);
  assert.throws(() => rewriteDataRow(row, 0, row.length, () => null), { name: "WireError" });
});
