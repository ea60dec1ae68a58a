// exec, attach and port-forward over WebSocket: v5 and v4 of channel.k8s.io, and SPDY in it for
// port-forward (SPDY/3.1+portforward.k8s.io).

import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { assertFromClient, HeaderReader, SpdyReader } from "@custody/wire/kubernetes/spdy.ts";
import {
  acceptKey,
  CHANNEL_CLOSE,
  CHANNEL_ERROR,
  CHANNEL_RESIZE,
  CHANNEL_STDERR,
  CHANNEL_STDIN,
  CHANNEL_STDOUT,
  channelMessage,
  closeFrame,
  encodeWebSocketFrame,
  OPCODE_BINARY,
  OPCODE_CLOSE,
  OPCODE_TEXT,
  type WebSocketFrame,
  WebSocketMessages,
  WebSocketReader,
} from "@custody/wire/kubernetes/websocket.ts";
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
import { portOf } from "./stream-spdy.ts";

const MAX_FRAME_BYTES = 4 << 20;
const NOTHING = Buffer.alloc(0);
const CHANNELS = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const TUNNEL = "SPDY/3.1+portforward.k8s.io";
const PIECES: Readonly<Record<number, PieceOf>> = {
  [CHANNEL_STDIN]: "stdin",
  [CHANNEL_STDOUT]: "stdout",
  [CHANNEL_STDERR]: "stderr",
  [CHANNEL_ERROR]: "error",
  [CHANNEL_RESIZE]: "resize",
};

export interface WebSocketOffer {
  readonly key: string;
  readonly version: string;
  /** Sec-WebSocket-Protocol, as the client wrote it. */
  readonly protocols: string;
  readonly isForward: boolean;
}

/** Throws GatewayError "invalid" for an offer without a protocol that is known here. */
export function openWebSocketDoor(socket: Duplex, offer: WebSocketOffer): StreamDoor {
  const offered = offer.protocols.split(",").map((one) => one.trim());
  const known = offer.isForward ? [TUNNEL] : CHANNELS;
  // A bearer token among the protocols is a second way to be somebody: none of those is looked at.
  const protocol = known.find((one) => offered.includes(one));
  if (protocol === undefined || offer.version !== "13" || !/^[A-Za-z0-9+/]{22}==$/.test(offer.key))
    throw new GatewayError("invalid", "the WebSocket offers no protocol that is known here");
  const key = randomBytes(16).toString("base64");
  return {
    upstreamHeaders: {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": key,
      "sec-websocket-protocol": protocol,
    },
    assertAgreed(headers) {
      const agreed = headers["sec-websocket-protocol"] === protocol;
      if (!agreed || headers["sec-websocket-accept"] !== acceptKey(key)) throw disagreed();
    },
    accept() {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${acceptKey(offer.key)}\r\nsec-websocket-protocol: ${protocol}\r\n\r\n`,
      );
    },
    refuse: async (status) => end(socket, status),
    // A tunnel's frames are SPDY's, in which no stream is for what the gateway says.
    interrupt: (status) => end(socket, offer.isForward ? undefined : status),
    note: (text) => void socket.write(channelMessage(CHANNEL_STDERR, Buffer.from(`${text}\r\n`))),
    relay: (upstream, taps) =>
      offer.isForward ? relayTunnel(socket, upstream, taps) : relayChannels(socket, upstream, taps),
  };
}

function end(socket: Duplex, status: Status | undefined): void {
  if (socket.destroyed || socket.writableEnded) return;
  if (status !== undefined)
    socket.write(channelMessage(CHANNEL_ERROR, Buffer.from(JSON.stringify(status))));
  socket.end(closeFrame(1000));
}

/** Each message belongs to the channel its first byte names. */
function relayChannels(socket: Duplex, upstream: Duplex, taps: StreamTaps): Promise<void> {
  const look = (
    from: "client" | "server",
    pass: (frame: WebSocketFrame, looked: Looked) => Buffer,
  ) => {
    return async (frame: WebSocketFrame) => {
      if (frame.opcode > OPCODE_BINARY) {
        const own = pass(frame, { piece: undefined, passed: NOTHING });
        await taps.room();
        return own;
      }
      if (frame.opcode === OPCODE_TEXT)
        throw new GatewayError("protocol", "a channel's message is not binary");
      const channel = frame.payload[0];
      const piece = PIECES[channel ?? -1];
      const says = channel !== undefined && channel !== CHANNEL_CLOSE;
      if (from === "client" && says) assertOfClient(piece);
      const data = frame.payload.subarray(1);
      const passed = data.length === 0 ? NOTHING : taps.pass(piece, data, from);
      const own = pass(frame, { piece, passed });
      await taps.room();
      return own;
    };
  };
  const toClient = (frame: WebSocketFrame, { piece, passed }: Looked) => {
    // What is masked goes on as messages of its own: its frames need not be those that came.
    if (piece !== undefined && taps.isMasked(piece)) return outputMessage(piece, passed);
    const own = encodeWebSocketFrame(frame, undefined);
    const isEnd = piece === "error" || frame.opcode === OPCODE_CLOSE;
    if (!isEnd) return own;
    const rest = OUTPUTS.map((output) =>
      taps.isMasked(output) ? outputMessage(output, taps.rest(output)) : NOTHING,
    );
    return Buffer.concat([...rest, own]);
  };
  return joinFrames(
    socket,
    upstream,
    look("client", (frame) => encodeWebSocketFrame(frame, randomBytes(4))),
    look("server", toClient),
  );
}

interface Looked {
  readonly piece: PieceOf | undefined;
  readonly passed: Buffer;
}

const OUTPUTS = ["stdout", "stderr"] as const;

function outputMessage(piece: PieceOf, data: Buffer): Buffer {
  if (data.length === 0) return NOTHING;
  return channelMessage(piece === "stderr" ? CHANNEL_STDERR : CHANNEL_STDOUT, data);
}

/** The stream of bytes in the messages is SPDY, whose streams name their ports. */
async function relayTunnel(socket: Duplex, upstream: Duplex, taps: StreamTaps): Promise<void> {
  const frames = new SpdyReader(MAX_FRAME_BYTES);
  using headers = new HeaderReader();
  const fromClient = async (frame: WebSocketFrame) => {
    const own = encodeWebSocketFrame(frame, randomBytes(4));
    if (frame.opcode > OPCODE_BINARY) return own;
    for (const inner of frames.push(frame.payload)) {
      assertFromClient(inner);
      if (inner.kind === "data") taps.pass("forwarded", inner.data, "client");
      if (inner.kind !== "syn-stream") continue;
      const port = portOf(await headers.read(inner.block));
      if (!(await taps.mayForward(port)))
        throw new GatewayError("forbidden", `port ${port} may not be forwarded`);
    }
    await taps.room();
    return own;
  };
  const fromServer = async (frame: WebSocketFrame) => {
    if (frame.opcode <= OPCODE_BINARY) taps.pass("forwarded", frame.payload, "server");
    await taps.room();
    return encodeWebSocketFrame(frame, undefined);
  };
  await joinFrames(socket, upstream, fromClient, fromServer);
}

function joinFrames(
  socket: Duplex,
  upstream: Duplex,
  fromClient: (frame: WebSocketFrame) => Promise<Buffer>,
  fromServer: (frame: WebSocketFrame) => Promise<Buffer>,
): Promise<void> {
  return join(
    socket,
    upstream,
    messageByMessage("client", fromClient),
    messageByMessage("server", fromServer),
  );
}

function messageByMessage(
  from: "client" | "server",
  pass: (message: WebSocketFrame) => Promise<Buffer>,
) {
  const frames = new WebSocketReader(from, MAX_FRAME_BYTES);
  const messages = new WebSocketMessages(MAX_FRAME_BYTES);
  return async (chunk: Buffer): Promise<Buffer> => {
    const out: Buffer[] = [];
    for (const frame of frames.push(chunk)) {
      const message = messages.take(frame);
      if (message !== undefined) out.push(await pass(message));
    }
    return Buffer.concat(out);
  };
}
