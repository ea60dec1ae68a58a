// The way to a PostgreSQL target: TCP, TLS (SSLRequest, verify-full), start-up with our own settings,
// SCRAM-SHA-256 bound to the channel where the server can, up to the first ReadyForQuery. PostgreSQL docs, "Message Flow: Start-up".
//
// Who owns the state: the caller owns the returned socket and ends it.

import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import {
  type Authentication,
  decodeAuthentication,
  decodeBackendKeyData,
  decodeErrorFields,
  decodeParameterStatus,
} from "@custody/wire/postgres/backend.ts";
import type { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { encodeSaslInitialResponse, encodeSaslResponse } from "@custody/wire/postgres/frontend.ts";
import { scramClient } from "@custody/wire/postgres/scram.ts";
import {
  encodeCancelRequest,
  encodeSslRequest,
  encodeStartup,
} from "@custody/wire/postgres/startup.ts";
import { GatewayError } from "../../base/errors.ts";
import type { RandomBytes } from "../../base/ids.ts";
import type { UpstreamCredential } from "../../session/control.ts";
import type { PostgresTarget } from "../../target/target.ts";
import { certificateHash } from "./certificate-hash.ts";
import { type MessageReader, readMessages } from "./message-reader.ts";
import { trustIn } from "./target-trust.ts";

export interface UpstreamDeps {
  readonly random: RandomBytes;
  /** Contents of the target's CA file; undefined: the system's roots. */
  readonly ca: string | undefined;
  readonly connectTimeoutMs: number;
  readonly maxFrameBytes: number;
}

export interface Upstream {
  readonly socket: Socket;
  readonly cursor: FrameCursor;
  /** What the server reported of its settings, in order. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly processId: number;
  readonly cancelKey: Buffer;
}

/** Throws GatewayError "target_unavailable"; its message names the target and never the credential. */
export async function connectUpstream(
  target: PostgresTarget,
  database: string,
  credential: UpstreamCredential,
  settings: ReadonlyMap<string, string>,
  deps: UpstreamDeps,
): Promise<Upstream> {
  // The socket keeps the signal for its whole life: it must never fire once the session is open.
  const connecting = new AbortController();
  const { signal } = connecting;
  const timer = setTimeout(() => connecting.abort(), deps.connectTimeoutMs);
  const unavailable = (what: string) => (cause: unknown) =>
    new GatewayError("target_unavailable", `target ${target.name}: ${what}`, {
      hint: "try again; if it lasts, tell whoever runs the gateway",
      cause,
    });
  let socket: Socket | undefined;
  try {
    socket = await openSocket(target, deps, signal);
    // Whoever holds the socket sees it close; an error of its own needs nobody to listen.
    socket.on("error", () => undefined);
    const reader = readMessages(socket, {
      maxFrameBytes: deps.maxFrameBytes,
      closed: unavailable("closed the connection during sign-in"),
      signal,
    });
    socket.write(
      encodeStartup(new Map([["user", credential.user], ["database", database], ...settings])),
    );
    const ready = await signIn(reader, socket, target, credential, deps);
    return { socket, cursor: reader.release(), ...ready };
  } catch (error) {
    socket?.destroy();
    if (error instanceof GatewayError && !signal.aborted) throw error;
    if (signal.aborted) throw unavailable("did not answer in time")(error);
    throw unavailable("cannot be reached")(error);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks the server to cancel whatever that backend runs now, if that is still wanted once it is reached.
 * Settles when the request was delivered.
 */
export async function cancelUpstream(
  target: PostgresTarget,
  processId: number,
  cancelKey: Buffer,
  deps: UpstreamDeps,
  isWanted: () => boolean,
): Promise<void> {
  const signal = AbortSignal.timeout(deps.connectTimeoutMs);
  const socket = await openSocket(target, deps, signal);
  if (!isWanted()) {
    socket.destroy();
    return;
  }
  await new Promise<void>((resolve) => {
    socket.once("close", () => resolve());
    socket.once("error", () => resolve());
    signal.addEventListener("abort", () => socket.destroy(), { once: true });
    socket.resume();
    socket.end(encodeCancelRequest(processId, cancelKey));
  });
}

async function openSocket(
  target: PostgresTarget,
  deps: UpstreamDeps,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = await settled(
    connectTcp({ host: target.host, port: target.port, noDelay: true, signal }),
    "connect",
  );
  if (target.tls.mode === "insecure-plaintext") return socket;
  socket.write(encodeSslRequest());
  const answer = await firstByte(socket, signal);
  // Anything behind the one byte came in plain text and could be somebody else's (CVE-2021-23222).
  if (answer !== 0x53 || socket.readableLength > 0) {
    socket.destroy();
    throw new GatewayError("target_unavailable", `target ${target.name}: offers no TLS`, {
      hint: "turn ssl on at the server; plain text needs `tls: insecure-plaintext`",
    });
  }
  return settled(
    connectTls({
      socket,
      host: target.host,
      ALPNProtocols: ["postgresql"],
      secureContext: trustIn(deps.ca),
      rejectUnauthorized: true,
      ...(isAddress(target.host) ? {} : { servername: target.host }),
    }),
    "secureConnect",
  );
}

function isAddress(host: string): boolean {
  return /^[0-9.]+$/.test(host) || host.includes(":");
}

async function settled<T extends Socket>(
  socket: T,
  event: "connect" | "secureConnect",
): Promise<T> {
  await new Promise<void>((resolve, reject) => {
    const done = (error?: Error) => {
      socket.off(event, done);
      socket.off("error", done);
      socket.off("close", closed);
      if (error === undefined) resolve();
      else reject(error);
    };
    const closed = () => done(new Error(`closed before ${event}`));
    socket.once(event, done);
    socket.once("error", done);
    socket.once("close", closed);
  });
  return socket;
}

async function firstByte(socket: Socket, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const finish = (error: unknown, value: number) => {
      socket.off("readable", onReadable);
      socket.off("error", onError);
      socket.off("end", onEnd);
      signal.removeEventListener("abort", onAbort);
      if (error === undefined) resolve(value);
      else reject(error);
    };
    const onReadable = () => {
      const byte: Buffer | null = socket.read(1);
      if (byte !== null) finish(undefined, byte[0] ?? 0);
    };
    const onError = (error: Error) => finish(error, 0);
    const onEnd = () => finish(new Error("closed before an answer to SSLRequest"), 0);
    const onAbort = () => finish(signal.reason, 0);
    socket.on("readable", onReadable);
    socket.on("error", onError);
    socket.on("end", onEnd);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

async function signIn(
  reader: MessageReader,
  socket: Socket,
  target: PostgresTarget,
  credential: UpstreamCredential,
  deps: UpstreamDeps,
): Promise<Omit<Upstream, "socket" | "cursor">> {
  const parameters = new Map<string, string>();
  let processId = 0;
  let cancelKey: Buffer = Buffer.alloc(0);
  for (;;) {
    const { type, buffer, start, end } = await reader.next();
    switch (type) {
      case 0x52: // R, Authentication…
        await authenticate(
          reader,
          socket,
          decodeAuthentication(buffer, start, end),
          target,
          credential,
          deps,
        );
        break;
      case 0x53: {
        const { name, value } = decodeParameterStatus(buffer, start, end);
        parameters.set(name, value);
        break;
      }
      case 0x4b: {
        const key = decodeBackendKeyData(buffer, start, end);
        processId = key.processId;
        cancelKey = Buffer.from(key.key);
        break;
      }
      case 0x5a:
        return { parameters, processId, cancelKey };
      case 0x45:
        throw refusal(target, decodeErrorFields(buffer, start, end));
      case 0x4e: // NoticeResponse during start-up carries nothing a client needs.
        break;
      default:
        throw unexpected(target);
    }
  }
}

/** SCRAM-SHA-256 only: anything weaker would show the secret to whoever answers for the target. */
async function authenticate(
  reader: MessageReader,
  socket: Socket,
  request: Authentication,
  target: PostgresTarget,
  credential: UpstreamCredential,
  deps: UpstreamDeps,
): Promise<void> {
  if (request.kind === "ok") return;
  if (request.kind !== "sasl")
    throw new GatewayError(
      "target_unavailable",
      `target ${target.name}: asks for ${request.kind}; Custody signs in with SCRAM-SHA-256 only`,
      { hint: "set password_encryption and pg_hba.conf to scram-sha-256" },
    );
  if (credential.kind !== "password")
    throw new GatewayError("internal", `target ${target.name}: a credential of another protocol`);
  const client = scramClient({
    password: credential.password.reveal(),
    nonce: deps.random(18).toString("base64"),
    mechanisms: request.mechanisms,
    // Bound to this connection, so that nobody in between can sign in with what we prove.
    certificateHash:
      socket instanceof TLSSocket ? certificateHash(socket.getPeerX509Certificate()) : undefined,
  });
  socket.write(encodeSaslInitialResponse(client.mechanism, client.initialResponse));
  const first = await saslData(reader, target, "sasl-continue");
  socket.write(encodeSaslResponse(await client.respond(first)));
  client.verify(await saslData(reader, target, "sasl-final"));
}

async function saslData(
  reader: MessageReader,
  target: PostgresTarget,
  kind: "sasl-continue" | "sasl-final",
): Promise<Buffer> {
  const { type, buffer, start, end } = await reader.next();
  if (type === 0x45) throw refusal(target, decodeErrorFields(buffer, start, end));
  const answer = type === 0x52 ? decodeAuthentication(buffer, start, end) : undefined;
  if (answer === undefined || answer.kind !== kind) throw unexpected(target);
  return answer.data;
}

/** The server's own words can name roles of ours: only its SQLSTATE is passed on (I5). */
function refusal(target: PostgresTarget, fields: ReadonlyMap<string, string>): GatewayError {
  const state = fields.get("C") ?? "XX000";
  const cause = new Error(fields.get("M") ?? "no message");
  if (state === "3D000")
    return new GatewayError("not_found", `target ${target.name} has no such database`, { cause });
  return new GatewayError("target_unavailable", `target ${target.name} refused (${state})`, {
    hint: "tell whoever runs the gateway; its log has the target's words",
    cause,
  });
}

function unexpected(target: PostgresTarget): GatewayError {
  return new GatewayError(
    "target_unavailable",
    `target ${target.name}: does not speak PostgreSQL as expected`,
  );
}
