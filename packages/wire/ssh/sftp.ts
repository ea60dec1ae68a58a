// SFTP version 3 and OpenSSH's extensions, bytes to messages and back (draft-ietf-secsh-filexfer-02;
// OpenSSH's PROTOCOL section 4). A packet is a length that does not count itself, a type byte, and the
// message; SftpCursor finds them in the stream of a channel. What is decoded encodes to the same bytes.

import { ByteQueue } from "./byte-queue.ts";
import { SshError } from "./errors.ts";
import { byteField, SshReader, stringField, uint32Field, uint64Field } from "./fields.ts";
import type {
  SftpAttributes,
  SftpExtension,
  SftpName,
  SftpRequest,
  SftpResponse,
} from "./sftp-messages.ts";

export interface SftpLimits {
  /** Largest packet, its length field aside. OpenSSH's own is 256 KiB. */
  readonly maxPacketBytes: number;
}

/** Packets in a stream of chunks, in one direction of a channel. */
export class SftpCursor {
  readonly #input = new ByteQueue();
  readonly #maxPacketBytes: number;

  constructor(limits: SftpLimits) {
    this.#maxPacketBytes = limits.maxPacketBytes;
  }

  /** The cursor takes the chunk over. */
  push(chunk: Buffer): void {
    this.#input.push(chunk);
  }

  /** The next packet, length included; undefined when more bytes are needed. @throws SshError */
  next(): Buffer | undefined {
    const head = this.#input.peek(4);
    if (head === undefined) return undefined;
    const length = head.readUInt32BE(0);
    if (length === 0) throw new SshError("packet", "an SFTP packet of no bytes");
    if (length > this.#maxPacketBytes) {
      throw new SshError("limit", `an SFTP packet of ${length} bytes`);
    }
    return this.#input.take(4 + length);
  }

  /** Bytes that came and are no whole packet. */
  get heldBytes(): number {
    return this.#input.bytes;
  }
}

/** @param packet whole, length included. @throws SshError */
export function decodeSftpRequest(packet: Buffer): SftpRequest {
  return decode(packet, REQUESTS, EXTENSIONS) as unknown as SftpRequest;
}

/** @param packet whole, length included. @throws SshError */
export function decodeSftpResponse(packet: Buffer): SftpResponse {
  return decode(packet, RESPONSES, NO_EXTENSIONS) as unknown as SftpResponse;
}

export function encodeSftpRequest(request: SftpRequest): Buffer {
  return encode(request as unknown as Message, REQUESTS, EXTENSIONS);
}

export function encodeSftpResponse(response: SftpResponse): Buffer {
  return encode(response as unknown as Message, RESPONSES, NO_EXTENSIONS);
}

type Message = Readonly<Record<string, unknown>> & { readonly kind: string };

/** How a field is on the wire; the value's type in sftp-messages.ts follows from it. */
interface FieldForm {
  read(reader: SshReader): unknown;
  write(value: never): Buffer;
}

interface MessageForm {
  readonly kind: string;
  readonly fields: readonly (readonly [name: string, form: FieldForm])[];
}

const NUMBER: FieldForm = { read: (reader) => reader.uint32(), write: uint32Field };
const LONG: FieldForm = { read: (reader) => reader.uint64(), write: uint64Field };
const BYTES: FieldForm = { read: (reader) => reader.string(), write: stringField };
const REST: FieldForm = { read: (reader) => reader.rest(), write: (value: Buffer) => value };
const ATTRIBUTES: FieldForm = { read: readAttributes, write: writeAttributes };
const NAMES: FieldForm = { read: readNames, write: writeNames };
const PAIRS: FieldForm = { read: readPairs, write: writePairs };

const ID = ["id", NUMBER] as const;
const PATH = ["path", BYTES] as const;
const HANDLE = ["handle", BYTES] as const;
const OFFSET = ["offset", LONG] as const;
const ATTRS = ["attributes", ATTRIBUTES] as const;
const FROM_TO = [
  ["from", BYTES],
  ["to", BYTES],
] as const;
const EXTENDED_TYPE = 200;

const REQUESTS: Readonly<Record<number, MessageForm>> = {
  1: {
    kind: "init",
    fields: [
      ["version", NUMBER],
      ["extensions", PAIRS],
    ],
  },
  3: { kind: "open", fields: [ID, PATH, ["flags", NUMBER], ATTRS] },
  4: { kind: "close", fields: [ID, HANDLE] },
  5: { kind: "read", fields: [ID, HANDLE, OFFSET, ["length", NUMBER]] },
  6: { kind: "write", fields: [ID, HANDLE, OFFSET, ["data", BYTES]] },
  7: { kind: "lstat", fields: [ID, PATH] },
  8: { kind: "fstat", fields: [ID, HANDLE] },
  9: { kind: "setstat", fields: [ID, PATH, ATTRS] },
  10: { kind: "fsetstat", fields: [ID, HANDLE, ATTRS] },
  11: { kind: "opendir", fields: [ID, PATH] },
  12: { kind: "readdir", fields: [ID, HANDLE] },
  13: { kind: "remove", fields: [ID, PATH] },
  14: { kind: "mkdir", fields: [ID, PATH, ATTRS] },
  15: { kind: "rmdir", fields: [ID, PATH] },
  16: { kind: "realpath", fields: [ID, PATH] },
  17: { kind: "stat", fields: [ID, PATH] },
  18: { kind: "rename", fields: [ID, ...FROM_TO] },
  19: { kind: "readlink", fields: [ID, PATH] },
  20: { kind: "symlink", fields: [ID, ["target", BYTES], PATH] },
};

/** The fields behind an extension's id and name. */
const EXTENSIONS: Readonly<Record<string, MessageForm["fields"]>> = {
  "posix-rename@openssh.com": FROM_TO,
  "hardlink@openssh.com": FROM_TO,
  "statvfs@openssh.com": [PATH],
  "fstatvfs@openssh.com": [HANDLE],
  "fsync@openssh.com": [HANDLE],
  "lsetstat@openssh.com": [PATH, ATTRS],
  "limits@openssh.com": [],
  "expand-path@openssh.com": [PATH],
  "copy-data": [HANDLE, OFFSET, ["size", LONG], ["toHandle", BYTES], ["toOffset", LONG]],
  "home-directory": [["user", BYTES]],
  "users-groups-by-id@openssh.com": [
    ["uids", BYTES],
    ["gids", BYTES],
  ],
};

const RESPONSES: Readonly<Record<number, MessageForm>> = {
  2: {
    kind: "version",
    fields: [
      ["version", NUMBER],
      ["extensions", PAIRS],
    ],
  },
  101: {
    kind: "status",
    fields: [ID, ["code", NUMBER], ["message", BYTES], ["language", BYTES]],
  },
  102: { kind: "handle", fields: [ID, HANDLE] },
  103: { kind: "data", fields: [ID, ["data", BYTES]] },
  104: { kind: "name", fields: [ID, ["names", NAMES]] },
  105: { kind: "attrs", fields: [ID, ATTRS] },
  201: { kind: "extended-reply", fields: [ID, ["data", REST]] },
};

function decode(
  packet: Buffer,
  forms: Readonly<Record<number, MessageForm>>,
  extensions: Readonly<Record<string, MessageForm["fields"]>>,
): Message {
  const reader = new SshReader(packet);
  if (reader.uint32() !== reader.left) throw new SshError("packet", "an SFTP packet cut wrong");
  const type = reader.byte();
  const isExtended = type === EXTENDED_TYPE && extensions !== NO_EXTENSIONS;
  const form = isExtended ? EXTENDED_FORM : forms[type];
  if (form === undefined) throw new SshError("sequence", `an SFTP message of type ${type}`);
  const message: Record<string, unknown> & { kind: string; id?: unknown } = {
    kind: form.kind,
  };
  if (isExtended) {
    message.id = reader.uint32();
    const name = reader.string();
    const kind = name.toString("latin1");
    const fields = Object.hasOwn(extensions, kind) ? extensions[kind] : undefined;
    if (fields === undefined) return { ...message, name, data: reader.rest() };
    message.kind = kind;
    readFields(message, fields, reader);
  } else {
    readFields(message, form.fields, reader);
  }
  reader.done();
  return message;
}

function readFields(
  message: Record<string, unknown>,
  fields: MessageForm["fields"],
  reader: SshReader,
): void {
  for (const [name, form] of fields) message[name] = form.read(reader);
}

function encode(
  message: Message,
  forms: Readonly<Record<number, MessageForm>>,
  extensions: Readonly<Record<string, MessageForm["fields"]>>,
): Buffer {
  const body = encodeBody(message, forms, extensions);
  return Buffer.concat([uint32Field(body.length), body]);
}

function encodeBody(
  message: Message,
  forms: Readonly<Record<number, MessageForm>>,
  extensions: Readonly<Record<string, MessageForm["fields"]>>,
): Buffer {
  const write = (fields: MessageForm["fields"]): Buffer[] =>
    fields.map(([name, form]) => form.write(message[name] as never));
  const ordinary = Object.entries(forms).find(([, form]) => form.kind === message.kind);
  if (ordinary !== undefined) {
    return Buffer.concat([byteField(Number(ordinary[0])), ...write(ordinary[1].fields)]);
  }
  if (message.kind === EXTENDED_FORM.kind) {
    return Buffer.concat([byteField(EXTENDED_TYPE), ...write(EXTENDED_FORM.fields)]);
  }
  const fields = extensions[message.kind];
  if (fields === undefined) throw new SshError("syntax", `no SFTP message ${message.kind}`);
  const name = stringField(Buffer.from(message.kind, "latin1"));
  return Buffer.concat([byteField(EXTENDED_TYPE), ...write([ID]), name, ...write(fields)]);
}

function readAttributes(reader: SshReader): SftpAttributes {
  const flags = reader.uint32();
  if ((flags & ~KNOWN_FLAGS) !== 0) {
    throw new SshError("syntax", "SFTP attributes that version 3 does not have");
  }
  const pair = (): [number, number] => [reader.uint32(), reader.uint32()];
  const size = (flags & HAS_SIZE) !== 0 ? reader.uint64() : undefined;
  const owner = (flags & HAS_OWNER) !== 0 ? pair() : undefined;
  const permissions = (flags & HAS_PERMISSIONS) !== 0 ? reader.uint32() : undefined;
  const times = (flags & HAS_TIMES) !== 0 ? pair() : undefined;
  const extended = (flags & HAS_EXTENDED) !== 0 ? readCountedPairs(reader) : undefined;
  return {
    ...(size !== undefined && { size }),
    ...(owner !== undefined && { owner: { uid: owner[0], gid: owner[1] } }),
    ...(permissions !== undefined && { permissions }),
    ...(times !== undefined && { times: { accessed: times[0], modified: times[1] } }),
    ...(extended !== undefined && { extended }),
  };
}

function writeAttributes(attributes: SftpAttributes): Buffer {
  const { size, owner, permissions, times, extended } = attributes;
  let flags = 0;
  const fields: Buffer[] = [];
  if (size !== undefined) {
    flags |= HAS_SIZE;
    fields.push(uint64Field(size));
  }
  if (owner !== undefined) {
    flags |= HAS_OWNER;
    fields.push(uint32Field(owner.uid), uint32Field(owner.gid));
  }
  if (permissions !== undefined) {
    flags |= HAS_PERMISSIONS;
    fields.push(uint32Field(permissions));
  }
  if (times !== undefined) {
    flags |= HAS_TIMES;
    fields.push(uint32Field(times.accessed), uint32Field(times.modified));
  }
  if (extended !== undefined) {
    flags |= HAS_EXTENDED;
    fields.push(uint32Field(extended.length), writePairs(extended));
  }
  return Buffer.concat([uint32Field(flags >>> 0), ...fields]);
}

function readCountedPairs(reader: SshReader): SftpExtension[] {
  const count = reader.uint32();
  if (count * MIN_PAIR_BYTES > reader.left) throw new SshError("truncated", `${count} attributes`);
  return Array.from({ length: count }, () => ({ name: reader.string(), data: reader.string() }));
}

function readPairs(reader: SshReader): SftpExtension[] {
  const pairs: SftpExtension[] = [];
  while (reader.left > 0) pairs.push({ name: reader.string(), data: reader.string() });
  return pairs;
}

function writePairs(pairs: readonly SftpExtension[]): Buffer {
  return Buffer.concat(pairs.flatMap(({ name, data }) => [stringField(name), stringField(data)]));
}

function readNames(reader: SshReader): SftpName[] {
  const count = reader.uint32();
  if (count * MIN_NAME_BYTES > reader.left) throw new SshError("truncated", `${count} names`);
  return Array.from({ length: count }, () => ({
    name: reader.string(),
    line: reader.string(),
    attributes: readAttributes(reader),
  }));
}

function writeNames(names: readonly SftpName[]): Buffer {
  const fields = names.flatMap(({ name, line, attributes }) => [
    stringField(name),
    stringField(line),
    writeAttributes(attributes),
  ]);
  return Buffer.concat([uint32Field(names.length), ...fields]);
}

const NO_EXTENSIONS = {};
const EXTENDED_FORM: MessageForm = {
  kind: "extended",
  fields: [ID, ["name", BYTES], ["data", REST]],
};
const HAS_SIZE = 0x00000001;
const HAS_OWNER = 0x00000002;
const HAS_PERMISSIONS = 0x00000004;
const HAS_TIMES = 0x00000008;
const HAS_EXTENDED = 0x80000000;
const KNOWN_FLAGS = HAS_SIZE | HAS_OWNER | HAS_PERMISSIONS | HAS_TIMES | HAS_EXTENDED;
const MIN_PAIR_BYTES = 8;
const MIN_NAME_BYTES = 12;
