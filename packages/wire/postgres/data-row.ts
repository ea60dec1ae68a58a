// Rows: the hot part of an answer, walked without an object per value and rewritten in one allocation.
// PostgreSQL documentation, section 54.7 "DataRow": a count, then for each column a length and that
// many bytes, −1 for NULL. No length is believed beyond the frame's end.

import { BACKEND } from "./backend.ts";
import { WireError } from "./errors.ts";
import { FRAME_HEADER_BYTES } from "./frames.ts";

/**
 * Where the values of a DataRow are: out[2i] the offset in `buffer`, out[2i+1] the length, −1 for
 * NULL. Returns the number of columns; allocates nothing.
 * @throws WireError "limit" when `out` is too short for the columns.
 */
export function dataRowFields(buffer: Buffer, start: number, end: number, out: Int32Array): number {
  const count = dataRowColumns(buffer, start, end);
  if (count * 2 > out.length) throw new WireError("limit", `a row of ${count} columns`);
  let at = start + ROW_HEADER_BYTES;
  for (let column = 0; column < count; column++) {
    const length = valueLength(buffer, at, end);
    at += 4;
    out[column * 2] = at;
    out[column * 2 + 1] = length;
    if (length > 0) at += length;
  }
  if (at !== end) throw new WireError("trailing", `${end - at} bytes after the last column`);
  return count;
}

/**
 * The DataRow with some of its values replaced. `replace` is asked for each column, with the value's
 * place in `buffer` (length −1: NULL), and answers the new value, null for NULL or undefined to keep
 * it. The result is a view of the original when all are kept, otherwise a new frame.
 */
export function rewriteDataRow(
  buffer: Buffer,
  start: number,
  end: number,
  replace: (column: number, offset: number, length: number) => Buffer | null | undefined,
): Buffer {
  const count = dataRowColumns(buffer, start, end);
  const replacements: (Buffer | null | undefined)[] = [];
  let bytes = end - start;
  let changed = false;
  let at = start + ROW_HEADER_BYTES;
  for (let column = 0; column < count; column++) {
    const length = valueLength(buffer, at, end);
    at += 4;
    const replacement = replace(column, at, length);
    replacements.push(replacement);
    if (replacement !== undefined) {
      changed = true;
      bytes += (replacement === null ? 0 : replacement.length) - Math.max(length, 0);
    }
    if (length > 0) at += length;
  }
  if (at !== end) throw new WireError("trailing", `${end - at} bytes after the last column`);
  if (!changed) return buffer.subarray(start, end);
  if (bytes > MAX_FRAME_BYTES) throw new WireError("limit", "the rewritten row is too long");
  return rebuiltRow(buffer, start, bytes, replacements);
}

function rebuiltRow(
  buffer: Buffer,
  start: number,
  bytes: number,
  replacements: readonly (Buffer | null | undefined)[],
): Buffer {
  const row = Buffer.allocUnsafe(bytes);
  buffer.copy(row, 0, start, start + ROW_HEADER_BYTES);
  row.writeInt32BE(bytes - 1, 1);
  let from = start + ROW_HEADER_BYTES;
  let to = ROW_HEADER_BYTES;
  for (const replacement of replacements) {
    const kept = 4 + Math.max(buffer.readInt32BE(from), 0);
    if (replacement === undefined) {
      to += buffer.copy(row, to, from, from + kept);
    } else {
      to = row.writeInt32BE(replacement === null ? -1 : replacement.length, to);
      if (replacement !== null) to += replacement.copy(row, to);
    }
    from += kept;
  }
  return row;
}

/** Checks the header of a DataRow and gives its number of columns. */
function dataRowColumns(buffer: Buffer, start: number, end: number): number {
  if (start < 0 || end > buffer.length || end - start < ROW_HEADER_BYTES) {
    throw new WireError("truncated", "a row without a column count");
  }
  if (buffer[start] !== BACKEND.dataRow) throw new WireError("type", "not a DataRow");
  if (buffer.readInt32BE(start + 1) !== end - start - 1) {
    throw new WireError("length", "the row's length is not its frame's");
  }
  return buffer.readUInt16BE(start + FRAME_HEADER_BYTES);
}

function valueLength(buffer: Buffer, at: number, end: number): number {
  if (end - at < 4) throw new WireError("truncated", "the row ends inside a length");
  const length = buffer.readInt32BE(at);
  if (length < -1) throw new WireError("length", `value of length ${length}`);
  if (length > end - at - 4) throw new WireError("truncated", "the row ends inside a value");
  return length;
}

const ROW_HEADER_BYTES = FRAME_HEADER_BYTES + 2;
const MAX_FRAME_BYTES = 0x7fffffff;
