// Every decoder of the SSH codec under the name the vectors use, with what encodes the same message again
// where there is such.

import { readdirSync, readFileSync } from "node:fs";
import * as auth from "@custody/wire/ssh/auth-messages.ts";
import { parseCertificate } from "@custody/wire/ssh/certificate.ts";
import {
  booleanField,
  byteField,
  nameField,
  readMessage,
  SshReader,
  uint32Field,
} from "@custody/wire/ssh/fields.ts";
import { decodeKexInit, encodeKexInit } from "@custody/wire/ssh/kex-init.ts";
import { parsePublicKey } from "@custody/wire/ssh/keys.ts";
import { MSG } from "@custody/wire/ssh/numbers.ts";
import * as requests from "@custody/wire/ssh/request-codec.ts";
import type { ChannelOpen, ChannelRequest, GlobalRequest } from "@custody/wire/ssh/requests.ts";
import {
  decodeSftpRequest,
  decodeSftpResponse,
  encodeSftpRequest,
  encodeSftpResponse,
} from "@custody/wire/ssh/sftp.ts";
import type { SftpRequest, SftpResponse } from "@custody/wire/ssh/sftp-messages.ts";

/** One line of a file in vectors/ssh. */
export interface Vector {
  readonly name: string;
  /** A key of DECODERS. */
  readonly decoder: string;
  readonly hex: string;
  /** In valid/: what it decodes to, with bytes as {"hex": "…"}. */
  readonly decoded?: unknown;
  /** In invalid/: the SshError's code. */
  readonly code?: string;
}

export interface Codec {
  decode(payload: Buffer): unknown;
  /** The same bytes as were decoded. */
  encode?(value: unknown, payload: Buffer): Buffer;
}

export const SESSION_ID = Buffer.alloc(32, 0x5a);

export const DECODERS: Readonly<Record<string, Codec>> = {
  kexInit: {
    decode: decodeKexInit,
    // The cookie, languages and reserved number are not kept.
    encode: (value, payload) =>
      encodeKexInit(value as ReturnType<typeof decodeKexInit>, payload.subarray(1, 17)),
  },
  publicKey: { decode: (blob) => ({ ...parsePublicKey(blob), key: undefined }) },
  certificate: {
    decode: (blob) => {
      const certificate = parseCertificate(blob);
      return { ...certificate, key: certificate.key.blob, blob: undefined, signedPart: undefined };
    },
  },
  userauthRequest: { decode: (payload) => auth.decodeUserauthRequest(payload, SESSION_ID) },
  userauthFailure: {
    decode: auth.decodeUserauthFailure,
    encode: (value) => {
      const { methods, partialSuccess } = value as ReturnType<typeof auth.decodeUserauthFailure>;
      return auth.encodeUserauthFailure(methods, partialSuccess);
    },
  },
  pkOk: {
    decode: auth.decodePkOk,
    encode: (value) => {
      const { algorithm, key } = value as ReturnType<typeof auth.decodePkOk>;
      return auth.encodePkOk(algorithm, key);
    },
  },
  infoRequest: { decode: auth.decodeInfoRequest },
  infoResponse: {
    decode: auth.decodeInfoResponse,
    encode: (value) => auth.encodeInfoResponse(value as Buffer[]),
  },
  banner: { decode: auth.decodeBanner },
  service: { decode: auth.decodeService },
  channelRequest: {
    decode: (payload) => {
      const reader = readMessage(payload, MSG.channelRequest);
      const channel = reader.uint32();
      const name = reader.name();
      const reply = reader.boolean();
      return { channel, reply, request: requests.decodeChannelRequest(name, reader) };
    },
    encode: (value) => {
      const { channel, reply, request } = value as ChannelRequestMessage;
      return Buffer.concat([
        byteField(MSG.channelRequest),
        uint32Field(channel),
        nameField(requests.channelRequestName(request)),
        booleanField(reply),
        requests.encodeChannelRequest(request),
      ]);
    },
  },
  channelOpen: {
    decode: (payload) => {
      const reader = readMessage(payload, MSG.channelOpen);
      const name = reader.name();
      const numbers = [reader.uint32(), reader.uint32(), reader.uint32()];
      return { numbers, open: requests.decodeChannelOpen(name, reader) };
    },
    encode: (value) => {
      const { numbers, open } = value as { numbers: number[]; open: ChannelOpen };
      return Buffer.concat([
        byteField(MSG.channelOpen),
        nameField(requests.channelOpenName(open)),
        ...numbers.map((number) => uint32Field(number)),
        requests.encodeChannelOpen(open),
      ]);
    },
  },
  globalRequest: {
    decode: (payload) => {
      const reader = readMessage(payload, MSG.globalRequest);
      const name = reader.name();
      const reply = reader.boolean();
      return { reply, request: requests.decodeGlobalRequest(name, reader) };
    },
    encode: (value) => {
      const { reply, request } = value as { reply: boolean; request: GlobalRequest };
      return Buffer.concat([
        byteField(MSG.globalRequest),
        nameField(requests.globalRequestName(request)),
        booleanField(reply),
        requests.encodeGlobalRequest(request),
      ]);
    },
  },
  sftpRequest: {
    decode: decodeSftpRequest,
    encode: (value) => encodeSftpRequest(value as SftpRequest),
  },
  sftpResponse: {
    decode: decodeSftpResponse,
    encode: (value) => encodeSftpResponse(value as SftpResponse),
  },
  mpint: {
    decode: (bytes) => {
      const reader = new SshReader(bytes);
      const value = reader.mpint();
      reader.done();
      return value;
    },
  },
};

interface ChannelRequestMessage {
  readonly channel: number;
  readonly reply: boolean;
  readonly request: ChannelRequest;
}

export function readVectors(folder: "valid" | "invalid"): Vector[] {
  return readdirSync(new URL(`${folder}/`, VECTORS))
    .filter((name) => name.endsWith(".json"))
    .flatMap(
      (file) => JSON.parse(readFileSync(new URL(`${folder}/${file}`, VECTORS), "utf8")) as Vector[],
    );
}

/** A decoded value in the form of the vectors. */
export function asJson(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return { hex: value.toString("hex") };
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    return Object.fromEntries(entries.map(([key, item]) => [key, asJson(item)]));
  }
  return value;
}

const VECTORS = new URL("../../vectors/ssh/", import.meta.url);
