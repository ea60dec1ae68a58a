// OAUTHBEARER (RFC 7628) as PostgreSQL 18 takes and answers it: the client's message with the token, and
// what the server says when there is none or a wrong one. Messages only; what a token is worth is not known
// here.

import { WireError } from "./errors.ts";

export const OAUTHBEARER = "OAUTHBEARER";

/** What the client answers to an error, before the server ends the exchange (RFC 7628 section 3.2.3). */
export const OAUTH_ERROR_SEEN: Buffer = Buffer.of(0x01);

/**
 * The token of the client's first message; empty when it asks where to get one. The GS2 header has no
 * authorization identity and no channel binding, as in PostgreSQL.
 * @throws WireError "authentication" for any other message.
 */
export function decodeOauthToken(message: Uint8Array): string {
  if (message.length > MAX_MESSAGE_BYTES) throw failure("the OAUTHBEARER message is too long");
  const text = Buffer.from(message.buffer, message.byteOffset, message.length).toString("latin1");
  // RFC 7628 section 3.1: GS2 header, then key=value fields, each ended by ^A, and one more ^A.
  const [header = "", ...fields] = text.split(SEPARATOR);
  if (!/^[ny],,$/.test(header) || fields.pop() !== "" || fields.pop() !== "")
    throw failure("the OAUTHBEARER message is malformed");
  let auth: string | undefined;
  for (const field of fields) {
    const [, key = "", value = ""] = FIELD.exec(field) ?? [];
    if (key === "") throw failure("the OAUTHBEARER message is malformed");
    if (key.toLowerCase() !== "auth") continue;
    if (auth !== undefined) throw failure("the OAUTHBEARER message has two tokens");
    auth = value;
  }
  if (auth === undefined) throw failure("the OAUTHBEARER message has no auth field");
  if (auth === "") return "";
  const token = BEARER.exec(auth)?.[1];
  if (token === undefined) throw failure("the OAUTHBEARER message has no bearer token");
  return token;
}

/** Where a client learns how to get a token. */
export interface OauthDirections {
  /** URL of the authorization server's metadata (`…/.well-known/…`). */
  readonly discoveryUrl: string;
  /** Space separated; may be empty. */
  readonly scope: string;
}

/** RFC 7628 section 3.2.2: the token, or that there is none, is not accepted. */
export function oauthRefusal({ discoveryUrl, scope }: OauthDirections): Buffer {
  const answer = { status: "invalid_token", "openid-configuration": discoveryUrl, scope };
  return Buffer.from(JSON.stringify(answer), "utf8");
}

function failure(message: string): WireError {
  return new WireError("authentication", message);
}

const MAX_MESSAGE_BYTES = 65_536;
const SEPARATOR = "\x01";
const FIELD = /^([A-Za-z]+)=([\t\n\r -~]*)$/;
// RFC 6750 section 2.1; the scheme's case does not count.
const BEARER = /^Bearer +([A-Za-z0-9\-._~+/]+=*)$/i;
