// Two ends of a connection in one process, without sockets: what tests of the protocol itself share. An
// end is our SshConnection, or the bare transport, with which a test can say anything.

import type { KeyObject } from "node:crypto";
import { signatureAlgorithmOf } from "./certificate.ts";
import { SshConnection } from "./connection.ts";
import type { SshEvent, TransportEvent } from "./events.ts";
import { clientKeyAlgorithm } from "./key-proof.ts";
import { publicKeyBlob, signBlob } from "./keys.ts";
import type { SshClientOptions, SshServerOptions } from "./options.ts";
import { ed25519 } from "./peer-harness.ts";
import { SshTransport } from "./transport.ts";

/** Changes or drops what goes from one end to the other. */
export type Between = (bytes: Buffer) => readonly Buffer[];

export interface End {
  receive(chunk: Buffer): void;
  /** Handles what is there. */
  handle(): void;
  takeOutput(): Buffer[];
}

/** Moves bytes between the ends until neither has anything more to say. */
export function settle(
  a: End,
  b: End,
  between: { readonly toB?: Between; readonly toA?: Between } = {},
): void {
  const whole: Between = (bytes) => [bytes];
  for (let idle = false; !idle; ) {
    idle = true;
    for (const [from, to, change] of [
      [a, b, between.toB ?? whole],
      [b, a, between.toA ?? whole],
    ] as const) {
      from.handle();
      for (const bytes of from.takeOutput()) {
        idle = false;
        for (const chunk of change(bytes)) {
          to.receive(Buffer.from(chunk));
          to.handle();
        }
      }
    }
  }
}

export interface ConnectionEnd extends End {
  readonly connection: SshConnection;
  readonly events: SshEvent[];
}

export const nowMs = (): number => 0;
export const HOST_KEY: KeyObject = ed25519();
export const USER_KEY: KeyObject = ed25519();

export function serverEnd(
  options: Partial<SshServerOptions> = {},
  on: (event: SshEvent, connection: SshConnection) => void = letIn,
): ConnectionEnd {
  const connection = new SshConnection({
    software: "server",
    hostKeys: [{ privateKey: HOST_KEY }],
    nowMs,
    ...options,
    role: "server",
  });
  return connectionEnd(connection, on);
}

export function clientEnd(
  options: Partial<SshClientOptions> = {},
  on: (event: SshEvent, connection: SshConnection) => void = logIn,
): ConnectionEnd {
  const connection = new SshConnection({
    software: "client",
    user: "web",
    hostKeyAccepted: () => true,
    nowMs,
    ...options,
    role: "client",
  });
  return connectionEnd(connection, on);
}

function connectionEnd(
  connection: SshConnection,
  on: (event: SshEvent, connection: SshConnection) => void,
): ConnectionEnd {
  const events: SshEvent[] = [];
  return {
    connection,
    events,
    receive: (chunk) => connection.receive(chunk),
    takeOutput: () => connection.takeOutput(),
    handle: () => {
      for (let event = connection.next(); event !== undefined; event = connection.next()) {
        events.push(event);
        on(event, connection);
      }
    },
  };
}

/** A server that lets everybody in and accepts every channel. */
export function letIn(event: SshEvent, connection: SshConnection): void {
  if (event.kind === "auth-request") {
    if (event.attempt.method === "publickey") connection.acceptAuth();
    else connection.rejectAuth(["publickey"]);
  }
  if (event.kind === "channel-open") connection.acceptChannel(event.channel);
}

/** A client that shows USER_KEY. */
export function logIn(event: SshEvent, connection: SshConnection): void {
  if (event.kind === "auth-wanted" && event.methods.length === 0) {
    proveKey(connection, USER_KEY, publicKeyBlob(USER_KEY));
  }
}

export function proveKey(connection: SshConnection, key: KeyObject, blob: Buffer): void {
  const algorithm = clientKeyAlgorithm(blob, connection.serverSignatureAlgorithms)!;
  const signed = connection.signedPart(algorithm, blob);
  connection.authenticateKey(
    algorithm,
    blob,
    signBlob(key, signatureAlgorithmOf(algorithm), signed),
  );
}

export interface BareEnd extends End {
  readonly transport: SshTransport;
  /** Messages of the layers above, and events, as they came. */
  readonly got: (Buffer | TransportEvent)[];
}

export function bareClient(options: Partial<SshClientOptions> = {}): BareEnd {
  return bareEnd(
    new SshTransport({
      software: "client",
      user: "web",
      hostKeyAccepted: () => true,
      nowMs,
      ...options,
      role: "client",
    }),
  );
}

export function bareServer(options: Partial<SshServerOptions> = {}): BareEnd {
  return bareEnd(
    new SshTransport({
      software: "server",
      hostKeys: [{ privateKey: HOST_KEY }],
      nowMs,
      ...options,
      role: "server",
    }),
  );
}

function bareEnd(transport: SshTransport): BareEnd {
  const got: (Buffer | TransportEvent)[] = [];
  return {
    transport,
    got,
    receive: (chunk) => transport.push(chunk),
    takeOutput: () => transport.output.take(),
    handle: () => {
      for (let one = transport.next(); one !== undefined; one = transport.next()) {
        got.push(one);
        if (!Buffer.isBuffer(one) && one.kind !== "keyed") break;
      }
    },
  };
}

/** How a connection failed; undefined when it did not. */
export function failure(end: ConnectionEnd): string | undefined {
  const last = end.events.at(-1);
  return last?.kind === "failed" ? last.error.code : undefined;
}
