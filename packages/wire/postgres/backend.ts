// What a server sends: decoders for what the gateway looks at, encoders for what it says in a server's
// place. PostgreSQL documentation, section 54.7 "Message Formats" and 54.8 "Error and Notice Message
// Fields". Decoders take the frame buffer[start,end), header included, and are strict to the last byte;
// values are views into it. Rows are in data-row.ts.

import { WireError } from "./errors.ts";
import {
  byteField,
  int16Field,
  int32Field,
  readFrame,
  shownTextField,
  textField,
  valueField,
  writeFrame,
} from "./fields.ts";
import { CANCEL_KEY_MAX_BYTES, CANCEL_KEY_MIN_BYTES } from "./startup.ts";

/** Message types a server may send after start-up. */
export const BACKEND = {
  authentication: 0x52, // R
  backendKeyData: 0x4b, // K
  bindComplete: 0x32, // 2
  closeComplete: 0x33, // 3
  commandComplete: 0x43, // C
  copyBothResponse: 0x57, // W
  copyData: 0x64, // d
  copyDone: 0x63, // c
  copyInResponse: 0x47, // G
  copyOutResponse: 0x48, // H
  dataRow: 0x44, // D
  emptyQueryResponse: 0x49, // I
  errorResponse: 0x45, // E
  functionCallResponse: 0x56, // V
  negotiateProtocolVersion: 0x76, // v
  noData: 0x6e, // n
  noticeResponse: 0x4e, // N
  notificationResponse: 0x41, // A
  parameterDescription: 0x74, // t
  parameterStatus: 0x53, // S
  parseComplete: 0x31, // 1
  portalSuspended: 0x73, // s
  readyForQuery: 0x5a, // Z
  rowDescription: 0x54, // T
} as const;

export function isBackendType(type: number): boolean {
  return BACKEND_TYPES.has(type);
}

export type Authentication =
  | { readonly kind: "ok" }
  | { readonly kind: "cleartext-password" }
  | { readonly kind: "md5-password"; readonly salt: Buffer }
  | { readonly kind: "sasl"; readonly mechanisms: readonly string[] }
  | { readonly kind: "sasl-continue"; readonly data: Buffer }
  | { readonly kind: "sasl-final"; readonly data: Buffer }
  /** Kerberos, GSSAPI, SSPI and whatever comes. */
  | { readonly kind: "other"; readonly code: number };

export function decodeAuthentication(buffer: Buffer, start: number, end: number): Authentication {
  const reader = readFrame(buffer, start, end, BACKEND.authentication);
  const code = reader.int32();
  let decoded: Authentication;
  switch (code) {
    case 0:
      decoded = { kind: "ok" };
      break;
    case 3:
      decoded = { kind: "cleartext-password" };
      break;
    case 5:
      decoded = { kind: "md5-password", salt: reader.bytes(4) };
      break;
    case 10: {
      const mechanisms: string[] = [];
      for (let name = reader.text(); name !== ""; name = reader.text()) mechanisms.push(name);
      decoded = { kind: "sasl", mechanisms };
      break;
    }
    case 11:
      decoded = { kind: "sasl-continue", data: reader.rest() };
      break;
    case 12:
      decoded = { kind: "sasl-final", data: reader.rest() };
      break;
    default:
      reader.rest();
      decoded = { kind: "other", code };
  }
  reader.done();
  return decoded;
}

export interface BackendKey {
  readonly processId: number;
  /** 4 bytes, up to 256 since protocol 3.2; a view into the frame. */
  readonly key: Buffer;
}

export function decodeBackendKeyData(buffer: Buffer, start: number, end: number): BackendKey {
  const reader = readFrame(buffer, start, end, BACKEND.backendKeyData);
  const processId = reader.int32();
  const key = reader.rest();
  if (key.length < CANCEL_KEY_MIN_BYTES || key.length > CANCEL_KEY_MAX_BYTES) {
    throw new WireError("length", `cancel key of ${key.length} bytes`);
  }
  return { processId, key };
}

export interface ParameterStatus {
  readonly name: string;
  readonly value: string;
}

export function decodeParameterStatus(buffer: Buffer, start: number, end: number): ParameterStatus {
  const reader = readFrame(buffer, start, end, BACKEND.parameterStatus);
  const name = reader.text();
  const value = reader.text();
  reader.done();
  return { name, value };
}

/** Idle, in a transaction, in a failed transaction. */
export type TransactionStatus = "I" | "T" | "E";

export function decodeReadyForQuery(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly status: TransactionStatus } {
  const reader = readFrame(buffer, start, end, BACKEND.readyForQuery);
  const status = String.fromCharCode(reader.byte());
  reader.done();
  if (status !== "I" && status !== "T" && status !== "E") {
    throw new WireError("syntax", "a transaction status that does not exist");
  }
  return { status };
}

/**
 * Fields of an ErrorResponse or NoticeResponse by their one-letter codes. Any may be missing, the
 * SQLSTATE too (poolers send such); of one given twice the first counts. For display only: bytes that
 * are not UTF-8 come as U+FFFD.
 */
export function decodeErrorFields(buffer: Buffer, start: number, end: number): Map<string, string> {
  const type =
    buffer[start] === BACKEND.noticeResponse ? BACKEND.noticeResponse : BACKEND.errorResponse;
  const reader = readFrame(buffer, start, end, type);
  const fields = new Map<string, string>();
  for (let code = reader.byte(); code !== 0; code = reader.byte()) {
    const key = String.fromCharCode(code);
    const text = reader.shownText();
    if (!fields.has(key)) fields.set(key, text);
  }
  reader.done();
  return fields;
}

export interface ColumnDescription {
  readonly name: string;
  /** 0 when the column is no table's. */
  readonly tableOid: number;
  /** 0 when the column is no table's; negative for system columns. */
  readonly attribute: number;
  readonly typeOid: number;
  /** Negative: variable. */
  readonly typeSize: number;
  readonly typeModifier: number;
  /** 0 text, 1 binary. */
  readonly format: number;
}

export function decodeRowDescription(
  buffer: Buffer,
  start: number,
  end: number,
): ColumnDescription[] {
  const reader = readFrame(buffer, start, end, BACKEND.rowDescription);
  const count = reader.count(reader.uint16(), COLUMN_MIN_BYTES);
  const columns: ColumnDescription[] = [];
  for (let index = 0; index < count; index++) {
    const name = reader.shownText();
    const tableOid = reader.uint32();
    const attribute = reader.int16();
    const typeOid = reader.uint32();
    const typeSize = reader.int16();
    const typeModifier = reader.int32();
    const format = reader.int16();
    columns.push({ name, tableOid, attribute, typeOid, typeSize, typeModifier, format });
  }
  reader.done();
  return columns;
}

export function decodeParameterDescription(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly parameterTypes: readonly number[] } {
  const reader = readFrame(buffer, start, end, BACKEND.parameterDescription);
  const count = reader.count(reader.uint16(), 4);
  const parameterTypes: number[] = [];
  for (let index = 0; index < count; index++) parameterTypes.push(reader.uint32());
  reader.done();
  return { parameterTypes };
}

export function decodeCommandComplete(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly tag: string } {
  const reader = readFrame(buffer, start, end, BACKEND.commandComplete);
  const tag = reader.text();
  reader.done();
  return { tag };
}

export interface CopyResponse {
  readonly direction: "in" | "out" | "both";
  /** 0 text, 1 binary. */
  readonly format: number;
  readonly columnFormats: readonly number[];
}

export function decodeCopyResponse(buffer: Buffer, start: number, end: number): CopyResponse {
  const type = buffer[start] ?? 0;
  const direction = COPY_DIRECTIONS.get(type);
  if (direction === undefined) throw new WireError("type", "not the beginning of a COPY");
  const reader = readFrame(buffer, start, end, type);
  const format = reader.byte();
  if (format > 1) throw new WireError("syntax", `COPY format ${format}`);
  const count = reader.count(reader.uint16(), 2);
  const columnFormats: number[] = [];
  for (let index = 0; index < count; index++) columnFormats.push(reader.int16());
  reader.done();
  return { direction, format, columnFormats };
}

export function decodeNotification(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly processId: number; readonly channel: string; readonly payload: string } {
  const reader = readFrame(buffer, start, end, BACKEND.notificationResponse);
  const processId = reader.int32();
  const channel = reader.shownText();
  const payload = reader.shownText();
  reader.done();
  return { processId, channel, payload };
}

export function decodeFunctionCallResponse(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly value: Buffer | null } {
  const reader = readFrame(buffer, start, end, BACKEND.functionCallResponse);
  const value = reader.value();
  reader.done();
  return { value };
}

/**
 * `minor` is the newest the server speaks. The field is documented as the minor version; servers send
 * the whole version in it, 3.x as 0x0003000x.
 */
export function decodeNegotiateProtocolVersion(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly minor: number; readonly unrecognized: readonly string[] } {
  const reader = readFrame(buffer, start, end, BACKEND.negotiateProtocolVersion);
  const version = reader.uint32();
  const count = reader.count(reader.uint32(), 1);
  const unrecognized: string[] = [];
  for (let index = 0; index < count; index++) unrecognized.push(reader.text());
  reader.done();
  if (version >>> 16 !== 3 && version >>> 16 !== 0) {
    throw new WireError("version", `protocol version ${version >>> 16}`);
  }
  return { minor: version & 0xffff, unrecognized };
}

/** Fields of an ErrorResponse or NoticeResponse (documentation, section 54.8). */
export interface Encodable {
  /** Sent as S and V, which is never translated. */
  readonly severity: string;
  /** SQLSTATE. */
  readonly code: string;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  /** In characters of the statement, from 1. */
  readonly position?: number | undefined;
  readonly where?: string | undefined;
  readonly schema?: string | undefined;
  readonly table?: string | undefined;
  readonly column?: string | undefined;
  readonly dataType?: string | undefined;
  readonly constraint?: string | undefined;
}

/** What cannot be sent in a text becomes U+FFFD: never throws. */
export function errorResponse(fields: Encodable): Buffer {
  return writeFrame(BACKEND.errorResponse, errorFields(fields));
}

/** What cannot be sent in a text becomes U+FFFD: never throws. */
export function noticeResponse(fields: Encodable): Buffer {
  return writeFrame(BACKEND.noticeResponse, errorFields(fields));
}

export function authenticationOk(): Buffer {
  return authentication(0);
}

export function authenticationCleartextPassword(): Buffer {
  return authentication(3);
}

export function authenticationSasl(mechanisms: readonly string[]): Buffer {
  return authentication(10, [...mechanisms.map(textField), textField("")]);
}

export function authenticationSaslContinue(data: Buffer): Buffer {
  return authentication(11, [data]);
}

export function authenticationSaslFinal(data: Buffer): Buffer {
  return authentication(12, [data]);
}

export function parameterStatus(name: string, value: string): Buffer {
  return writeFrame(BACKEND.parameterStatus, [textField(name), textField(value)]);
}

export function backendKeyData(processId: number, key: Buffer): Buffer {
  if (key.length < CANCEL_KEY_MIN_BYTES || key.length > CANCEL_KEY_MAX_BYTES) {
    throw new WireError("length", `cancel key of ${key.length} bytes`);
  }
  return writeFrame(BACKEND.backendKeyData, [int32Field(processId), key]);
}

export function readyForQuery(status: TransactionStatus): Buffer {
  return writeFrame(BACKEND.readyForQuery, [Buffer.from(status, "latin1")]);
}

export function commandComplete(tag: string): Buffer {
  return writeFrame(BACKEND.commandComplete, [textField(tag)]);
}

export function parseComplete(): Buffer {
  return writeFrame(BACKEND.parseComplete, []);
}

export function bindComplete(): Buffer {
  return writeFrame(BACKEND.bindComplete, []);
}

export function closeComplete(): Buffer {
  return writeFrame(BACKEND.closeComplete, []);
}

export function noData(): Buffer {
  return writeFrame(BACKEND.noData, []);
}

export function portalSuspended(): Buffer {
  return writeFrame(BACKEND.portalSuspended, []);
}

export function parameterDescription(parameterTypes: readonly number[]): Buffer {
  return writeFrame(BACKEND.parameterDescription, [
    int16Field(parameterTypes.length),
    ...parameterTypes.map((oid) => int32Field(oid)),
  ]);
}

export function rowDescription(columns: readonly ColumnDescription[]): Buffer {
  const fields = [int16Field(columns.length)];
  for (const column of columns) {
    fields.push(
      textField(column.name),
      int32Field(column.tableOid),
      int16Field(column.attribute),
      int32Field(column.typeOid),
      int16Field(column.typeSize),
      int32Field(column.typeModifier),
      int16Field(column.format),
    );
  }
  return writeFrame(BACKEND.rowDescription, fields);
}

/** A column of type text that belongs to no table. */
export function textColumn(name: string): ColumnDescription {
  return {
    name,
    tableOid: 0,
    attribute: 0,
    typeOid: TEXT_OID,
    typeSize: -1,
    typeModifier: -1,
    format: 0,
  };
}

export function dataRow(values: readonly (Buffer | string | null)[]): Buffer {
  const fields = values.map((value) =>
    valueField(typeof value === "string" ? Buffer.from(value, "utf8") : value),
  );
  return writeFrame(BACKEND.dataRow, [int16Field(values.length), ...fields]);
}

/** `minor`: the newest of protocol 3 that is spoken here, sent as servers do, with the major version. */
export function negotiateProtocolVersion(minor: number, unrecognized: readonly string[]): Buffer {
  return writeFrame(BACKEND.negotiateProtocolVersion, [
    int32Field(0x30000 + minor),
    int32Field(unrecognized.length),
    ...unrecognized.map(textField),
  ]);
}

function authentication(code: number, fields: readonly Buffer[] = []): Buffer {
  return writeFrame(BACKEND.authentication, [int32Field(code), ...fields]);
}

function errorFields(error: Encodable): Buffer[] {
  const fields: Buffer[] = [];
  const add = (code: string, text: string | undefined) => {
    if (text !== undefined) fields.push(Buffer.from(code, "latin1"), shownTextField(text));
  };
  add("S", error.severity);
  add("V", error.severity);
  add("C", error.code);
  add("M", error.message);
  add("D", error.detail);
  add("H", error.hint);
  add("P", error.position === undefined ? undefined : String(error.position));
  add("W", error.where);
  add("s", error.schema);
  add("t", error.table);
  add("c", error.column);
  add("d", error.dataType);
  add("n", error.constraint);
  fields.push(byteField(0));
  return fields;
}

const TEXT_OID = 25;
const COLUMN_MIN_BYTES = 19;
const BACKEND_TYPES: ReadonlySet<number> = new Set(Object.values(BACKEND));
const COPY_DIRECTIONS: ReadonlyMap<number, CopyResponse["direction"]> = new Map([
  [BACKEND.copyInResponse, "in"],
  [BACKEND.copyOutResponse, "out"],
  [BACKEND.copyBothResponse, "both"],
]);
