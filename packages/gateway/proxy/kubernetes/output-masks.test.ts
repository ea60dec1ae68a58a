import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type Duplex, duplexPair } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import {
  encodeData,
  encodeSynStream,
  HeaderWriter,
  SpdyReader,
} from "@custody/wire/kubernetes/spdy.ts";
import {
  encodeWebSocketFrame,
  OPCODE_BINARY,
  OPCODE_CONTINUATION,
  WebSocketReader,
} from "@custody/wire/kubernetes/websocket.ts";
import { array, asyncProperty, boolean, assert as check, integer } from "fast-check";
import { openTestDoor, type TestDoor } from "../../../../conformance/support/kubernetes-door.ts";
import { engineer, policy } from "../../access/access.fixture.ts";
import { OutputMasks } from "./output-masks.ts";
import type { PieceOf, StreamDoor, StreamTaps } from "./stream-door.ts";
import { openSpdyDoor } from "./stream-spdy.ts";
import { openWebSocketDoor } from "./stream-websocket.ts";

const CARD = "4111111111111111";
const TEXT = `paid with ${CARD}, and again ${CARD.replace(/(....)/g, "$1 ").trim()}\nthe end\n`;
const MASKED = "paid with [masked pii.card], and again [masked pii.card]\nthe end\n";
const DETECT = [{ class: "pii.card", kind: "card-number" as const }];

let door: TestDoor;
let pieces: readonly string[] = [];

before(async () => {
  door = await openTestDoor({
    answer: async (_request, answer) => {
      answer.writeHead(200, { "content-type": "text/plain" });
      for (const piece of pieces) {
        answer.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      answer.end();
    },
    policies: policy(`
      @id("connect") permit (principal, action == Custody::Action::"connect", resource);
      @id("logs") @mask("pii.card")
      permit (principal, action in [K8s::Action::"log", K8s::Action::"get"], resource)
      when { !(resource is K8s::Resource) || resource.name != "other" };
      @id("others") @mask("pii.email") permit (principal, action == K8s::Action::"log", resource is K8s::Resource)
      when { resource.name == "other" };
    `),
    hops: [engineer],
    target: { detect: DETECT },
  });
});

after(() => door[Symbol.asyncDispose]());

const log = (name: string, more = "") => `/api/v1/namespaces/shop/pods/${name}/log${more}`;

describe("logs of which a permit wants values masked", () => {
  it("are masked however they are cut, followed or not, and the log says so", async () => {
    for (const length of [1, 3, 7, TEXT.length]) {
      pieces = TEXT.match(new RegExp(`[\\s\\S]{1,${length}}`, "g")) ?? [];
      for (const more of ["", "?follow=true"])
        assert.equal(await (await door.ask(log("web-1", more))).text(), MASKED);
    }
    const outcome = door.leaves.findLast(({ event }) => event === "command.outcome");
    assert.deepEqual(outcome?.masked, ["pii.card"]);
  });

  it("are broken off where they are no text", async () => {
    pieces = ["a\0b", CARD];
    const answer = await door.ask(log("web-1"));
    await assert.rejects(answer.text());
  });

  it("are denied where the target does not detect it, and nothing else is permitted so", async () => {
    const reached = door.seen.length;
    const undetected = await door.ask(log("other"));
    assert.equal(undetected.status, 403);
    assert.match(await undetected.text(), /pii\.email masked, which target prod does not detect/);
    const object = await door.ask("/api/v1/namespaces/shop/pods/web-1");
    assert.equal(object.status, 403);
    assert.match(await object.text(), /cannot be masked/);
    assert.equal(door.seen.length, reached);
  });
});

function tapsOf(masks: OutputMasks): StreamTaps {
  const isOutput = (piece: PieceOf | undefined) => piece === "stdout" || piece === "stderr";
  return {
    isMasked: isOutput,
    pass: (piece, data, from) =>
      from === "server" && (piece === "stdout" || piece === "stderr")
        ? masks.pass(piece, data)
        : data,
    rest: (piece) =>
      piece === "stdout" || piece === "stderr" ? masks.end(piece) : Buffer.alloc(0),
    mayForward: async () => false,
    room: async () => undefined,
  };
}

interface Ends {
  readonly client: Duplex;
  readonly server: Duplex;
  readonly relayed: Promise<void>;
}

function relay(open: (socket: Duplex) => StreamDoor): Ends {
  const [client, socket] = duplexPair();
  const [server, upstream] = duplexPair();
  const relayed = open(socket).relay(upstream, tapsOf(new OutputMasks(DETECT)));
  return { client, server, relayed };
}

const STATUS = Buffer.from(`{"status":"Success"}`);

async function overWebSocket(parts: readonly Buffer[], fragmented: boolean): Promise<string> {
  const { client, server, relayed } = relay((socket) =>
    openWebSocketDoor(socket, {
      ...{ key: randomBytes(16).toString("base64"), version: "13", isForward: false },
      protocols: "v5.channel.k8s.io",
    }),
  );
  const got = buffer(client);
  const frame = (opcode: number, isFinal: boolean, payload: Buffer) =>
    server.write(encodeWebSocketFrame({ isFinal, opcode, payload }, undefined));
  if (fragmented)
    parts.forEach((part, index) => {
      const payload = index === 0 ? Buffer.concat([Buffer.of(1), part]) : part;
      const opcode = index === 0 ? OPCODE_BINARY : OPCODE_CONTINUATION;
      frame(opcode, index === parts.length - 1, payload);
    });
  else for (const part of parts) frame(OPCODE_BINARY, true, Buffer.concat([Buffer.of(1), part]));
  frame(OPCODE_BINARY, true, Buffer.concat([Buffer.of(3), STATUS]));
  server.end();
  const bytes = await got;
  client.end();
  await relayed;
  const frames = new WebSocketReader("server", 1 << 20).push(bytes);
  assert.deepEqual(frames.at(-1)?.payload, Buffer.concat([Buffer.of(3), STATUS]));
  const output = frames.slice(0, -1);
  assert.ok(output.every(({ isFinal, payload }) => isFinal && payload[0] === 1));
  return Buffer.concat(output.map(({ payload }) => payload.subarray(1))).toString();
}

/** `isEndMarked`: the stream of the output ends before the Status comes. */
async function overSpdy(parts: readonly Buffer[], isEndMarked: boolean): Promise<string> {
  const { client, server, relayed } = relay((socket) =>
    openSpdyDoor(socket, "v4.channel.k8s.io", false),
  );
  const got = buffer(client);
  using writer = new HeaderWriter();
  const opened = new SpdyReader(1 << 20);
  const both = new Promise<void>((resolve) => {
    let count = 0;
    server.on("data", (chunk: Buffer) => {
      count += opened.push(chunk).length;
      if (count === 2) resolve();
    });
  });
  for (const [stream, type] of [
    [1, "error"],
    [3, "stdout"],
  ] as const)
    client.write(encodeSynStream(stream, await writer.write(new Map([["streamtype", type]]))));
  await both;
  parts.forEach((part, index) => {
    server.write(encodeData(3, part, isEndMarked && index === parts.length - 1));
  });
  server.write(encodeData(1, STATUS, true));
  server.end();
  const bytes = await got;
  client.end();
  await relayed;
  const frames = new SpdyReader(1 << 20).push(bytes);
  const texts = new Map([
    [1, ""],
    [3, ""],
  ]);
  for (const frame of frames)
    if (frame.kind === "data")
      texts.set(frame.stream, (texts.get(frame.stream) ?? "") + frame.data.toString());
  assert.equal(texts.get(1), STATUS.toString());
  return texts.get(3) ?? "";
}

const cuts = array(integer({ min: 1, max: TEXT.length - 1 }), { maxLength: 12 }).map((places) => {
  const at = [0, ...[...new Set(places)].sort((a, b) => a - b), TEXT.length];
  return at.slice(1).map((end, index) => Buffer.from(TEXT.slice(at[index], end)));
});

describe("output of commands of which a permit wants values masked", () => {
  it("is masked over WebSocket, in messages and fragments cut anywhere", () =>
    check(
      asyncProperty(cuts, boolean(), async (parts, fragmented) => {
        assert.equal(await overWebSocket(parts, fragmented), MASKED);
      }),
      { numRuns: 40 },
    ));

  it("is masked over SPDY, in frames cut anywhere", () =>
    check(
      asyncProperty(cuts, boolean(), async (parts, isEndMarked) => {
        assert.equal(await overSpdy(parts, isEndMarked), MASKED);
      }),
      { numRuns: 40 },
    ));
});
