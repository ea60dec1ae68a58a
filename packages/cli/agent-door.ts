// The door of one agent: a PostgreSQL listener on loopback that opens to the agent's own password and to
// nothing else, and behind which is the gateway, as the agent. What the agent is given is good here only and
// only as long as `custody run` lives: what it is worth at the gateway, a handle and the proof of a key,
// never leaves this process.
//
//   client ──TLS, certificate of this run──▶ door ──TLS, the gateway's own CA──▶ gateway
//
// Up to the password every message is the gateway's and the client's own, passed on; the password alone is
// replaced. After it bytes are passed on as they come: nothing here decides anything. PostgreSQL docs,
// "Message Flow: Start-up", "SSL Session Encryption", "Canceling Requests in Progress".
//
// Owns its sockets.

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { connect as connectTcp, createServer, isIP, type Server, type Socket } from "node:net";
import { pipeline } from "node:stream";
import {
  connect as connectTls,
  createSecureContext,
  type SecureContext,
  TLSSocket,
} from "node:tls";

import { errorResponse } from "@custody/wire/postgres/backend.ts";
import { decodePassword, password as passwordMessage } from "@custody/wire/postgres/frontend.ts";
import {
  decodeStartup,
  encodeSslRequest,
  POSTGRES_STARTUP_LIMITS,
} from "@custody/wire/postgres/startup.ts";

import { CliError } from "./faults.ts";
import { throwAwayCertificate } from "./throw-away-certificate.ts";

export interface DoorOptions {
  readonly gateway: { readonly host: string; readonly port: number };
  /** PEM of the gateway's CA; null: the system's. */
  readonly ca: string | null;
  /** What the gateway is shown, for each connection anew. */
  readonly credential: () => Promise<string>;
}

export interface Door extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** PEM: whom a client of this door trusts. */
  readonly ca: string;
  /** What a client shows here; worth nothing anywhere else. */
  readonly password: string;
}

const HOST = "localhost";
const ADDRESS = "127.0.0.1";
const MAX_CONNECTIONS = 256;
const STARTUP_MS = 30_000;
/** The gateway's messages before it asks for the password, and the password itself. */
const MAX_MESSAGE_BYTES = 65_536;
const TLS_HANDSHAKE = 0x16;

export async function openDoor(options: DoorOptions): Promise<Door> {
  const secret = randomBytes(24).toString("base64url");
  const { key, cert } = await throwAwayCertificate([HOST, ADDRESS]);
  const context = createSecureContext({ key, cert, minVersion: "TLSv1.2" });
  const open = new Set<Socket>();
  const server: Server = createServer({ noDelay: true }, (socket) => {
    track(open, socket);
    const timer = setTimeout(() => socket.destroy(), STARTUP_MS);
    welcome(socket, { ...options, secret, context, open })
      .catch(() => socket.destroy())
      .finally(() => clearTimeout(timer));
  });
  server.maxConnections = MAX_CONNECTIONS;
  const port = await new Promise<number>((done, failed) => {
    server.once("error", failed);
    server.listen(0, ADDRESS, () => {
      const address = server.address();
      done(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
  return {
    host: HOST,
    port,
    ca: cert,
    password: secret,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((done) => server.close(done));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

interface Inside extends DoorOptions {
  readonly secret: string;
  readonly context: SecureContext;
  readonly open: Set<Socket>;
}

function track(open: Set<Socket>, socket: Socket): void {
  open.add(socket);
  socket.on("error", () => socket.destroy());
  socket.on("close", () => open.delete(socket));
}

async function welcome(accepted: Socket, door: Inside): Promise<void> {
  const begun = await begin(accepted, door);
  if (begun === undefined) {
    accepted.destroy();
    return;
  }
  const { client, packet } = begun;
  const gateway = await reach(door);
  track(door.open, gateway);
  gateway.write(packet.bytes);
  if (packet.kind === "startup" && !(await signIn(client, gateway, door))) return;
  pipeline(client, gateway, () => undefined);
  pipeline(gateway, client, () => undefined);
}

interface Begun {
  readonly client: Socket;
  readonly packet: { readonly kind: "startup" | "cancel"; readonly bytes: Buffer };
}

/** To the client's first packet that is for the gateway; undefined: there is none. */
async function begin(accepted: Socket, door: Inside): Promise<Begun | undefined> {
  let socket = accepted;
  let secure = false;
  for (;;) {
    const first = await exactly(socket, 1);
    if (first === undefined) return undefined;
    if (first[0] === TLS_HANDSHAKE && !secure) {
      socket.unshift(first);
      socket = await startTls(accepted, door);
      secure = true;
      continue;
    }
    const bytes = await startupPacket(socket, first);
    const { kind } = decodeStartup(bytes, POSTGRES_STARTUP_LIMITS);
    if (kind === "cancel") return { client: socket, packet: { kind, bytes } };
    if (kind === "startup") {
      if (secure) return { client: socket, packet: { kind, bytes } };
      refuse(socket, "28000", "this listener takes connections over TLS only: sslmode=verify-full");
      return undefined;
    }
    // Nothing may be buffered behind a request to encrypt: it would be taken for encrypted.
    if (secure || socket.readableLength > 0) return undefined;
    if (kind === "gss") socket.write(Buffer.of(0x4e));
    else {
      socket.write(Buffer.of(0x53));
      socket = await startTls(accepted, door);
      secure = true;
    }
  }
}

async function startupPacket(socket: Socket, first: Buffer): Promise<Buffer> {
  let bytes = first;
  for (;;) {
    const decoded = decodeStartup(bytes, POSTGRES_STARTUP_LIMITS);
    if (decoded.kind !== "need") return bytes;
    const more = await exactly(socket, decoded.bytes - bytes.length);
    if (more === undefined) throw new CliError("refused", "the start-up packet was cut off");
    bytes = Buffer.concat([bytes, more]);
  }
}

async function startTls(accepted: Socket, { context, open }: Inside): Promise<TLSSocket> {
  const socket = new TLSSocket(accepted, {
    isServer: true,
    secureContext: context,
    ALPNProtocols: ["postgresql"],
  });
  track(open, socket);
  await new Promise<void>((done, failed) => {
    socket.once("secure", done);
    socket.once("error", failed);
    socket.once("close", () => failed(new Error("closed")));
  });
  return socket;
}

/** The gateway, as every client of it has to find it: verified, by the name it is known by. */
async function reach({ gateway, ca }: Inside): Promise<TLSSocket> {
  const socket = connectTcp({ ...gateway, noDelay: true });
  socket.on("error", () => socket.destroy());
  socket.write(encodeSslRequest());
  const answer = await exactly(socket, 1);
  if (answer?.[0] !== 0x53 || socket.readableLength > 0) {
    socket.destroy();
    throw new CliError("unreachable", "the gateway does not answer as one");
  }
  const secure = connectTls({
    socket,
    host: gateway.host,
    ALPNProtocols: ["postgresql"],
    minVersion: "TLSv1.2",
    ...(isIP(gateway.host) === 0 && { servername: gateway.host }),
    ...(ca !== null && { ca }),
  });
  await new Promise<void>((done, failed) => {
    secure.once("secureConnect", done);
    secure.once("error", failed);
    secure.once("close", () => failed(new Error("closed")));
  });
  return secure;
}

/**
 * Passes on what the gateway says until it asks for a password, and what the client shows then is this
 * door's or the end. false: it was the end.
 */
async function signIn(client: Socket, gateway: Socket, door: Inside): Promise<boolean> {
  for (;;) {
    const message = await typedMessage(gateway);
    client.write(message);
    if (message[0] === 0x52) break; // R, AuthenticationCleartextPassword
    if (message[0] !== 0x76) {
      // Anything but NegotiateProtocolVersion: it has said why.
      client.end();
      gateway.destroy();
      return false;
    }
  }
  const shown = await typedMessage(client);
  if (shown[0] !== 0x70 || !isSame(decodePassword(shown, 0, shown.length), door.secret)) {
    gateway.destroy();
    refuse(client, "28P01", "this listener belongs to another agent");
    return false;
  }
  gateway.write(passwordMessage(await door.credential()));
  return true;
}

function isSame(shown: string, secret: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(shown), digest(secret));
}

function refuse(socket: Socket, code: string, message: string): void {
  socket.end(errorResponse({ severity: "FATAL", code, message }));
}

async function typedMessage(socket: Socket): Promise<Buffer> {
  const head = await exactly(socket, 5);
  const length = head?.readInt32BE(1) ?? 0;
  if (head === undefined || length < 4 || length > MAX_MESSAGE_BYTES)
    throw new CliError("refused", "a message before sign-in that is none");
  const body = length === 4 ? Buffer.alloc(0) : await exactly(socket, length - 4);
  if (body === undefined) throw new CliError("refused", "a message that was cut off");
  return Buffer.concat([head, body]);
}

/** undefined: the peer ended before. */
async function exactly(socket: Socket, size: number): Promise<Buffer | undefined> {
  return new Promise((done, failed) => {
    const settle = (finish: () => void) => {
      socket.off("readable", onReadable);
      socket.off("end", onEnd);
      socket.off("close", onEnd);
      socket.off("error", onError);
      finish();
    };
    const onReadable = () => {
      const bytes: Buffer | null = socket.read(size);
      if (bytes === null) return;
      settle(() => done(bytes.length === size ? bytes : undefined));
    };
    const onEnd = () => settle(() => done(undefined));
    const onError = (error: Error) => settle(() => failed(error));
    socket.on("readable", onReadable);
    socket.on("end", onEnd);
    socket.on("close", onEnd);
    socket.on("error", onError);
    onReadable();
  });
}
