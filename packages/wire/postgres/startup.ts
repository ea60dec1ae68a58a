// The first packet of a connection, which has no type byte: SSLRequest, GSSENCRequest, CancelRequest
// or StartupMessage. PostgreSQL documentation, sections 54.2.1 "Start-up" and 54.7; 54.2.8 "Canceling
// Requests in Progress" for keys of 4 to 256 bytes since protocol 3.2. A TLS ClientHello in its place
// is refused as a length above the limit: who offers direct TLS looks at the first byte before.

import { WireError } from "./errors.ts";
import { FieldReader, int32Field, textField, writeFrame } from "./fields.ts";

export interface StartupLimits {
  /** Largest packet, its length field not counted. */
  readonly maxStartupBytes: number;
}

/** PostgreSQL's own limit (MAX_STARTUP_PACKET_LENGTH). */
export const POSTGRES_STARTUP_LIMITS: StartupLimits = { maxStartupBytes: 10_000 };

export const CANCEL_KEY_MIN_BYTES = 4;
export const CANCEL_KEY_MAX_BYTES = 256;

export type StartupPacket =
  /** More is needed: `bytes` in all. */
  | { readonly kind: "need"; readonly bytes: number }
  /**
   * A request to encrypt. Bytes behind `used` would be plaintext taken for encrypted: the caller closes
   * when there are any.
   */
  | { readonly kind: "ssl"; readonly used: number }
  | { readonly kind: "gss"; readonly used: number }
  | {
      readonly kind: "cancel";
      readonly processId: number;
      /** A view into the packet. */
      readonly key: Buffer;
      readonly used: number;
    }
  | {
      readonly kind: "startup";
      readonly major: number;
      readonly minor: number;
      readonly parameters: Map<string, string>;
      readonly used: number;
    };

export interface ProtocolVersion {
  readonly major: number;
  readonly minor: number;
}

/** @throws WireError for what is none of the four, and for any major version but 3. */
export function decodeStartup(buffer: Buffer, limits: StartupLimits): StartupPacket {
  if (buffer.length < LENGTH_BYTES) return { kind: "need", bytes: LENGTH_BYTES + CODE_BYTES };
  const used = buffer.readInt32BE(0);
  if (used < LENGTH_BYTES + CODE_BYTES) throw new WireError("length", `start-up length ${used}`);
  if (used - LENGTH_BYTES > limits.maxStartupBytes) {
    throw new WireError("limit", `start-up packet above ${limits.maxStartupBytes} bytes`);
  }
  if (buffer.length < used) return { kind: "need", bytes: used };
  const reader = new FieldReader(buffer, LENGTH_BYTES, used);
  const code = reader.uint32();
  switch (code) {
    case SSL_REQUEST:
      reader.done();
      return { kind: "ssl", used };
    case GSS_REQUEST:
      reader.done();
      return { kind: "gss", used };
    case CANCEL_REQUEST:
      return decodeCancel(reader, used);
    default:
      return decodeParameters(reader, code, used);
  }
}

export function encodeStartup(
  parameters: Iterable<readonly [string, string]>,
  version: ProtocolVersion = { major: 3, minor: 0 },
): Buffer {
  const fields = [int32Field(version.major * 0x10000 + version.minor)];
  for (const [name, value] of parameters) {
    if (name === "") throw new WireError("syntax", "a start-up parameter without a name");
    fields.push(textField(name), textField(value));
  }
  fields.push(textField(""));
  return untyped(fields);
}

export function encodeSslRequest(): Buffer {
  return untyped([int32Field(SSL_REQUEST)]);
}

export function encodeGssRequest(): Buffer {
  return untyped([int32Field(GSS_REQUEST)]);
}

export function encodeCancelRequest(processId: number, key: Buffer): Buffer {
  checkKey(key);
  return untyped([int32Field(CANCEL_REQUEST), int32Field(processId), key]);
}

function decodeCancel(reader: FieldReader, used: number): StartupPacket {
  const processId = reader.int32();
  const key = reader.rest();
  checkKey(key);
  return { kind: "cancel", processId, key, used };
}

function decodeParameters(reader: FieldReader, code: number, used: number): StartupPacket {
  const major = code >>> 16;
  const minor = code & 0xffff;
  if (major !== 3) throw new WireError("version", `protocol version ${major}.${minor}`);
  const parameters = new Map<string, string>();
  for (;;) {
    const name = reader.text();
    if (name === "") break;
    if (parameters.has(name)) throw new WireError("syntax", "a start-up parameter given twice");
    parameters.set(name, reader.text());
  }
  reader.done();
  return { kind: "startup", major, minor, parameters, used };
}

function checkKey(key: Buffer): void {
  if (key.length < CANCEL_KEY_MIN_BYTES || key.length > CANCEL_KEY_MAX_BYTES) {
    throw new WireError("length", `cancel key of ${key.length} bytes`);
  }
}

/** A frame without its type byte. */
function untyped(fields: readonly Buffer[]): Buffer {
  return writeFrame(0, fields).subarray(1);
}

const LENGTH_BYTES = 4;
const CODE_BYTES = 4;
const CANCEL_REQUEST = 80_877_102;
const SSL_REQUEST = 80_877_103;
const GSS_REQUEST = 80_877_104;
