// The binary form of an API object: "k8s\0" and a runtime.Unknown around the object's own message
// (k8s.io/apimachinery, pkg/runtime/generated.proto). Only decoded, to be judged; what is sent on are the
// bytes that were decoded. So that they can mean one thing only, everything the API server could read
// otherwise is refused: a field that is in no table, one that comes twice, a wire type that is not its own.

import { KubernetesWireError } from "./errors.ts";
import table from "./protobuf-table.json" with { type: "json" };

export type ProtobufValue =
  | string
  | number
  | bigint
  | boolean
  | Uint8Array
  | readonly ProtobufValue[]
  | ProtobufObject;
export interface ProtobufObject {
  readonly [name: string]: ProtobufValue;
}

export interface ProtobufBody {
  readonly apiVersion: string;
  readonly kind: string;
  /** Members as in JSON, but that embedded messages keep a member of their own; bytes are bytes. */
  readonly object: ProtobufObject;
}

type Fields = Readonly<Record<string, readonly [name: string, type: string]>>;

const MAGIC = 0x6b387300;
const MAX_DEPTH = 64;
const UNKNOWN = "k8s.io.apimachinery.pkg.runtime.Unknown";
const META = "k8s.io.apimachinery.pkg.apis.meta.v1";
const TABLE = table as unknown as Readonly<Record<string, Fields>>;
const NAMES = Object.keys(TABLE);

/** Packages of groups whose name is not that of their folder. */
const FOLDERS: Readonly<Record<string, string>> = {
  "": "core",
  "rbac.authorization.k8s.io": "rbac",
  "authentication.k8s.io": "authentication",
  "authorization.k8s.io": "authorization",
  "networking.k8s.io": "networking",
  "coordination.k8s.io": "coordination",
  "storage.k8s.io": "storage",
  "certificates.k8s.io": "certificates",
  "scheduling.k8s.io": "scheduling",
  "discovery.k8s.io": "discovery",
  "events.k8s.io": "events",
  "node.k8s.io": "node",
  "admissionregistration.k8s.io": "admissionregistration",
};

/** How many fields more there may be, whatever they are in. */
interface Allowance {
  left: number;
}

/** Throws KubernetesWireError; for a kind that is not in the table, and for more fields than `maxFields`, too. */
export function decodeProtobuf(bytes: Uint8Array, maxFields: number): ProtobufBody {
  const allowance = { left: maxFields };
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < 4 || view.readUInt32BE(0) !== MAGIC)
    throw new KubernetesWireError("the body is not in Kubernetes' binary form");
  const unknown = readMessage(view.subarray(4), UNKNOWN, 0, allowance);
  const { apiVersion = "", kind = "" } = (unknown.typeMeta ?? {}) as Record<string, string>;
  if (unknown.contentEncoding || unknown.contentType)
    throw new KubernetesWireError("the body is encoded once more");
  const raw = unknown.raw instanceof Uint8Array ? unknown.raw : new Uint8Array();
  const message = messageOf(apiVersion, kind);
  if (message === undefined)
    throw new KubernetesWireError(`${kind} of ${apiVersion} is not known in its binary form`);
  return { apiVersion, kind, object: readMessage(Buffer.from(raw), message, 0, allowance) };
}

function messageOf(apiVersion: string, kind: string): string | undefined {
  const parts = apiVersion.split("/");
  const version = parts.at(-1) ?? "";
  const group = parts.length > 1 ? (parts[0] ?? "") : "";
  const folder = FOLDERS[group] ?? group;
  const own =
    group === "apiextensions.k8s.io"
      ? `k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.${version}.${kind}`
      : `k8s.io.api.${folder}.${version}.${kind}`;
  return [own, `${META}.${kind}`].find((name) => Object.hasOwn(TABLE, name));
}

function readMessage(
  bytes: Buffer,
  name: string,
  depth: number,
  allowance: Allowance,
): ProtobufObject {
  if (depth > MAX_DEPTH) throw new KubernetesWireError("the body is nested too deeply");
  const fields = TABLE[name] ?? {};
  const object: Record<string, ProtobufValue> = Object.create(null);
  const reader = new Reader(bytes);
  while (!reader.isAtEnd) {
    if (allowance.left-- === 0) throw new KubernetesWireError("the body has too many fields");
    const tag = reader.varint();
    const field = fields[String(tag >> 3n)];
    if (field === undefined)
      throw new KubernetesWireError(`${name} has a field that is not known here`);
    const [member, type] = field;
    const wire = Number(tag & 7n);
    if (type.startsWith("%")) {
      const [key, value] = readEntry(reader, wire, type.slice(1), depth, allowance);
      const map = (object[member] ?? Object.create(null)) as Record<string, ProtobufValue>;
      if (key in map) throw new KubernetesWireError(`${member} has ${key} twice`);
      map[key] = value;
      object[member] = map;
    } else if (type.startsWith("*")) {
      const list = (object[member] ?? []) as ProtobufValue[];
      list.push(readValue(reader, wire, type.slice(1), depth, allowance));
      object[member] = list;
    } else {
      if (member in object) throw new KubernetesWireError(`${member} is there twice`);
      object[member] = readValue(reader, wire, type, depth, allowance);
    }
  }
  return object;
}

/** A map's entry is a message of its own: 1 the key, 2 the value. */
function readEntry(
  reader: Reader,
  wire: number,
  type: string,
  depth: number,
  allowance: Allowance,
) {
  const entry = new Reader(reader.delimited(wire));
  let key = "";
  let value: ProtobufValue | undefined;
  let seen = 0;
  while (!entry.isAtEnd) {
    const tag = entry.varint();
    const number = Number(tag >> 3n);
    if (number !== seen + 1 || number > 2)
      throw new KubernetesWireError("an entry of a map is not a key and its value");
    seen = number;
    if (number === 1) key = utf8(entry.delimited(Number(tag & 7n)));
    else value = readValue(entry, Number(tag & 7n), type, depth, allowance);
  }
  return [key, value ?? (type === "s" ? "" : type === "y" ? new Uint8Array() : {})] as const;
}

function readValue(
  reader: Reader,
  wire: number,
  type: string,
  depth: number,
  allowance: Allowance,
): ProtobufValue {
  switch (type) {
    case "s":
      return utf8(reader.delimited(wire));
    case "y":
      return new Uint8Array(reader.delimited(wire));
    case "i":
      return number(BigInt.asIntN(64, reader.scalar(wire)));
    case "b":
      return reader.scalar(wire) !== 0n;
    case "d":
      return reader.fixed(wire, 1, 8).readDoubleLE(0);
    case "f":
      return reader.fixed(wire, 5, 4).readFloatLE(0);
    default:
      return readMessage(reader.delimited(wire), NAMES[Number(type)] ?? "", depth + 1, allowance);
  }
}

function number(value: bigint): number | bigint {
  const plain = Number(value);
  return Number.isSafeInteger(plain) ? plain : value;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function utf8(bytes: Buffer): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new KubernetesWireError("a text of the body is not UTF-8");
  }
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) throw truncated();
      this.#at++;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value >= 1n << 64n) throw new KubernetesWireError("a number of the body is too large");
        return value;
      }
    }
    throw new KubernetesWireError("a number of the body has no end");
  }

  scalar(wire: number): bigint {
    if (wire !== 0) throw otherType();
    return this.varint();
  }

  fixed(wire: number, expected: number, length: number): Buffer {
    if (wire !== expected) throw otherType();
    return this.#take(length);
  }

  delimited(wire: number): Buffer {
    if (wire !== 2) throw otherType();
    const length = this.varint();
    if (length > BigInt(this.#bytes.length - this.#at)) throw truncated();
    return this.#take(Number(length));
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw truncated();
    const part = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }
}

function truncated(): KubernetesWireError {
  return new KubernetesWireError("the body ends within a field");
}

function otherType(): KubernetesWireError {
  return new KubernetesWireError("a field of the body is of another type than its own");
}
