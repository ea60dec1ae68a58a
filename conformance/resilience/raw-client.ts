// A peer that does not behave: sockets to the gateway that send any bytes at any time, and what came
// back on them.

import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { password } from "@custody/wire/postgres/frontend.ts";
import { encodeSslRequest, encodeStartup } from "@custody/wire/postgres/startup.ts";
import { DATABASE, type Subject } from "./world.ts";

/** How long a peer may be kept waiting for the end of its connection. */
const PATIENCE_MS = 15_000;

export interface RawClient {
  readonly socket: Socket;
  /** Everything that came so far. */
  received(): Buffer;
  /** Settles when the connection has ended, by whomever; throws when it does not end. */
  ended(): Promise<void>;
  /** Waits until this type has come as a frame's first byte since the last wait. */
  frame(type: number): Promise<void>;
}

export async function openPlain(at: { host: string; port: number }): Promise<RawClient> {
  const socket = connectTcp({ host: at.host, port: at.port, noDelay: true });
  await once(socket, "connect");
  return watch(socket);
}

/** TLS by SSLRequest, nothing said inside it. */
export async function openSecure(subject: Subject): Promise<RawClient> {
  const plain = connectTcp({ ...subject.gateway.postgres, noDelay: true });
  await once(plain, "connect");
  plain.write(encodeSslRequest());
  const [answer] = (await once(plain, "data")) as [Buffer];
  if (answer.toString("latin1") !== "S") throw new Error(`SSLRequest was answered ${answer}`);
  plain.pause();
  const secure = connectTls({ socket: plain, rejectUnauthorized: false });
  await once(secure, "secureConnect");
  return watch(secure);
}

/** Past the StartupMessage, asked for the password. */
export async function openAsked(subject: Subject): Promise<RawClient> {
  const client = await openSecure(subject);
  client.socket.write(encodeStartup([...startup()]));
  await client.frame(0x52);
  return client;
}

/** A session that is ready. */
export async function openSession(subject: Subject): Promise<RawClient> {
  const client = await openAsked(subject);
  client.socket.write(password(subject.handle));
  await client.frame(0x5a);
  return client;
}

export function startup(changes: Record<string, string> = {}): Map<string, string> {
  return new Map(Object.entries({ user: "suite", database: DATABASE, ...changes }));
}

function watch(socket: Socket): RawClient {
  const chunks: Buffer[] = [];
  const cursor = new FrameCursor({ maxFrameBytes: 1 << 28 });
  const types: number[] = [];
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    try {
      cursor.push(chunk);
      while (cursor.next()) types.push(cursor.type);
    } catch {
      // Not every answer is in frames; `received` has it all.
    }
  });
  socket.on("error", () => undefined);
  return {
    socket,
    received: () => Buffer.concat(chunks),
    async ended() {
      const deadline = Date.now() + PATIENCE_MS;
      while (!socket.destroyed && !socket.readableEnded) {
        if (Date.now() > deadline) {
          socket.destroy();
          throw new Error("the gateway keeps the connection");
        }
        await delay(20);
      }
      socket.destroy();
    },
    async frame(type) {
      const deadline = Date.now() + PATIENCE_MS;
      for (;;) {
        const at = types.indexOf(type);
        if (at !== -1) {
          types.splice(0, at + 1);
          return;
        }
        if (socket.destroyed || Date.now() > deadline)
          throw new Error(`no message 0x${type.toString(16)}; there was ${describe(chunks)}`);
        await delay(5);
      }
    },
  };
}

function describe(chunks: readonly Buffer[]): string {
  return JSON.stringify(Buffer.concat(chunks).toString("latin1").slice(-300));
}

/** The last ErrorResponse of what came; undefined when there is none. */
export function lastError(bytes: Buffer): ReadonlyMap<string, string> | undefined {
  const cursor = new FrameCursor({ maxFrameBytes: 1 << 28 });
  let found: ReadonlyMap<string, string> | undefined;
  cursor.push(bytes);
  while (cursor.next())
    if (cursor.type === 0x45) found = decodeErrorFields(cursor.buffer, cursor.start, cursor.end);
  return found;
}

/** Nothing of our own insides: no stack, no path, no module, no target's role or credential. */
export function assertNoInsides(text: string): void {
  const inside =
    /node:internal|\.ts:\d|at [A-Za-z#.]+ \(|\/packages\/|node_modules|TypeError|RangeError|custody_[a-z0-9]{6}_|custody_admin/.exec(
      text,
    );
  if (inside !== null) throw new Error(`the answer shows insides (${inside[0]}): ${text}`);
}
