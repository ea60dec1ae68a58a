// The client's side of an upgraded connection, whatever it speaks: how it is accepted, told no, told that
// it waits, and joined to the API server's connection with every piece looked at on its way.

import { once } from "node:events";
import type { Duplex } from "node:stream";
import { GatewayError } from "../../base/errors.ts";
import type { Status } from "./faults.ts";

/** What passes, by what it is. */
export type PieceOf = "stdin" | "stdout" | "stderr" | "error" | "resize" | "forwarded";

export interface StreamTaps {
  /** Before it is handed on: what is. `piece` undefined: it is of no kind that is known. */
  readonly pass: (piece: PieceOf | undefined, data: Buffer, from: "client" | "server") => Buffer;
  /** Whether what is handed on may be other than what came. */
  readonly isMasked: (piece: PieceOf | undefined) => boolean;
  /** What waited of it, once; before its end, and that of all before the Status that ends a command. */
  readonly rest: (piece: PieceOf) => Buffer;
  /** A port the client wants to reach, once that is in the journal; false ends the connection. */
  readonly mayForward: (port: number) => Promise<boolean>;
  /** Waits while what was seen is not as far on its way to disk as it has to be (recorded.ts). */
  readonly room: () => Promise<void>;
}

export interface StreamDoor {
  /** Headers the API server is asked for the same protocol with. */
  readonly upstreamHeaders: Readonly<Record<string, string>>;
  /** Throws GatewayError when the API server agreed to something else. */
  assertAgreed(headers: Readonly<Record<string, string | string[] | undefined>>): void;
  accept(): void;
  /** After it was accepted: says why it ends, on the channel for that, and ends it. */
  refuse(status: Status): Promise<void>;
  /** While it is relayed: says why it ends where there is a place for it, and ends it at once. */
  interrupt(status: Status): void;
  /** To a person in front of it; nothing where there is no place for it. */
  note(text: string): void;
  /** Until one side ends it. */
  relay(upstream: Duplex, taps: StreamTaps): Promise<void>;
}

/** From one side to the other, as fast as the slower one. Ends when `from` does. */
export async function pump(
  from: Duplex,
  to: Duplex,
  pass: (chunk: Buffer) => Buffer | Promise<Buffer>,
): Promise<void> {
  for await (const chunk of from as AsyncIterable<Buffer>) {
    const passed = await pass(chunk);
    if (to.destroyed) return;
    if (passed.length > 0 && !to.write(passed)) await drained(to);
  }
}

/** How long a client has to take what it is owed and to end. */
const LINGER_MS = 10_000;

/** Both ways until one ends; then the other ends too, the client after all it is owed. */
export async function join(
  client: Duplex,
  upstream: Duplex,
  toUpstream: (chunk: Buffer) => Buffer | Promise<Buffer>,
  toClient: (chunk: Buffer) => Buffer | Promise<Buffer>,
): Promise<void> {
  upstream.on("error", () => upstream.destroy());
  const up = pump(client, upstream, toUpstream);
  const down = pump(upstream, client, toClient);
  try {
    await Promise.race([up, down]);
  } finally {
    upstream.destroy();
    client.end();
    // A client that does not end its half would keep the session and leave the command without an outcome.
    const lingering = setTimeout(() => client.destroy(), LINGER_MS);
    await Promise.allSettled([up, down]);
    clearTimeout(lingering);
  }
}

async function drained(stream: Duplex): Promise<void> {
  const over = new AbortController();
  try {
    await Promise.race([
      once(stream, "drain", { signal: over.signal }),
      once(stream, "close", { signal: over.signal }),
    ]);
  } finally {
    over.abort();
  }
}

/**
 * Throws for what only a server says: written down as its own it would be output, or an exit code, that
 * nobody gave.
 */
export function assertOfClient(piece: PieceOf | undefined): void {
  if (piece !== "stdin" && piece !== "resize")
    throw new GatewayError("protocol", "a client sends its input and the size of its terminal");
}

export function disagreed(): GatewayError {
  return new GatewayError(
    "target_unavailable",
    "the API server speaks another protocol than asked",
  );
}
