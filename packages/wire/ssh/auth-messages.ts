// The messages of the authentication protocol (RFC 4252, keyboard-interactive RFC 4256, OpenSSH's
// "publickey-hostbound-v00@openssh.com"), and what a public key's signature covers.

import { SshError } from "./errors.ts";
import type { KeyboardPrompts } from "./events.ts";
import {
  booleanField,
  byteField,
  nameField,
  nameListField,
  readMessage,
  stringField,
  textField,
  uint32Field,
} from "./fields.ts";
import { MSG } from "./numbers.ts";

export const USERAUTH_SERVICE = "ssh-userauth";
export const CONNECTION_SERVICE = "ssh-connection";
export const HOSTBOUND = "publickey-hostbound-v00@openssh.com";

export interface UserauthRequest {
  readonly user: string;
  readonly service: string;
  readonly method: RequestedMethod;
}

export type RequestedMethod =
  | { readonly name: "none" }
  | { readonly name: "password"; readonly password: Buffer; readonly change: boolean }
  | { readonly name: "keyboard-interactive"; readonly submethods: string }
  | {
      readonly name: "publickey";
      readonly algorithm: string;
      readonly key: Buffer;
      /** Only with the method bound to a host key. */
      readonly hostKey: Buffer | undefined;
      readonly proof: { readonly signature: Buffer; readonly signedPart: Buffer } | undefined;
    }
  | { readonly name: "other"; readonly method: string };

/** `sessionId` is part of what a signature covers. @throws SshError */
export function decodeUserauthRequest(payload: Buffer, sessionId: Buffer): UserauthRequest {
  const reader = readMessage(payload, MSG.userauthRequest);
  const user = reader.text();
  const service = reader.name();
  const name = reader.name();
  const done = (method: RequestedMethod): UserauthRequest => {
    reader.done();
    return { user, service, method };
  };
  switch (name) {
    case "none":
      return done({ name });
    case "password": {
      const change = reader.boolean();
      const password = reader.string();
      if (change) reader.string();
      return done({ name, password, change });
    }
    case "keyboard-interactive": {
      reader.string(); // Language.
      return done({ name, submethods: reader.text() });
    }
    case "publickey":
    case HOSTBOUND: {
      const signed = reader.byte();
      // The signature covers this byte as TRUE.
      if (signed > 1) throw new SshError("syntax", "a truth value that is neither 0 nor 1");
      const algorithm = reader.name();
      const key = reader.string();
      const hostKey = name === HOSTBOUND ? reader.string() : undefined;
      if (signed === 0)
        return done({ name: "publickey", algorithm, key, hostKey, proof: undefined });
      const signedPart = Buffer.concat([stringField(sessionId), payload.subarray(0, reader.at)]);
      const proof = { signature: reader.string(), signedPart };
      return done({ name: "publickey", algorithm, key, hostKey, proof });
    }
    default:
      return { user, service, method: { name: "other", method: name } };
  }
}

export function encodeUserauthRequest(user: string, method: string, ...fields: Buffer[]): Buffer {
  return Buffer.concat([
    byteField(MSG.userauthRequest),
    textField(user),
    nameField(CONNECTION_SERVICE),
    nameField(method),
    ...fields,
  ]);
}

export function encodePublicKeyQuery(user: string, algorithm: string, key: Buffer): Buffer {
  const fields = [booleanField(false), nameField(algorithm), stringField(key)];
  return encodeUserauthRequest(user, "publickey", ...fields);
}

/** The request up to its signature. */
export function encodeUnsignedRequest(user: string, algorithm: string, key: Buffer): Buffer {
  const fields = [booleanField(true), nameField(algorithm), stringField(key)];
  return encodeUserauthRequest(user, "publickey", ...fields);
}

export function encodeUserauthFailure(methods: readonly string[], partialSuccess: boolean): Buffer {
  return Buffer.concat([
    byteField(MSG.userauthFailure),
    nameListField(methods),
    booleanField(partialSuccess),
  ]);
}

export function decodeUserauthFailure(payload: Buffer): {
  readonly methods: readonly string[];
  readonly partialSuccess: boolean;
} {
  const reader = readMessage(payload, MSG.userauthFailure);
  const methods = reader.nameList(MAX_METHODS);
  const partialSuccess = reader.boolean();
  reader.done();
  return { methods, partialSuccess };
}

export function encodePkOk(algorithm: string, key: Buffer): Buffer {
  return Buffer.concat([byteField(MSG.userauthPkOk), nameField(algorithm), stringField(key)]);
}

export function decodePkOk(payload: Buffer): { readonly algorithm: string; readonly key: Buffer } {
  const reader = readMessage(payload, MSG.userauthPkOk);
  const algorithm = reader.name();
  const key = reader.string();
  reader.done();
  return { algorithm, key };
}

export function encodeInfoRequest(prompts: KeyboardPrompts): Buffer {
  return Buffer.concat([
    byteField(MSG.userauthInfoRequest),
    textField(prompts.name),
    textField(prompts.instruction),
    textField(""),
    uint32Field(prompts.prompts.length),
    ...prompts.prompts.flatMap(({ text, echo }) => [textField(text), booleanField(echo)]),
  ]);
}

export function decodeInfoRequest(payload: Buffer): KeyboardPrompts {
  const reader = readMessage(payload, MSG.userauthInfoRequest);
  const name = reader.shownText();
  const instruction = reader.shownText();
  reader.string(); // Language.
  const count = reader.uint32();
  if (count > MAX_PROMPTS) throw new SshError("limit", `${count} prompts`);
  const prompts = Array.from({ length: count }, () => {
    const text = reader.shownText();
    return { text, echo: reader.boolean() };
  });
  reader.done();
  return { name, instruction, prompts };
}

export function encodeInfoResponse(answers: readonly Buffer[]): Buffer {
  return Buffer.concat([
    byteField(MSG.userauthInfoResponse),
    uint32Field(answers.length),
    ...answers.map((answer) => stringField(answer)),
  ]);
}

export function decodeInfoResponse(payload: Buffer): readonly Buffer[] {
  const reader = readMessage(payload, MSG.userauthInfoResponse);
  const count = reader.uint32();
  if (count > MAX_PROMPTS) throw new SshError("limit", `${count} answers`);
  const answers = Array.from({ length: count }, () => reader.string());
  reader.done();
  return answers;
}

export function encodeBanner(text: string): Buffer {
  return Buffer.concat([byteField(MSG.userauthBanner), textField(text), textField("")]);
}

export function decodeBanner(payload: Buffer): string {
  const reader = readMessage(payload, MSG.userauthBanner);
  const text = reader.shownText();
  reader.string();
  reader.done();
  return text;
}

export function encodeService(number: number, service: string): Buffer {
  return Buffer.concat([byteField(number), nameField(service)]);
}

export function decodeService(payload: Buffer): string {
  const reader = readMessage(payload, payload[0]!);
  const service = reader.name();
  reader.done();
  return service;
}

const MAX_METHODS = 32;
const MAX_PROMPTS = 32;
