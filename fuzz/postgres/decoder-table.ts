// Every decoder of the PostgreSQL codec under the name the vectors use, with what encodes the same
// message again where the gateway sends it itself.

import { readdirSync, readFileSync } from "node:fs";
import * as backend from "@custody/wire/postgres/backend.ts";
import { dataRowFields } from "@custody/wire/postgres/data-row.ts";
import * as frontend from "@custody/wire/postgres/frontend.ts";
import {
  decodeStartup,
  encodeCancelRequest,
  encodeGssRequest,
  encodeSslRequest,
  encodeStartup,
  POSTGRES_STARTUP_LIMITS,
  type StartupPacket,
} from "@custody/wire/postgres/startup.ts";

export type Decoder = (buffer: Buffer, start: number, end: number) => unknown;

/** One line of a file in vectors/postgres. */
export interface Vector {
  readonly name: string;
  /** A key of DECODERS; undefined in invalid/frames.json, which is for the cursor. */
  readonly decoder: string;
  readonly hex: string;
  /** In valid/: what it decodes to, with bytes as {"hex": "…"}. */
  readonly decoded?: unknown;
  /** In invalid/: the WireError's code. */
  readonly code?: string;
}

export function readVectors(folder: "valid" | "invalid", file: string): Vector[] {
  return JSON.parse(readFileSync(new URL(`${folder}/${file}`, VECTORS), "utf8"));
}

export function vectorFiles(folder: "valid" | "invalid"): string[] {
  return readdirSync(new URL(`${folder}/`, VECTORS)).filter((name) => name.endsWith(".json"));
}

/** A decoded value in the form of the vectors. */
export function asJson(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return { hex: value.toString("hex") };
  if (value instanceof Map) {
    return Object.fromEntries([...value].map(([key, item]) => [key, asJson(item)]));
  }
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asJson(item)]));
  }
  return value;
}

export const DECODERS: Readonly<Record<string, Decoder>> = {
  authentication: backend.decodeAuthentication,
  backendKeyData: backend.decodeBackendKeyData,
  bare: frontend.decodeBare,
  bind: frontend.decodeBind,
  close: frontend.decodeClose,
  commandComplete: backend.decodeCommandComplete,
  copyData: frontend.decodeCopyData,
  copyFail: frontend.decodeCopyFail,
  copyResponse: backend.decodeCopyResponse,
  dataRow: rowValues,
  describe: frontend.decodeDescribe,
  errorFields: backend.decodeErrorFields,
  execute: frontend.decodeExecute,
  functionCall: frontend.decodeFunctionCall,
  functionCallResponse: backend.decodeFunctionCallResponse,
  negotiateProtocolVersion: backend.decodeNegotiateProtocolVersion,
  notification: backend.decodeNotification,
  parameterDescription: backend.decodeParameterDescription,
  parameterStatus: backend.decodeParameterStatus,
  parse: frontend.decodeParse,
  password: frontend.decodePassword,
  query: frontend.decodeQuery,
  readyForQuery: backend.decodeReadyForQuery,
  rowDescription: backend.decodeRowDescription,
  saslInitialResponse: frontend.decodeSaslInitialResponse,
  saslResponse: frontend.decodeSaslResponse,
  startup: (buffer, start, end) =>
    decodeStartup(buffer.subarray(start, end), POSTGRES_STARTUP_LIMITS),
};

/** undefined: the gateway never sends such a message. */
export function encodeAgain(decoder: string, bytes: Buffer): Buffer | undefined {
  switch (decoder) {
    case "query":
      return frontend.query(frontend.decodeQuery(bytes, 0, bytes.length).text);
    case "parse": {
      const { name, text, parameterTypes } = frontend.decodeParse(bytes, 0, bytes.length);
      return frontend.parse(name, text, parameterTypes);
    }
    case "bind":
      return frontend.bind(frontend.decodeBind(bytes, 0, bytes.length));
    case "describe": {
      const { kind, name } = frontend.decodeDescribe(bytes, 0, bytes.length);
      return kind === "portal" ? frontend.describePortal(name) : frontend.describeStatement(name);
    }
    case "close": {
      const { kind, name } = frontend.decodeClose(bytes, 0, bytes.length);
      return frontend.close(kind, name);
    }
    case "execute": {
      const { portal, maxRows } = frontend.decodeExecute(bytes, 0, bytes.length);
      return frontend.execute(portal, maxRows);
    }
    case "bare":
      return bareAgain(bytes[0]);
    case "copyData":
      return frontend.copyData(frontend.decodeCopyData(bytes, 0, bytes.length).data);
    case "copyFail":
      return frontend.copyFail(frontend.decodeCopyFail(bytes, 0, bytes.length).message);
    case "password":
      return frontend.password(frontend.decodePassword(bytes, 0, bytes.length));
    case "saslInitialResponse": {
      const { mechanism, response } = frontend.decodeSaslInitialResponse(bytes, 0, bytes.length);
      return frontend.encodeSaslInitialResponse(mechanism, response);
    }
    case "saslResponse":
      return frontend.encodeSaslResponse(
        frontend.decodeSaslResponse(bytes, 0, bytes.length).response,
      );
    case "startup":
      return startupAgain(decodeStartup(bytes, POSTGRES_STARTUP_LIMITS));
    default:
      return answerAgain(decoder, bytes);
  }
}

function answerAgain(decoder: string, bytes: Buffer): Buffer | undefined {
  const end = bytes.length;
  switch (decoder) {
    case "authentication":
      return authenticationAgain(backend.decodeAuthentication(bytes, 0, end));
    case "backendKeyData": {
      const { processId, key } = backend.decodeBackendKeyData(bytes, 0, end);
      return backend.backendKeyData(processId, key);
    }
    case "parameterStatus": {
      const { name, value } = backend.decodeParameterStatus(bytes, 0, end);
      return backend.parameterStatus(name, value);
    }
    case "readyForQuery":
      return backend.readyForQuery(backend.decodeReadyForQuery(bytes, 0, end).status);
    case "commandComplete":
      return backend.commandComplete(backend.decodeCommandComplete(bytes, 0, end).tag);
    case "rowDescription":
      return backend.rowDescription(backend.decodeRowDescription(bytes, 0, end));
    case "parameterDescription": {
      const { parameterTypes } = backend.decodeParameterDescription(bytes, 0, end);
      return backend.parameterDescription(parameterTypes);
    }
    case "dataRow":
      return backend.dataRow(rowValues(bytes, 0, end));
    default:
      return undefined;
  }
}

function authenticationAgain(decoded: backend.Authentication): Buffer | undefined {
  switch (decoded.kind) {
    case "ok":
      return backend.authenticationOk();
    case "cleartext-password":
      return backend.authenticationCleartextPassword();
    case "sasl":
      return backend.authenticationSasl(decoded.mechanisms);
    case "sasl-continue":
      return backend.authenticationSaslContinue(decoded.data);
    case "sasl-final":
      return backend.authenticationSaslFinal(decoded.data);
    default:
      return undefined;
  }
}

function bareAgain(type: number | undefined): Buffer {
  if (type === frontend.FRONTEND.sync) return frontend.sync();
  if (type === frontend.FRONTEND.flush) return frontend.flush();
  return type === frontend.FRONTEND.terminate ? frontend.terminate() : frontend.copyDone();
}

function startupAgain(packet: StartupPacket): Buffer | undefined {
  switch (packet.kind) {
    case "need":
      return undefined;
    case "ssl":
      return encodeSslRequest();
    case "gss":
      return encodeGssRequest();
    case "cancel":
      return encodeCancelRequest(packet.processId, packet.key);
    case "startup":
      return encodeStartup(packet.parameters, packet);
  }
}

function rowValues(buffer: Buffer, start: number, end: number): (Buffer | null)[] {
  const columns = dataRowFields(buffer, start, end, ROW);
  const values: (Buffer | null)[] = [];
  for (let column = 0; column < columns; column++) {
    const at = ROW[column * 2] ?? 0;
    const length = ROW[column * 2 + 1] ?? 0;
    values.push(length < 0 ? null : buffer.subarray(at, at + length));
  }
  return values;
}

/** Room for as many columns as a row can announce. */
const ROW = new Int32Array(2 * 0x10000);
const VECTORS = new URL("../../vectors/postgres/", import.meta.url);
