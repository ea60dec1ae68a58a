// exec, attach and port-forward over SPDY/3.1, as kubectl before 1.30 and many libraries speak it. Frames
// are forwarded as they came, since their headers are one compressed stream; each is looked at before.

import type { Duplex } from "node:stream";
import {
  assertFromClient,
  encodeData,
  encodeGoAway,
  encodeSynReply,
  HeaderReader,
  HeaderWriter,
  type RawSpdyFrame,
  type SpdyHeaders,
  SpdyReader,
} from "@custody/wire/kubernetes/spdy.ts";
import { GatewayError } from "../../base/errors.ts";
import type { Status } from "./faults.ts";
import {
  assertOfClient,
  disagreed,
  join,
  type PieceOf,
  type StreamDoor,
  type StreamTaps,
} from "./stream-door.ts";

const MAX_FRAME_BYTES = 4 << 20;
const NOTHING = Buffer.alloc(0);
const CHANNELS = "v4.channel.k8s.io";
const FORWARD = "portforward.k8s.io";
/** How long a client that is told no may take to open the streams that it hears it on. */
const REFUSAL_MS = 3000;
const PIECES: ReadonlySet<string> = new Set(["stdin", "stdout", "stderr", "error", "resize"]);

/** Throws GatewayError "invalid" when the client offers no version that is known here. */
export function openSpdyDoor(socket: Duplex, versions: string, isForward: boolean): StreamDoor {
  const version = isForward ? FORWARD : CHANNELS;
  const pieces = new Map<number, PieceOf>();
  const offered = versions.split(",").map((one) => one.trim());
  if (!offered.includes(version))
    throw new GatewayError("invalid", `the client does not offer ${version}`);
  return {
    upstreamHeaders: {
      connection: "Upgrade",
      upgrade: "SPDY/3.1",
      "x-stream-protocol-version": version,
    },
    assertAgreed(headers) {
      if (headers["x-stream-protocol-version"] !== version) throw disagreed();
    },
    accept() {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\nx-stream-protocol-version: ${version}\r\n\r\n`,
      );
    },
    refuse: (status) => refuse(socket, status),
    interrupt(status) {
      if (socket.destroyed || socket.writableEnded) return;
      for (const [stream, piece] of pieces)
        if (piece === "error")
          socket.write(encodeData(stream, Buffer.from(JSON.stringify(status)), true));
      socket.end(encodeGoAway(0));
    },
    note: () => undefined,
    relay: (upstream, taps) => relay(socket, upstream, { taps, isForward, pieces }),
  };
}

/** The port a stream of a port-forward is for; 0: it names none. */
export function portOf(headers: SpdyHeaders): number {
  const written = headers.get("port") ?? "";
  return /^\d{1,5}$/.test(written) ? Number(written) : 0;
}

interface Relayed {
  readonly taps: StreamTaps;
  readonly isForward: boolean;
  /** What each stream carries, as they are opened. */
  readonly pieces: Map<number, PieceOf>;
}

async function relay(
  socket: Duplex,
  upstream: Duplex,
  { taps, isForward, pieces }: Relayed,
): Promise<void> {
  using headers = new HeaderReader();
  const fromServer = (frame: RawSpdyFrame): Buffer[] => {
    if (frame.kind !== "data") return [frame.raw];
    const { data, isLast, stream } = frame;
    const piece = isForward ? "forwarded" : pieces.get(stream);
    const passed = data.length === 0 ? data : taps.pass(piece, data, "server");
    if (piece === "error") return [...waiting(pieces, taps), frame.raw];
    if (!taps.isMasked(piece) || piece === undefined) return [frame.raw];
    const rest = isLast ? taps.rest(piece) : NOTHING;
    return [encodeData(stream, Buffer.concat([passed, rest]), isLast)];
  };
  const clientFrames = new SpdyReader(MAX_FRAME_BYTES);
  const serverFrames = new SpdyReader(MAX_FRAME_BYTES);
  let last = 0;
  await join(
    socket,
    upstream,
    async (chunk) => {
      const out: Buffer[] = [];
      for (const frame of clientFrames.push(chunk)) {
        assertFromClient(frame);
        if (frame.kind === "syn-stream") {
          last = assertNew(frame.stream, last);
          const named = await headers.read(frame.block);
          if (!isForward) pieces.set(frame.stream, pieceOf(named, pieces));
          else if (!(await taps.mayForward(portOf(named))))
            throw new GatewayError("forbidden", `port ${portOf(named)} may not be forwarded`);
        }
        if (frame.kind === "data" && frame.data.length > 0) {
          const piece = isForward ? "forwarded" : pieces.get(frame.stream);
          if (!isForward) assertOfClient(piece);
          taps.pass(piece, frame.data, "client");
        }
        out.push(frame.raw);
      }
      await taps.room();
      return Buffer.concat(out);
    },
    async (chunk) => {
      const out = serverFrames.push(chunk).flatMap(fromServer);
      await taps.room();
      return Buffer.concat(out);
    },
  );
}

/** What the stream of a command carries; one of each kind, so that there is one order of what it said. */
function pieceOf(headers: SpdyHeaders, known: ReadonlyMap<number, PieceOf>): PieceOf {
  const piece = headers.get("streamtype") as PieceOf;
  if (!PIECES.has(piece) || [...known.values()].includes(piece))
    throw new GatewayError("protocol", "a stream is of no kind that is known, or is there twice");
  return piece;
}

/** Section 2.3.2: numbers of a client's streams are odd and grow. A second one would be the first to some. */
function assertNew(stream: number, last: number): number {
  if (stream % 2 === 0 || stream <= last)
    throw new GatewayError("protocol", "a stream has a number that cannot be new");
  return stream;
}

/** What waits of the output, each on its stream. */
function waiting(pieces: ReadonlyMap<number, PieceOf>, taps: StreamTaps): Buffer[] {
  return [...pieces].flatMap(([stream, piece]) => {
    const rest = taps.isMasked(piece) ? taps.rest(piece) : NOTHING;
    return rest.length === 0 ? [] : [encodeData(stream, rest, false)];
  });
}

/** The client opens its streams one after the other, the one for errors first; each is closed at once. */
async function refuse(socket: Duplex, status: Status): Promise<void> {
  if (socket.destroyed || socket.writableEnded) return;
  using headers = new HeaderReader();
  using writer = new HeaderWriter();
  const frames = new SpdyReader(MAX_FRAME_BYTES);
  const timer = setTimeout(() => socket.destroy(), REFUSAL_MS);
  let last = 0;
  let open = 0;
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      for (const frame of frames.push(chunk)) {
        if (frame.kind !== "syn-stream") continue;
        last = frame.stream;
        const type = (await headers.read(frame.block)).get("streamtype");
        socket.write(encodeSynReply(frame.stream, await writer.write(new Map())));
        const text = type === "error" ? Buffer.from(JSON.stringify(status)) : Buffer.alloc(0);
        socket.write(encodeData(frame.stream, text, true));
        open++;
      }
      if (open >= 16) break;
    }
  } catch {
    // It went away: there is nobody to be told.
  } finally {
    clearTimeout(timer);
    if (!socket.destroyed) socket.end(encodeGoAway(last));
  }
}
