import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type Duplex, duplexPair } from "node:stream";
import { describe, it } from "node:test";
import { encodeData, encodeSynStream, HeaderWriter } from "@custody/wire/kubernetes/spdy.ts";
import {
  CHANNEL_CLOSE,
  CHANNEL_ERROR,
  CHANNEL_RESIZE,
  CHANNEL_STDIN,
  CHANNEL_STDOUT,
  channelMessage,
  encodeWebSocketFrame,
  OPCODE_BINARY,
  OPCODE_CONTINUATION,
  type WebSocketFrame,
  WebSocketReader,
} from "@custody/wire/kubernetes/websocket.ts";
import type { StreamDoor, StreamTaps } from "./stream-door.ts";
import { openSpdyDoor } from "./stream-spdy.ts";
import { openWebSocketDoor } from "./stream-websocket.ts";

interface Scene {
  readonly client: Duplex;
  readonly server: Duplex;
  /** Ends as the relay does; its error is what ended it. */
  readonly relayed: Promise<void>;
  /** `stdin client hello` of what was looked at. */
  readonly seen: string[];
}

function scene(open: (socket: Duplex) => StreamDoor): Scene {
  const [client, socket] = duplexPair();
  const [upstream, server] = duplexPair();
  const seen: string[] = [];
  const taps: StreamTaps = {
    pass(piece, data, from) {
      seen.push(`${piece} ${from} ${data}`);
      return data;
    },
    isMasked: () => false,
    rest: () => Buffer.alloc(0),
    mayForward: async (port) => port === 80,
    room: async () => undefined,
  };
  for (const side of [client, server]) side.on("error", () => undefined);
  const relayed = open(socket).relay(upstream, taps);
  relayed.catch(() => undefined);
  return { client, server, relayed, seen };
}

const webSocket = (isForward = false) =>
  scene((socket) =>
    openWebSocketDoor(socket, {
      ...{ key: randomBytes(16).toString("base64"), version: "13", isForward },
      protocols: isForward ? "SPDY/3.1+portforward.k8s.io" : "v5.channel.k8s.io",
    }),
  );
const spdy = (isForward = false) =>
  scene((socket) =>
    openSpdyDoor(
      socket as never,
      isForward ? "portforward.k8s.io" : "v4.channel.k8s.io",
      isForward,
    ),
  );

const KEY = Buffer.of(1, 2, 3, 4);
const frame = (opcode: number, isFinal: boolean, payload: Buffer) =>
  encodeWebSocketFrame({ opcode, isFinal, payload }, KEY);
const message = (channel: number, text: string) =>
  frame(OPCODE_BINARY, true, Buffer.concat([Buffer.of(channel), Buffer.from(text)]));

/** Frames as the other side gets them, until there are so many. */
async function framesAt(side: Duplex, from: "client" | "server", count: number) {
  const reader = new WebSocketReader(from, 1 << 20);
  const frames: WebSocketFrame[] = [];
  for await (const chunk of side as AsyncIterable<Buffer>) {
    frames.push(...reader.push(chunk));
    if (frames.length >= count) break;
  }
  return frames;
}

describe("channels over a WebSocket", () => {
  it("are whole messages behind us, whatever pieces they came in", async () => {
    const { client, seen, server } = webSocket();
    // Readers that take a frame for a message would see what was typed as the size of a terminal, or not at all.
    client.write(frame(OPCODE_BINARY, false, Buffer.of(CHANNEL_RESIZE)));
    client.write(frame(OPCODE_CONTINUATION, true, Buffer.from("\0id\n")));
    client.write(frame(OPCODE_BINARY, false, Buffer.alloc(0)));
    client.write(frame(OPCODE_CONTINUATION, false, Buffer.of(CHANNEL_STDIN)));
    client.write(frame(OPCODE_CONTINUATION, true, Buffer.from("hello")));
    const got = await framesAt(server, "client", 2);
    assert.deepEqual(
      got.map(({ isFinal, opcode, payload }) => [isFinal, opcode, payload.toString("latin1")]),
      [
        [true, OPCODE_BINARY, "\x04\0id\n"],
        [true, OPCODE_BINARY, "\0hello"],
      ],
    );
    assert.deepEqual(seen, ["resize client \0id\n", "stdin client hello"]);
  });

  for (const channel of [CHANNEL_STDOUT, 2, CHANNEL_ERROR, 5, 200])
    it(`take nothing on channel ${channel} from a client`, async () => {
      const { client, relayed, seen } = webSocket();
      client.write(message(channel, `{"status":"Success"}`));
      await assert.rejects(relayed, { code: "protocol" });
      assert.deepEqual(seen, []);
    });

  it("take the end of its input, and answers of every kind", async () => {
    const { client, server } = webSocket();
    client.write(message(CHANNEL_CLOSE, "\0"));
    client.write(frame(OPCODE_BINARY, true, Buffer.alloc(0)));
    assert.equal((await framesAt(server, "client", 2)).length, 2);
    const other = webSocket();
    for (const channel of [CHANNEL_STDOUT, 2, CHANNEL_ERROR])
      other.server.write(channelMessage(channel, Buffer.from("x")));
    assert.equal((await framesAt(other.client, "server", 3)).length, 3);
    assert.deepEqual(other.seen, ["stdout server x", "stderr server x", "error server x"]);
  });

  it("have a bound on a message of many frames", async () => {
    const { client, relayed } = webSocket();
    client.write(frame(OPCODE_BINARY, false, Buffer.alloc(3 << 20)));
    client.write(frame(OPCODE_CONTINUATION, false, Buffer.alloc(3 << 20)));
    await assert.rejects(relayed, /too large/);
  });
});

describe("streams over SPDY", () => {
  const opening = async (writer: HeaderWriter, stream: number, headers: Record<string, string>) =>
    encodeSynStream(stream, await writer.write(new Map(Object.entries(headers))));

  it("pass on input on the stream that is for it", async () => {
    const { client, seen, server } = spdy();
    using writer = new HeaderWriter();
    client.write(await opening(writer, 1, { streamtype: "error" }));
    client.write(await opening(writer, 3, { streamtype: "stdin" }));
    client.write(encodeData(3, Buffer.from("hello"), true));
    const iterator = (server as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    let got = "";
    while (!got.includes("hello")) got += (await iterator.next()).value?.toString("latin1");
    assert.deepEqual(seen, ["stdin client hello"]);
  });

  const refused: Readonly<Record<string, readonly [number, Record<string, string>][]>> = {
    "a kind with another value behind it": [[1, { streamtype: "stdin\0x" }]],
    "a kind that is none": [[1, { streamtype: "constructor" }]],
    "no kind": [[1, {}]],
    "a kind twice": [
      [1, { streamtype: "stdin" }],
      [3, { streamtype: "stdin" }],
    ],
    "a number twice": [
      [1, { streamtype: "stdin" }],
      [1, { streamtype: "resize" }],
    ],
    "a server's number": [[2, { streamtype: "stdin" }]],
  };
  for (const [what, streams] of Object.entries(refused))
    it(`are not opened with ${what}`, async () => {
      const { client, relayed } = spdy();
      using writer = new HeaderWriter();
      for (const [stream, headers] of streams) client.write(await opening(writer, stream, headers));
      await assert.rejects(relayed);
    });

  for (const kind of ["stdout", "stderr", "error"])
    it(`take nothing on ${kind} from a client`, async () => {
      const { client, relayed, seen } = spdy();
      using writer = new HeaderWriter();
      client.write(await opening(writer, 1, { streamtype: kind }));
      client.write(encodeData(1, Buffer.from("forged"), false));
      await assert.rejects(relayed, { code: "protocol" });
      assert.deepEqual(seen, []);
    });

  it("take nothing on a stream nobody opened", async () => {
    const { client, relayed } = spdy();
    client.write(encodeData(7, Buffer.from("x"), false));
    await assert.rejects(relayed, { code: "protocol" });
  });

  for (const port of ["22", "80\x0022", "080080", " 80", "0x50"])
    it(`do not forward the port ${JSON.stringify(port)}`, async () => {
      for (const at of [plain(), tunnel()]) {
        using writer = new HeaderWriter();
        at.write(await opening(writer, 1, { streamtype: "data", port }));
        await assert.rejects(at.relayed);
      }
    });
});

/** SPDY within a WebSocket. */
function tunnel(): { write(bytes: Buffer): void; readonly relayed: Promise<void> } {
  const { client, relayed } = webSocket(true);
  return { relayed, write: (bytes) => void client.write(frame(OPCODE_BINARY, true, bytes)) };
}

function plain(): ReturnType<typeof tunnel> {
  const { client, relayed } = spdy(true);
  return { relayed, write: (bytes) => void client.write(bytes) };
}
