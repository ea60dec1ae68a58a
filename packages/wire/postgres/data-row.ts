// Rows: the hot part of an answer, walked without an object per value and rewritten into buffers that many rows share.
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
 * Asked for a value at its place in `buffer` (length −1: NULL): the new value, null for NULL, or undefined
 * to keep it.
 */
export type ReplaceValue = (
  column: number,
  buffer: Buffer,
  offset: number,
  length: number,
) => Buffer | null | undefined;

/**
 * Writes DataRows with some of their values replaced, one behind the other into blocks of its own, so that
 * a run of rows goes on in one piece. What was written is never written to again: whoever got it may keep
 * it, and one writer serves any number of connections.
 */
export class RowWriter {
  /** The row written last is buffer[start,end). */
  buffer: Buffer = EMPTY;
  start = 0;
  end = 0;
  /** Of the row being written. */
  #at = 0;

  /**
   * `columns`, ascending, are those `replace` is asked for.
   * @throws WireError when the row is not well formed, or has none of such a column.
   */
  write(
    buffer: Buffer,
    start: number,
    end: number,
    columns: readonly number[],
    replace: ReplaceValue,
  ): void {
    const count = dataRowColumns(buffer, start, end);
    this.start = this.end;
    this.#at = this.end;
    this.#reserve(end - start);
    let kept = start;
    let at = start + ROW_HEADER_BYTES;
    let next = 0;
    for (let column = 0; column < count; column++) {
      const length = valueLength(buffer, at, end);
      const after = at + 4 + Math.max(length, 0);
      if (columns[next] === column) {
        next++;
        const replacement = replace(column, buffer, at + 4, length);
        if (replacement !== undefined) {
          this.#copy(buffer, kept, at);
          this.#put(replacement, end - after);
          kept = after;
        }
      }
      at = after;
    }
    if (at !== end) throw new WireError("trailing", `${end - at} bytes after the last column`);
    if (next < columns.length) throw new WireError("truncated", `a row of ${count} columns`);
    this.#copy(buffer, kept, end);
    this.end = this.#at;
    this.buffer.writeInt32BE(this.end - this.start - 1, this.start + 1);
  }

  #copy(buffer: Buffer, from: number, to: number): void {
    buffer.copy(this.buffer, this.#at, from, to);
    this.#at += to - from;
  }

  /** `rest`: bytes of the row that are still to be copied behind it. */
  #put(value: Buffer | null, rest: number): void {
    const length = value === null ? 0 : value.length;
    this.#reserve(4 + length + rest);
    this.buffer.writeInt32BE(value === null ? -1 : length, this.#at);
    this.#at += 4;
    if (value === null) return;
    value.copy(this.buffer, this.#at);
    this.#at += length;
  }

  /** Room for so much of the row behind what is written of it; the row moves to where it has it. */
  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.buffer.length) return;
    const { buffer, start } = this;
    const written = this.#at - start;
    if (written + bytes > MAX_FRAME_BYTES)
      throw new WireError("limit", "the rewritten row is too long");
    this.buffer = Buffer.allocUnsafeSlow(Math.max(written + bytes, BLOCK_BYTES));
    this.start = 0;
    buffer.copy(this.buffer, 0, start, start + written);
    this.#at = written;
  }
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
/** Small ones cost more to make than to fill; one is kept alive by whoever still has a row in it. */
const BLOCK_BYTES = 1 << 16;
const EMPTY = Buffer.alloc(0);
