// Reading and writing the fields of one message. A reader is a position in a frame that cannot pass
// the frame's end; a message is read to its last byte or refused (the pgx and PgBouncer length
// confusions, CVE-2024-27304 and CVE-2026-6664, came from believing lengths inside a message).

import { utf8Text } from "../bytes/utf8.ts";
import { WireError } from "./errors.ts";
import { FRAME_HEADER_BYTES } from "./frames.ts";

export class FieldReader {
  readonly buffer: Buffer;
  readonly end: number;
  at: number;

  constructor(buffer: Buffer, at: number, end: number) {
    if (at < 0 || at > end || end > buffer.length) {
      throw new WireError("truncated", "the message ends inside a field");
    }
    this.buffer = buffer;
    this.at = at;
    this.end = end;
  }

  byte(): number {
    return this.buffer[this.#advance(1)]!;
  }

  int16(): number {
    return this.buffer.readInt16BE(this.#advance(2));
  }

  /** Counts are unsigned in PostgreSQL (pq_getmsgint of two bytes). */
  uint16(): number {
    return this.buffer.readUInt16BE(this.#advance(2));
  }

  int32(): number {
    return this.buffer.readInt32BE(this.#advance(4));
  }

  uint32(): number {
    return this.buffer.readUInt32BE(this.#advance(4));
  }

  /** A view of the next `size` bytes. */
  bytes(size: number): Buffer {
    const at = this.#advance(size);
    return this.buffer.subarray(at, at + size);
  }

  /** A view of what is left. */
  rest(): Buffer {
    return this.bytes(this.end - this.at);
  }

  /** A text up to its NUL, which is used up. */
  text(): string {
    const nul = this.#nul();
    const text = nul === this.at ? "" : utf8Text(this.buffer, this.at, nul);
    if (text === undefined) throw new WireError("utf8", "a text is not valid UTF-8");
    this.at = nul + 1;
    return text;
  }

  /**
   * As text(), with U+FFFD for what is not UTF-8: for texts of the server that are only shown. A server
   * sends such before the encoding is agreed, and from SQL_ASCII databases at any time.
   */
  shownText(): string {
    const nul = this.#nul();
    const text = this.buffer.toString("utf8", this.at, nul);
    this.at = nul + 1;
    return text;
  }

  /** A length and that many bytes; −1 is NULL. */
  value(): Buffer | null {
    const size = this.int32();
    if (size === -1) return null;
    if (size < 0) throw new WireError("length", `value of length ${size}`);
    return this.bytes(size);
  }

  /** Refuses a count whose items, `itemBytes` at least each, cannot be in what is left. */
  count(count: number, itemBytes: number): number {
    if (count * itemBytes > this.end - this.at) {
      throw new WireError("truncated", `${count} items announced, the message is shorter`);
    }
    return count;
  }

  /** The message must end here. */
  done(): void {
    if (this.at !== this.end) {
      throw new WireError("trailing", `${this.end - this.at} bytes after the last field`);
    }
  }

  #nul(): number {
    if (this.at < this.end && this.buffer[this.at] === 0) return this.at;
    const nul = this.buffer.indexOf(0, this.at);
    if (nul < 0 || nul >= this.end) throw new WireError("truncated", "a text has no end");
    return nul;
  }

  #advance(size: number): number {
    const at = this.at;
    if (size > this.end - at) throw new WireError("truncated", "the message ends inside a field");
    this.at = at + size;
    return at;
  }
}

/** A reader of the body of the frame buffer[start,end), which must be of `type` and of its own length. */
export function readFrame(buffer: Buffer, start: number, end: number, type: number): FieldReader {
  const reader = new FieldReader(buffer, start, end);
  if (reader.byte() !== type) {
    throw new WireError("type", `message of type ${hex(buffer[start]!)}, not ${hex(type)}`);
  }
  const length = reader.int32();
  if (length !== end - start - 1) throw new WireError("length", `message length ${length}`);
  return reader;
}

/** One frame of `type` with these fields as its body. */
export function writeFrame(type: number, fields: readonly Buffer[]): Buffer {
  let bytes = FRAME_HEADER_BYTES;
  for (const field of fields) bytes += field.length;
  const frame = Buffer.allocUnsafe(bytes);
  frame[0] = type;
  frame.writeInt32BE(bytes - 1, 1);
  let at = FRAME_HEADER_BYTES;
  for (const field of fields) at += field.copy(frame, at);
  return frame;
}

export function byteField(value: number): Buffer {
  return Buffer.of(value);
}

export function int16Field(value: number): Buffer {
  if (value < -0x8000 || value > 0xffff) throw new WireError("limit", `${value} in 16 bits`);
  const field = Buffer.allocUnsafe(2);
  field.writeUInt16BE(value & 0xffff);
  return field;
}

export function int32Field(value: number): Buffer {
  if (value < -0x80000000 || value > 0xffffffff)
    throw new WireError("limit", `${value} in 32 bits`);
  const field = Buffer.allocUnsafe(4);
  field.writeUInt32BE(value >>> 0);
  return field;
}

/** The text and its NUL. @throws WireError "syntax" for a text with a NUL or half a surrogate pair in it. */
export function textField(text: string): Buffer {
  if (text.includes("\0")) throw new WireError("syntax", "a text cannot hold a NUL");
  if (!text.isWellFormed()) throw new WireError("syntax", "a text holds half a surrogate pair");
  return Buffer.from(`${text}\0`, "utf8");
}

/** As textField, for messages to people: what cannot be sent becomes U+FFFD, since an error must go out. */
export function shownTextField(text: string): Buffer {
  return textField(text.toWellFormed().replaceAll("\0", "\ufffd"));
}

/** Length and bytes; null is NULL. */
export function valueField(value: Buffer | null): Buffer {
  return value === null ? int32Field(-1) : Buffer.concat([int32Field(value.length), value]);
}

export function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, "0")}`;
}
