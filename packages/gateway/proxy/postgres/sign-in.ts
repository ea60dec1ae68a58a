// How a client shows who it is, inside TLS: a token as the password, a proof of a handle (SCRAM-SHA-256, bound
// to the channel where the client can), a token by OAUTHBEARER, or a certificate that TLS proved the key of. PostgreSQL docs, "SASL Authentication",
// "OAuth Authorization/Authentication". Nothing is believed here: what was shown goes to the control side.
//
// Which one is the door's to ask for. A client that names its handle in the user name is asked for a proof;
// one that says so in its options for OAUTHBEARER; one that showed a certificate of ours for nothing more; every
// other one for a password.

import type { TLSSocket } from "node:tls";
import {
  authenticationCleartextPassword,
  authenticationSasl,
  authenticationSaslContinue,
} from "@custody/wire/postgres/backend.ts";
import { WireError } from "@custody/wire/postgres/errors.ts";
import type { FrameCursor } from "@custody/wire/postgres/frames.ts";
import {
  decodePassword,
  decodeSaslInitialResponse,
  decodeSaslResponse,
} from "@custody/wire/postgres/frontend.ts";
import {
  decodeOauthToken,
  OAUTH_ERROR_SEEN,
  OAUTHBEARER,
  type OauthDirections,
  oauthRefusal,
} from "@custody/wire/postgres/oauthbearer.ts";
import { scramServer } from "@custody/wire/postgres/scram-server.ts";
import { GatewayError } from "../../base/errors.ts";
import type { RandomBytes } from "../../base/ids.ts";
import { Secret } from "../../base/secret.ts";
import type { PostgresSignIn } from "../../config/config.ts";
import {
  delegationOfHandleName,
  HANDLE_ITERATIONS,
  handleSalt,
} from "../../delegation/handle-proof.ts";
import type { ShownCredential } from "../../session/control.ts";
import { certificateHash } from "./certificate-hash.ts";
import { type Message, type MessageReader, readMessages } from "./message-reader.ts";

export interface SignInDeps {
  /** What may be asked for. */
  readonly ways: ReadonlySet<PostgresSignIn>;
  readonly oauth: OauthDirections;
  readonly random: RandomBytes;
  /** Password messages are small: tokens, not statements. */
  readonly maxPasswordBytes: number;
}

/** What the start-up packet says of how the client wants to sign in. */
export interface Wanted {
  /** `cst_<id>` behind the target's name. */
  readonly handleName: string | undefined;
  /** `-c custody.sign_in=oauth` in its options. */
  readonly oauth: boolean;
}

export interface SignedIn {
  readonly credential: ShownCredential;
  /** Says, as the mechanism has it, that the credential is worth nothing; the FATAL follows. */
  readonly refuse: ((signal: AbortSignal) => Promise<void>) | undefined;
}

/** Throws GatewayError: protocol, unauthenticated, forbidden; also when only directions were asked for. */
export async function signIn(
  socket: TLSSocket,
  wanted: Wanted,
  deps: SignInDeps,
  signal: AbortSignal,
): Promise<SignedIn> {
  const dialogue: Dialogue = { socket, deps, signal };
  switch (wayOf(wanted, deps.ways, socket)) {
    case "scram":
      return proved(dialogue, delegationOfHandleName(wanted.handleName ?? ""));
    case "oauth":
      return byOauth(dialogue);
    case "certificate":
      return byCertificate(socket);
    case "password":
      return byPassword(dialogue);
  }
}

interface Dialogue {
  readonly socket: TLSSocket;
  readonly deps: SignInDeps;
  readonly signal: AbortSignal;
}

function wayOf(
  { handleName, oauth }: Wanted,
  ways: ReadonlySet<PostgresSignIn>,
  socket: TLSSocket,
): PostgresSignIn {
  const wish = handleName !== undefined ? "scram" : oauth ? "oauth" : undefined;
  if (wish !== undefined && !ways.has(wish))
    throw new GatewayError("forbidden", `this gateway's door takes no sign-in by ${wish}`, {
      hint: `it takes: ${[...ways].join(", ")}`,
    });
  if (wish !== undefined) return wish;
  if (ways.has("certificate") && showsOurs(socket)) return "certificate";
  if (ways.has("password")) return "password";
  if (ways.has("oauth")) return "oauth";
  throw new GatewayError("forbidden", "this gateway's door asks for no password", {
    hint: ways.has("scram")
      ? "give the user name as [account~]target~cst_<id>, the beginning of the handle, and the handle as the password"
      : "sign in with a client certificate: custody connect --certificate, or sslcert and sslkey",
  });
}

/**
 * What the certificate says of itself: libpq shows one that lies in the home folder to every server, and who
 * has one of another authority is asked for a password as before.
 */
function showsOurs(socket: TLSSocket): boolean {
  const shown = socket.getPeerX509Certificate();
  return shown?.subjectAltName?.startsWith("URI:custody:delegation:") === true;
}

function byCertificate(socket: TLSSocket): SignedIn {
  const shown = socket.getPeerX509Certificate();
  if (shown === undefined) throw new GatewayError("protocol", "the certificate is gone");
  return {
    credential: { kind: "client-certificate", certificate: shown.raw },
    refuse: undefined,
  };
}

async function byPassword(dialogue: Dialogue): Promise<SignedIn> {
  dialogue.socket.write(authenticationCleartextPassword());
  return during(dialogue, async (reader) => {
    const { buffer, start, end } = await answer(reader);
    const credential = decoded(() => new Secret(decodePassword(buffer, start, end)));
    return { credential, refuse: undefined };
  });
}

async function proved(dialogue: Dialogue, delegationId: string | undefined): Promise<SignedIn> {
  const { deps, socket } = dialogue;
  if (delegationId === undefined) throw new GatewayError("internal", "a handle without an id");
  const scram = scramServer({
    nonce: deps.random(24).toString("base64"),
    salt: handleSalt(delegationId),
    iterations: HANDLE_ITERATIONS,
    certificateHash: certificateHash(socket.getX509Certificate()),
  });
  socket.write(authenticationSasl(scram.mechanisms));
  return during(dialogue, async (reader) => {
    const { mechanism, response } = await initialResponse(reader);
    const first = decoded(() => scram.first(mechanism, response));
    socket.write(authenticationSaslContinue(first));
    const { buffer, start, end } = await answer(reader);
    const proof = decoded(() => scram.final(decodeSaslResponse(buffer, start, end).response));
    return {
      credential: { kind: "handle-proof", delegationId, ...proof },
      refuse: undefined,
    };
  });
}

async function byOauth(dialogue: Dialogue): Promise<SignedIn> {
  const { deps, socket } = dialogue;
  socket.write(authenticationSasl([OAUTHBEARER]));
  const token = await during(dialogue, async (reader) => {
    const { mechanism, response } = await initialResponse(reader);
    if (mechanism !== OAUTHBEARER)
      throw new GatewayError("protocol", "a mechanism that was not offered");
    return decoded(() => decodeOauthToken(response));
  });
  const refuse = async (until: AbortSignal) => {
    socket.write(authenticationSaslContinue(oauthRefusal(deps.oauth)));
    await during({ ...dialogue, signal: until }, async (reader) => {
      const { buffer, start, end } = await answer(reader);
      const seen = decoded(() => decodeSaslResponse(buffer, start, end).response);
      if (!seen.equals(OAUTH_ERROR_SEEN))
        throw new GatewayError("protocol", "unexpected bytes behind an error of OAUTHBEARER");
    });
  };
  if (token !== "")
    return { credential: { kind: "oauth-token", token: new Secret(token) }, refuse };
  await refuse(dialogue.signal);
  // As PostgreSQL ends it; libpq connects again once it has a token.
  throw new GatewayError("unauthenticated", "OAuth bearer authentication failed: no token", {
    hint: `a token is had from ${deps.oauth.discoveryUrl}`,
  });
}

/** Reads in a dialogue: nothing may be there that was not asked for. */
async function during<T>(
  { deps, signal, socket }: Dialogue,
  talk: (reader: MessageReader) => Promise<T>,
): Promise<T> {
  const reader = readMessages(socket, {
    maxFrameBytes: deps.maxPasswordBytes,
    closed: (cause) => new GatewayError("protocol", "closed before the password", { cause }),
    signal,
  });
  let cursor: FrameCursor | undefined;
  try {
    const result = await talk(reader);
    cursor = reader.release();
    if (cursor.partial || cursor.next())
      throw new GatewayError("protocol", "bytes behind the password message");
    return result;
  } finally {
    if (cursor === undefined) reader.release();
  }
}

async function answer(reader: MessageReader): Promise<Message> {
  const message = await reader.next();
  if (message.type !== 0x70) throw new GatewayError("protocol", "expected a password message");
  return message;
}

async function initialResponse(reader: MessageReader) {
  const { buffer, start, end } = await answer(reader);
  const { mechanism, response } = decoded(() => decodeSaslInitialResponse(buffer, start, end));
  if (response === null)
    throw new GatewayError(
      "protocol",
      `${mechanism.slice(0, 40)} begins with the client's message`,
    );
  return { mechanism, response };
}

/** What cannot be read, or is no proof of anything, in one form. */
function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    const isOfSasl = cause instanceof WireError && cause.code === "authentication";
    const code = isOfSasl ? "unauthenticated" : "protocol";
    throw new GatewayError(code, "the sign-in is not accepted", { cause });
  }
}
