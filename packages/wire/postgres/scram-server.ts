// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677; channel binding
// tls-server-end-point, RFC 5929 section 4). Messages only: whether the proof is right is for whoever has
// the keys (`ScramProof`). The user name in here is ignored, as PostgreSQL does; the start-up packet's
// counts.

import { WireError } from "./errors.ts";

export const SCRAM_SHA_256 = "SCRAM-SHA-256";
export const SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS";

export interface ScramServerOptions {
  /** Fresh for each exchange: 18 random bytes in base64 or more. It is what makes a proof of no use again. */
  readonly nonce: string;
  readonly salt: Uint8Array;
  readonly iterations: number;
  /** Of the certificate shown on this connection; undefined: a kind without a hash, so PLUS is not offered. */
  readonly certificateHash: Uint8Array | undefined;
}

/** What the client proves with, to be held against the keys of the one it says it is. */
export interface ScramProof {
  /** Both first messages and the last one without its proof (RFC 5802 section 3). */
  readonly authMessage: Uint8Array;
  /** 32 bytes. */
  readonly proof: Uint8Array;
}

/** One exchange; each step once and in this order. @throws WireError "authentication" for what is not SCRAM, or bound to another channel. */
export interface ScramServer {
  /** What AuthenticationSASL offers, best first. */
  readonly mechanisms: readonly string[];
  /** Data of SASLInitialResponse to that of AuthenticationSASLContinue. */
  first(mechanism: string, clientFirst: Uint8Array): Buffer;
  /** Data of SASLResponse. */
  final(clientFinal: Uint8Array): ScramProof;
}

export function scramServer(options: ScramServerOptions): ScramServer {
  const { certificateHash, iterations, nonce: ours, salt } = options;
  if (!NONCE.test(ours)) throw new WireError("syntax", "a SCRAM nonce is printable ASCII");
  const mechanisms =
    certificateHash === undefined ? [SCRAM_SHA_256] : [SCRAM_SHA_256_PLUS, SCRAM_SHA_256];
  let begun = false;
  let expected: { readonly binding: string; readonly nonce: string; before: string } | undefined;
  return {
    mechanisms,
    first(mechanism, clientFirst) {
      if (begun) throw failure("the client's first message comes twice");
      begun = true;
      if (!mechanisms.includes(mechanism)) throw failure("a mechanism that was not offered");
      const { header, bare, nonce: theirs } = parseClientFirst(clientFirst);
      refuseDowngrade(header, mechanism, certificateHash !== undefined);
      const nonce = `${theirs}${ours}`;
      const serverFirst = `r=${nonce},s=${Buffer.from(salt).toString("base64")},i=${iterations}`;
      const bound = mechanism === SCRAM_SHA_256_PLUS ? certificateHash : undefined;
      const binding = Buffer.concat([Buffer.from(header, "latin1"), bound ?? Buffer.alloc(0)]);
      expected = { binding: binding.toString("base64"), nonce, before: `${bare},${serverFirst}` };
      return Buffer.from(serverFirst, "latin1");
    },
    final(clientFinal) {
      const exchange = expected;
      expected = undefined;
      if (exchange === undefined) throw failure("the client's final message is out of order");
      const { withoutProof, binding, nonce, proof } = parseClientFinal(clientFinal);
      if (binding !== exchange.binding)
        throw failure("the channel binding is not that of this connection");
      if (nonce !== exchange.nonce)
        throw failure("the client's nonce is not that of this exchange");
      return { authMessage: Buffer.from(`${exchange.before},${withoutProof}`, "latin1"), proof };
    },
  };
}

/** Data of AuthenticationSASLFinal: the server knows the secret too. */
export function scramServerFinal(signature: Uint8Array): Buffer {
  return Buffer.from(`v=${Buffer.from(signature).toString("base64")}`, "latin1");
}

/** RFC 5802 section 6: who could bind and thinks that the server cannot was told so by somebody in between. */
function refuseDowngrade(header: string, mechanism: string, canBind: boolean): void {
  const flag = header[0];
  if (mechanism === SCRAM_SHA_256_PLUS) {
    if (!header.startsWith("p=tls-server-end-point,"))
      throw failure("SCRAM-SHA-256-PLUS without the channel binding tls-server-end-point");
  } else if (flag === "p") throw failure("SCRAM-SHA-256 with a channel binding");
  else if (flag === "y" && canBind)
    throw failure("the client was told that no channel binding is offered, and it is");
}

interface ClientFirst {
  /** The GS2 header, its second comma included. */
  readonly header: string;
  readonly bare: string;
  readonly nonce: string;
}

function parseClientFirst(message: Uint8Array): ClientFirst {
  const match = CLIENT_FIRST.exec(shortText(message));
  if (match === null) throw failure("the client's first message is malformed");
  const [, header = "", bare = "", nonce = ""] = match;
  return { header, bare, nonce };
}

function parseClientFinal(message: Uint8Array) {
  const match = CLIENT_FINAL.exec(shortText(message));
  if (match === null) throw failure("the client's final message is malformed");
  const [, withoutProof = "", binding = "", nonce = "", proofText = ""] = match;
  const proof = Buffer.from(proofText, "base64");
  if (proof.length !== PROOF_BYTES) throw failure("the client's proof is not of 32 bytes");
  return { withoutProof, binding, nonce, proof };
}

/** Byte by byte, so that what is signed is what was sent. */
function shortText(message: Uint8Array): string {
  if (message.length > MAX_MESSAGE_BYTES) throw failure("a SCRAM message is too long");
  return Buffer.from(message.buffer, message.byteOffset, message.length).toString("latin1");
}

function failure(message: string): WireError {
  return new WireError("authentication", message);
}

const PROOF_BYTES = 32;
const MAX_MESSAGE_BYTES = 2048;
// Printable ASCII without the comma (RFC 5802 section 7).
const NONCE = /^[!-+\--~]{16,256}$/;
const BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})";
// No authorization identity (PostgreSQL knows none), no mandatory extension (m=); others are ignored. A
// name is UTF-8 without comma; `=` only as =2C and =3D.
const CLIENT_FIRST =
  /^((?:n|y|p=[A-Za-z0-9.-]{1,64}),,)(n=(?:[^\0,=]|=2C|=3D)*,r=([!-+\--~]{16,256})(?:,[A-Za-ln-z]=[^\0,]+)*)$/;
const CLIENT_FINAL = new RegExp(
  `^(c=(${BASE64}),r=([!-+\\--~]{1,600})(?:,[A-Za-oq-z]=[^\\0,]+)*),p=(${BASE64})$`,
);
