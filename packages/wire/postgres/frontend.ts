// What a client sends after start-up: decoders for what is looked at, encoders for what the gateway
// sends itself. PostgreSQL documentation, section 54.7 "Message Formats". Decoders take the frame
// buffer[start,end), header included, are strict to the last byte, and give views for values and
// strings for names and texts (which are keys of maps). What the server itself answers with an error
// and no loss of step (format codes, counts that disagree) is left to the server.

import { WireError } from "./errors.ts";
import {
  byteField,
  type FieldReader,
  int16Field,
  int32Field,
  readFrame,
  textField,
  valueField,
  writeFrame,
} from "./fields.ts";

/** Message types a client may send after start-up. */
export const FRONTEND = {
  bind: 0x42, // B
  close: 0x43, // C
  copyData: 0x64, // d
  copyDone: 0x63, // c
  copyFail: 0x66, // f
  describe: 0x44, // D
  execute: 0x45, // E
  flush: 0x48, // H
  functionCall: 0x46, // F
  parse: 0x50, // P
  password: 0x70, // p: every answer to an authentication request
  query: 0x51, // Q
  sync: 0x53, // S
  terminate: 0x58, // X
} as const;

export function isFrontendType(type: number): boolean {
  return FRONTEND_TYPES.has(type);
}

/** What Describe and Close name. */
export type NamedKind = "statement" | "portal";

export interface QueryMessage {
  readonly text: string;
}

export interface ParseMessage {
  readonly name: string;
  readonly text: string;
  /** OIDs; 0 leaves the type to the server. */
  readonly parameterTypes: readonly number[];
}

export interface BindMessage {
  readonly portal: string;
  readonly statement: string;
  /** None (all text), one for all, or one each: 0 text, 1 binary. */
  readonly parameterFormats: readonly number[];
  /** Views into the frame. */
  readonly parameters: readonly (Buffer | null)[];
  readonly resultFormats: readonly number[];
}

export interface NamedMessage {
  readonly kind: NamedKind;
  readonly name: string;
}

export interface ExecuteMessage {
  readonly portal: string;
  /** 0: all. */
  readonly maxRows: number;
}

export interface FunctionCallMessage {
  readonly functionOid: number;
}

export function decodeQuery(buffer: Buffer, start: number, end: number): QueryMessage {
  const reader = readFrame(buffer, start, end, FRONTEND.query);
  const text = reader.text();
  reader.done();
  return { text };
}

export function decodeParse(buffer: Buffer, start: number, end: number): ParseMessage {
  const reader = readFrame(buffer, start, end, FRONTEND.parse);
  const name = reader.text();
  const text = reader.text();
  const count = reader.count(reader.uint16(), 4);
  const parameterTypes: number[] = [];
  for (let index = 0; index < count; index++) parameterTypes.push(reader.uint32());
  reader.done();
  return { name, text, parameterTypes };
}

export function decodeBind(buffer: Buffer, start: number, end: number): BindMessage {
  const reader = readFrame(buffer, start, end, FRONTEND.bind);
  const portal = reader.text();
  const statement = reader.text();
  const parameterFormats = formats(reader);
  const count = reader.count(reader.uint16(), 4);
  const parameters: (Buffer | null)[] = [];
  for (let index = 0; index < count; index++) parameters.push(reader.value());
  const resultFormats = formats(reader);
  reader.done();
  return { portal, statement, parameterFormats, parameters, resultFormats };
}

export function decodeDescribe(buffer: Buffer, start: number, end: number): NamedMessage {
  return named(readFrame(buffer, start, end, FRONTEND.describe));
}

export function decodeClose(buffer: Buffer, start: number, end: number): NamedMessage {
  return named(readFrame(buffer, start, end, FRONTEND.close));
}

export function decodeExecute(buffer: Buffer, start: number, end: number): ExecuteMessage {
  const reader = readFrame(buffer, start, end, FRONTEND.execute);
  const portal = reader.text();
  const maxRows = reader.int32();
  reader.done();
  return { portal, maxRows };
}

/** The function; the arguments are walked to the frame's end and not kept. */
export function decodeFunctionCall(
  buffer: Buffer,
  start: number,
  end: number,
): FunctionCallMessage {
  const reader = readFrame(buffer, start, end, FRONTEND.functionCall);
  const functionOid = reader.uint32();
  formats(reader);
  const count = reader.count(reader.uint16(), 4);
  for (let index = 0; index < count; index++) reader.value();
  reader.int16();
  reader.done();
  return { functionOid };
}

/** A password or token. */
export function decodePassword(buffer: Buffer, start: number, end: number): string {
  const reader = readFrame(buffer, start, end, FRONTEND.password);
  const password = reader.text();
  reader.done();
  return password;
}

export function decodeSaslInitialResponse(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly mechanism: string; readonly response: Buffer | null } {
  const reader = readFrame(buffer, start, end, FRONTEND.password);
  const mechanism = reader.text();
  const response = reader.value();
  reader.done();
  return { mechanism, response };
}

export function decodeSaslResponse(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly response: Buffer } {
  return { response: readFrame(buffer, start, end, FRONTEND.password).rest() };
}

export function decodeCopyData(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly data: Buffer } {
  return { data: readFrame(buffer, start, end, FRONTEND.copyData).rest() };
}

export function decodeCopyFail(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly message: string } {
  const reader = readFrame(buffer, start, end, FRONTEND.copyFail);
  const message = reader.text();
  reader.done();
  return { message };
}

/** Sync, Flush, Terminate, CopyDone: nothing but a header. @throws WireError "trailing" otherwise. */
export function decodeBare(buffer: Buffer, start: number, end: number): { readonly type: number } {
  const type = buffer[start] ?? 0;
  if (!BARE_TYPES.has(type)) throw new WireError("type", "a message with a body of its own");
  readFrame(buffer, start, end, type).done();
  return { type };
}

export function query(text: string): Buffer {
  return writeFrame(FRONTEND.query, [textField(text)]);
}

export function parse(name: string, text: string, parameterTypes: readonly number[] = []): Buffer {
  return writeFrame(FRONTEND.parse, [
    textField(name),
    textField(text),
    int16Field(parameterTypes.length),
    ...parameterTypes.map(int32Field),
  ]);
}

export function bind(message: BindMessage): Buffer {
  return writeFrame(FRONTEND.bind, [
    textField(message.portal),
    textField(message.statement),
    int16Field(message.parameterFormats.length),
    ...message.parameterFormats.map(int16Field),
    int16Field(message.parameters.length),
    ...message.parameters.map(valueField),
    int16Field(message.resultFormats.length),
    ...message.resultFormats.map(int16Field),
  ]);
}

export function describePortal(name: string): Buffer {
  return writeFrame(FRONTEND.describe, [byteField(PORTAL), textField(name)]);
}

export function describeStatement(name: string): Buffer {
  return writeFrame(FRONTEND.describe, [byteField(STATEMENT), textField(name)]);
}

export function execute(portal: string, maxRows: number): Buffer {
  return writeFrame(FRONTEND.execute, [textField(portal), int32Field(maxRows)]);
}

export function close(kind: NamedKind, name: string): Buffer {
  const named = byteField(kind === "portal" ? PORTAL : STATEMENT);
  return writeFrame(FRONTEND.close, [named, textField(name)]);
}

export function sync(): Buffer {
  return writeFrame(FRONTEND.sync, []);
}

export function flush(): Buffer {
  return writeFrame(FRONTEND.flush, []);
}

export function terminate(): Buffer {
  return writeFrame(FRONTEND.terminate, []);
}

export function copyData(data: Buffer): Buffer {
  return writeFrame(FRONTEND.copyData, [data]);
}

export function copyDone(): Buffer {
  return writeFrame(FRONTEND.copyDone, []);
}

export function copyFail(message: string): Buffer {
  return writeFrame(FRONTEND.copyFail, [textField(message)]);
}

export function password(text: string): Buffer {
  return writeFrame(FRONTEND.password, [textField(text)]);
}

export function encodeSaslInitialResponse(mechanism: string, response: Buffer | null): Buffer {
  return writeFrame(FRONTEND.password, [textField(mechanism), valueField(response)]);
}

export function encodeSaslResponse(response: Buffer): Buffer {
  return writeFrame(FRONTEND.password, [response]);
}

/**
 * Sent in the place of a Parse that was denied: the server's own lexer refuses it under every setting,
 * so that the error, the skip to the next Sync and the rollback come at the right place from the
 * server. The caller rewrites the error when it arrives.
 */
export function poisonedParse(name: string, requestId: string): Buffer {
  return parse(name, unterminated(requestId));
}

/** The same in the place of a Query or a FunctionCall. */
export function poisonedQuery(requestId: string): Buffer {
  return query(unterminated(requestId));
}

/** In the place of an Execute that was denied: the portal does not exist, the server answers 34000. */
export function missingPortalExecute(requestId: string): Buffer {
  return execute(`custody denied ${checkedId(requestId)}`, 0);
}

function unterminated(requestId: string): string {
  return `/* custody denied ${checkedId(requestId)}`;
}

// An id that could end the comment would undo the poison.
function checkedId(requestId: string): string {
  if (!/^[A-Za-z0-9-]{1,40}$/.test(requestId)) {
    throw new WireError("syntax", "a request id is letters, digits and dashes");
  }
  return requestId;
}

function formats(reader: FieldReader): number[] {
  const count = reader.count(reader.uint16(), 2);
  const codes: number[] = [];
  for (let index = 0; index < count; index++) codes.push(reader.int16());
  return codes;
}

function named(reader: FieldReader): NamedMessage {
  const kind = reader.byte();
  if (kind !== STATEMENT && kind !== PORTAL) {
    throw new WireError("syntax", "neither a statement nor a portal is named");
  }
  const name = reader.text();
  reader.done();
  return { kind: kind === PORTAL ? "portal" : "statement", name };
}

const STATEMENT = 0x53; // S
const PORTAL = 0x50; // P
const FRONTEND_TYPES: ReadonlySet<number> = new Set(Object.values(FRONTEND));
const BARE_TYPES: ReadonlySet<number> = new Set([
  FRONTEND.sync,
  FRONTEND.flush,
  FRONTEND.terminate,
  FRONTEND.copyDone,
]);
