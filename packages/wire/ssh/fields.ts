// Reading and writing the data types of SSH (RFC 4251 section 5). A reader is a position in a message
// that cannot pass its end; a message is read to its last byte or refused. mpints are taken in their one
// shortest form and never negative: nothing in SSH needs another.

import { utf8Text } from "../bytes/utf8.ts";
import { SshError } from "./errors.ts";

export class SshReader {
  readonly buffer: Buffer;
  readonly end: number;
  at: number;

  constructor(buffer: Buffer, at = 0, end: number = buffer.length) {
    if (at < 0 || at > end || end > buffer.length) {
      throw new SshError("truncated", "the message ends inside a field");
    }
    this.buffer = buffer;
    this.at = at;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  byte(): number {
    return this.buffer[this.#advance(1)]!;
  }

  /** Any value but 0 is true (RFC 4251). */
  boolean(): boolean {
    return this.byte() !== 0;
  }

  uint32(): number {
    return this.buffer.readUInt32BE(this.#advance(4));
  }

  uint64(): bigint {
    return this.buffer.readBigUInt64BE(this.#advance(8));
  }

  /** A view of the next `size` bytes. */
  bytes(size: number): Buffer {
    const at = this.#advance(size);
    return this.buffer.subarray(at, at + size);
  }

  /** A view of a string's bytes. */
  string(): Buffer {
    return this.bytes(this.uint32());
  }

  /** A string that is UTF-8. */
  text(): string {
    const bytes = this.string();
    const text = utf8Text(bytes, 0, bytes.length);
    if (text === undefined) throw new SshError("text", "a text is not valid UTF-8");
    return text;
  }

  /** A string of a person's reading only: what is not UTF-8 becomes U+FFFD. */
  shownText(): string {
    return this.string().toString("utf8");
  }

  /** A name: printable ASCII without comma, at most 64 bytes (RFC 4251 section 6). */
  name(): string {
    return checkedName(this.string());
  }

  /** A name-list; empty names are refused. */
  nameList(maxNames: number): string[] {
    return this.#names(maxNames, this.string().toString("latin1"));
  }

  /** What a peer offers in KEXINIT. libssh 0.10 ends some of its lists with a comma. */
  offeredNames(maxNames: number): string[] {
    return this.#names(maxNames, this.string().toString("latin1").replace(/,$/, ""));
  }

  /** A non-negative mpint as its bytes without the sign's leading zero. */
  mpint(): Buffer {
    const bytes = this.string();
    if (bytes.length === 0) return bytes;
    if ((bytes[0]! & 0x80) !== 0) throw new SshError("syntax", "a negative number");
    if (bytes[0] !== 0) return bytes;
    if (bytes.length === 1 || (bytes[1]! & 0x80) === 0) {
      throw new SshError("syntax", "a number that is not in its shortest form");
    }
    return bytes.subarray(1);
  }

  /** A view of what is left. */
  rest(): Buffer {
    return this.bytes(this.left);
  }

  /** The message must end here. */
  done(): void {
    if (this.at !== this.end) {
      throw new SshError("trailing", `${this.end - this.at} bytes after the last field`);
    }
  }

  #names(maxNames: number, list: string): string[] {
    if (list === "") return [];
    const names = list.split(",");
    if (names.length > maxNames) throw new SshError("limit", `${names.length} names in a list`);
    return names.map((name) => checkedName(Buffer.from(name, "latin1")));
  }

  #advance(size: number): number {
    const at = this.at;
    if (size > this.end - at) throw new SshError("truncated", "the message ends inside a field");
    this.at = at + size;
    return at;
  }
}

/** A reader of a message whose first byte must be `number`, set behind it. */
export function readMessage(payload: Buffer, number: number): SshReader {
  const reader = new SshReader(payload);
  const found = reader.byte();
  if (found !== number) throw new SshError("sequence", `message ${found}, not ${number}`);
  return reader;
}

export function byteField(value: number): Buffer {
  return Buffer.of(value);
}

export function booleanField(value: boolean): Buffer {
  return Buffer.of(value ? 1 : 0);
}

export function uint32Field(value: number): Buffer {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    throw new SshError("syntax", `${value} in 32 bits`);
  }
  const field = Buffer.allocUnsafe(4);
  field.writeUInt32BE(value);
  return field;
}

export function uint64Field(value: bigint): Buffer {
  if (value < 0n || value > 0xffffffffffffffffn) {
    throw new SshError("syntax", `${value} in 64 bits`);
  }
  const field = Buffer.allocUnsafe(8);
  field.writeBigUInt64BE(value);
  return field;
}

export function stringField(bytes: Uint8Array): Buffer {
  const field = Buffer.allocUnsafe(4 + bytes.length);
  field.writeUInt32BE(bytes.length);
  field.set(bytes, 4);
  return field;
}

/** @throws SshError "text" for half a surrogate pair. */
export function textField(text: string): Buffer {
  if (!text.isWellFormed()) throw new SshError("text", "a text holds half a surrogate pair");
  return stringField(Buffer.from(text, "utf8"));
}

export function nameField(name: string): Buffer {
  return stringField(Buffer.from(checkedName(Buffer.from(name, "utf8")), "latin1"));
}

export function nameListField(names: readonly string[]): Buffer {
  for (const name of names) checkedName(Buffer.from(name, "utf8"));
  return stringField(Buffer.from(names.join(","), "latin1"));
}

/** An mpint of unsigned big-endian bytes, leading zeros or not. */
export function mpintField(bytes: Uint8Array): Buffer {
  let from = 0;
  while (from < bytes.length && bytes[from] === 0) from++;
  const value = bytes.subarray(from);
  if (value.length === 0 || (value[0]! & 0x80) === 0) return stringField(value);
  const field = Buffer.alloc(5 + value.length);
  field.writeUInt32BE(value.length + 1);
  field.set(value, 5);
  return field;
}

function checkedName(bytes: Buffer): string {
  if (bytes.length === 0 || bytes.length > MAX_NAME_BYTES) {
    throw new SshError("text", `a name of ${bytes.length} bytes`);
  }
  for (const byte of bytes) {
    if (byte <= 0x20 || byte >= 0x7f || byte === 0x2c) {
      throw new SshError("text", "a name that is not printable ASCII");
    }
  }
  return bytes.toString("latin1");
}

const MAX_NAME_BYTES = 64;
