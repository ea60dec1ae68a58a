// How a client's connection begins: SSLRequest or direct TLS, GSSENCRequest, CancelRequest, then the
// StartupMessage inside TLS, then who it is (sign-in.ts). PostgreSQL docs, "Message Flow: Start-up", "SSL Session
// Encryption", "Canceling Requests in Progress"; protocol 3.0 and 3.2.
//
// Nothing is asked and nothing is believed before TLS; only a cancel may come in plain text, as libpq
// before 17 sends it.

import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import { negotiateProtocolVersion } from "@custody/wire/postgres/backend.ts";
import { decodeStartup, type StartupPacket } from "@custody/wire/postgres/startup.ts";
import { GatewayError } from "../../base/errors.ts";
import { judgeSetting, parseOptions } from "./settings.ts";
import { type SignedIn, type SignInDeps, signIn } from "./sign-in.ts";

export interface StartupDeps extends SignInDeps {
  readonly secureContext: () => SecureContext;
  readonly maxStartupBytes: number;
}

/** Logical, of one database; or all of the server's log and files. */
export type Replication = "database" | "server";

export interface CancelStart {
  readonly kind: "cancel";
  readonly processId: number;
  readonly key: Buffer;
}

export interface SessionStart extends SignedIn {
  readonly kind: "session";
  readonly socket: TLSSocket;
  readonly minor: 0 | 2;
  readonly target: string;
  readonly account: string | undefined;
  /** Empty where all of the server is replicated. */
  readonly database: string;
  readonly replication: Replication | undefined;
  /** Free settings for the server, by canonical name. */
  readonly settings: ReadonlyMap<string, string>;
  /** Recorded and echoed; the server is told the chain instead. */
  readonly applicationName: string | undefined;
  /** `-c custody.justification=…` in PGOPTIONS; kept here, never sent on. */
  readonly justification: string | undefined;
}

/**
 * Reads up to and including what signs in. undefined: the client went away, as probes and libpq's
 * retries do. Throws GatewayError with what to tell the client; `socket` below is what to tell it on.
 */
export async function receiveStartup(
  accepted: Socket,
  deps: StartupDeps,
  signal: AbortSignal,
  onSecure: (socket: TLSSocket) => void,
): Promise<SessionStart | CancelStart | undefined> {
  let socket: Socket = accepted;
  let secure: TLSSocket | undefined;
  let encryptionAnswers = 0;
  for (;;) {
    const packet = await readPacket(socket, deps, signal, secure === undefined);
    if (packet === undefined) return undefined;
    if (packet === "client-hello") {
      secure = await startTls(accepted, deps, signal);
      onSecure(secure);
      if (secure.alpnProtocol !== "postgresql")
        throw new GatewayError("protocol", "direct TLS needs the ALPN protocol postgresql");
      socket = secure;
      continue;
    }
    if (packet.kind === "cancel")
      return { kind: "cancel", processId: packet.processId, key: Buffer.from(packet.key) };
    if (packet.kind === "startup") {
      if (secure === undefined)
        throw new GatewayError("tls_required", "Custody accepts connections over TLS only", {
          hint: "use sslmode=verify-full with sslrootcert set to the gateway's CA",
        });
      return finishStartup(secure, packet, deps, signal);
    }
    // SSLRequest or GSSENCRequest: once each, outside TLS, and nothing may be buffered behind it
    // (plaintext injection, CVE-2021-23214).
    encryptionAnswers += 1;
    if (secure !== undefined || encryptionAnswers > 2 || socket.readableLength > 0)
      throw new GatewayError("protocol", "unexpected bytes around an encryption request");
    if (packet.kind === "gss") {
      socket.write(Buffer.of(0x4e));
      continue;
    }
    socket.write(Buffer.of(0x53));
    secure = await startTls(accepted, deps, signal);
    onSecure(secure);
    socket = secure;
  }
}

async function startTls(
  accepted: Socket,
  deps: StartupDeps,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const socket = new TLSSocket(accepted, {
    isServer: true,
    secureContext: deps.secureContext(),
    ALPNProtocols: ["postgresql"],
    // TLS proves that the client has the key; whose certificate it is, the control side judges.
    requestCert: deps.ways.has("certificate"),
    rejectUnauthorized: false,
  });
  await new Promise<void>((resolve, reject) => {
    const finish = (error?: unknown) => {
      socket.off("secure", finish);
      socket.off("error", finish);
      socket.off("close", onClose);
      signal.removeEventListener("abort", onAbort);
      if (error === undefined) return resolve();
      // In the middle of a handshake there is no form in which a message could be understood.
      socket.destroy();
      reject(new GatewayError("protocol", "TLS handshake failed", { cause: error }));
    };
    const onClose = () => finish(new Error("closed"));
    const onAbort = () => finish(signal.reason);
    socket.once("secure", finish);
    socket.once("error", finish);
    socket.once("close", onClose);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  socket.on("error", () => socket.destroy());
  return socket;
}

type Packet = Exclude<StartupPacket, { kind: "need" }>;

/** One untyped packet, not a byte more: what follows belongs to TLS or to the typed messages. */
async function readPacket(
  socket: Socket,
  deps: StartupDeps,
  signal: AbortSignal,
  tlsAllowed: boolean,
): Promise<Packet | "client-hello" | undefined> {
  const first = await readExactly(socket, 1, signal);
  if (first === undefined) return undefined;
  if (first[0] === 0x16 && tlsAllowed) {
    socket.unshift(first);
    return "client-hello";
  }
  let packet = first;
  for (;;) {
    const decoded = decode(packet, deps.maxStartupBytes);
    if (decoded.kind !== "need") return decoded;
    const more = await readExactly(socket, decoded.bytes - packet.length, signal);
    if (more === undefined) throw new GatewayError("protocol", "the start-up packet was cut off");
    packet = Buffer.concat([packet, more]);
  }
}

function decode(packet: Buffer, maxStartupBytes: number): StartupPacket {
  try {
    return decodeStartup(packet, { maxStartupBytes });
  } catch (error) {
    throw new GatewayError("protocol", "malformed start-up packet", { cause: error });
  }
}

/** undefined when the peer ends before the first of these bytes. */
async function readExactly(
  socket: Socket,
  size: number,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const cleanup = () => {
      socket.off("readable", onReadable);
      socket.off("end", onEnd);
      socket.off("close", onEnd);
      socket.off("error", onError);
      signal.removeEventListener("abort", onAbort);
    };
    const onReadable = () => {
      const bytes: Buffer | null = socket.read(size);
      if (bytes === null) return;
      cleanup();
      if (bytes.length < size) resolve(undefined);
      else resolve(bytes);
    };
    const onEnd = () => {
      cleanup();
      resolve(undefined);
    };
    const onError = (error: Error) => {
      cleanup();
      reject(new GatewayError("protocol", "the connection failed", { cause: error }));
    };
    const onAbort = () => {
      cleanup();
      reject(signal.reason);
    };
    socket.on("readable", onReadable);
    socket.on("end", onEnd);
    socket.on("close", onEnd);
    socket.on("error", onError);
    signal.addEventListener("abort", onAbort, { once: true });
    onReadable();
  });
}

async function finishStartup(
  socket: TLSSocket,
  packet: Extract<StartupPacket, { kind: "startup" }>,
  deps: StartupDeps,
  signal: AbortSignal,
): Promise<SessionStart> {
  if (packet.major !== 3)
    throw new GatewayError("protocol", `unsupported protocol ${packet.major}.${packet.minor}`);
  const parameters = judgeParameters(packet.parameters);
  // Minor 1 was never assigned; a newer minor is answered with the newest we speak.
  const minor = packet.minor >= 2 ? 2 : 0;
  if (packet.minor > 2 || packet.minor === 1 || parameters.extensions.length > 0)
    socket.write(negotiateProtocolVersion(minor, parameters.extensions));
  const { target, account, handleName } = parseUserName(parameters.user);
  const { oauth, replication } = parameters;
  const wanted = { handleName, oauth };
  const signedIn = await signIn(socket, wanted, deps, signal);
  return {
    ...signedIn,
    kind: "session",
    socket,
    minor,
    target,
    account,
    database: replication === "server" ? "" : (parameters.database ?? parameters.user),
    replication,
    settings: parameters.settings,
    applicationName: parameters.applicationName,
    justification: parameters.justification,
  };
}

interface JudgedParameters {
  readonly user: string;
  readonly database: string | undefined;
  readonly applicationName: string | undefined;
  readonly justification: string | undefined;
  readonly settings: ReadonlyMap<string, string>;
  readonly extensions: readonly string[];
  /** The client has no password and asks for OAUTHBEARER. */
  readonly oauth: boolean;
  readonly replication: Replication | undefined;
}

/** In a client's options, for the gateway alone: how it wants to sign in. */
const SIGN_IN_OPTION = "custody.sign_in";

/** Allow-list: `settings.ts` says which settings a client may choose; everything else ends the start-up. */
function judgeParameters(parameters: ReadonlyMap<string, string>): JudgedParameters {
  const settings = new Map<string, string>();
  const extensions: string[] = [];
  let applicationName: string | undefined;
  let justification: string | undefined;
  let oauth = false;
  let replication: Replication | undefined;
  const judge = (name: string, value: string) => {
    const judged = judgeSetting(name, value);
    if (!judged.ok)
      throw new GatewayError("invalid", `start-up parameter ${printable(name)}: ${judged.reason}`, {
        hint: "leave it out; the gateway sets what the session needs",
      });
    if (judged.kind === "renamed") applicationName = value;
    else if (judged.kind === "custody") justification = value;
    else if (judged.kind === "free" || judged.kind === "tighten") settings.set(judged.name, value);
  };
  for (const [name, value] of parameters) {
    if (name === "user" || name === "database") continue;
    if (name.startsWith("_pq_.")) extensions.push(name);
    else if (name === "replication") replication = replicationOf(value);
    else if (name === "options") {
      const parsed = parseOptions(value);
      if (!parsed.ok) throw new GatewayError("invalid", `start-up options: ${parsed.reason}`);
      for (const [option, setting] of parsed.settings)
        if (option === SIGN_IN_OPTION) oauth = isOauth(setting);
        else judge(option, setting);
    } else judge(name, value);
  }
  const user = parameters.get("user");
  if (user === undefined || user === "")
    throw new GatewayError("invalid", "the start-up packet names no user", {
      hint: "the user name is [account~]target",
    });
  const database = parameters.get("database");
  return {
    user,
    database: database === "" ? undefined : database,
    applicationName,
    justification: justification === "" ? undefined : justification,
    settings,
    extensions,
    oauth,
    replication,
  };
}

function isOauth(wish: string): boolean {
  if (wish === "oauth") return true;
  throw new GatewayError(
    "invalid",
    `start-up option ${SIGN_IN_OPTION}: only oauth can be asked for`,
  );
}

/** As the server reads it: a truth value, or `database`. */
function replicationOf(value: string): Replication | undefined {
  const wish = value.toLowerCase();
  if (wish === "database") return "database";
  if (["1", "true", "on", "yes"].includes(wish)) return "server";
  if (["", "0", "false", "off", "no"].includes(wish)) return undefined;
  throw new GatewayError(
    "invalid",
    "start-up parameter replication: expected a truth value or database",
  );
}

/** `[account~]target[~cst_<id>]`; names are `[a-z0-9-]+`, so that none has the underscore of a handle. */
function parseUserName(user: string): {
  target: string;
  account: string | undefined;
  handleName: string | undefined;
} {
  const match = USER_NAME.exec(user);
  if (match?.[2] === undefined)
    throw new GatewayError("not_found", `user name ${printable(user)} names no target`, {
      hint: "the user name is [account~]target, with lower-case letters, digits and dashes",
    });
  return { target: match[2], account: match[1], handleName: match[3] };
}

const USER_NAME = /^(?:([a-z0-9-]{1,63})~)?([a-z0-9-]{1,63})(?:~(cst_[0-9a-hjkmnp-tv-z]{4,32}))?$/;

/** A client's own text in a message to it: short, and nothing a terminal would act on. */
function printable(text: string): string {
  return JSON.stringify(text.slice(0, 64)).replace(/[\u007f-\u009f\u2028\u2029]/g, "?");
}
