import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { describe, it, type TestContext } from "node:test";
import { constants, createDeflate } from "node:zlib";
import fc from "fast-check";
import { KubernetesWireError } from "./errors.ts";
import {
  assertFromClient,
  encodeData,
  encodeSynStream,
  HeaderReader,
  HeaderWriter,
  SpdyReader,
} from "./spdy.ts";
import { DICTIONARY } from "./spdy-dictionary.ts";
import { acceptKey, encodeWebSocketFrame, OPCODE_BINARY, WebSocketReader } from "./websocket.ts";

function cutUp(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length].map((end, index) => bytes.subarray(places[index - 1] ?? 0, end));
}

const cuts = fc.array(fc.nat(5000), { maxLength: 10 });
const payloads = fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 6 });

describe("WebSocket", () => {
  it("answers the example of RFC 6455 section 1.3", () => {
    assert.equal(acceptKey("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  });

  for (const from of ["client", "server"] as const)
    it(`gives back every frame of a ${from}, however it arrives`, () => {
      fc.assert(
        fc.property(payloads, cuts, (sent, at) => {
          const key = from === "client" ? randomBytes(4) : undefined;
          const bytes = Buffer.concat(
            sent.map((payload) =>
              encodeWebSocketFrame(
                { isFinal: true, opcode: OPCODE_BINARY, payload: Buffer.from(payload) },
                key,
              ),
            ),
          );
          const reader = new WebSocketReader(from, 1 << 16);
          const seen = cutUp(bytes, at).flatMap((chunk) => reader.push(chunk));
          assert.deepEqual(
            seen.map(({ payload }) => [...payload]),
            sent.map((one) => [...one]),
          );
        }),
      );
    });

  const invalid: Readonly<Record<string, Buffer>> = {
    "not masked by a client": Buffer.of(0x82, 0x01, 0x00),
    "with reserved bits": Buffer.of(0xc2, 0x80, 0, 0, 0, 0),
    "going on from nothing": Buffer.of(0x80, 0x80, 0, 0, 0, 0),
    "of an unknown opcode": Buffer.of(0x83, 0x80, 0, 0, 0, 0),
    "of control in parts": Buffer.of(0x08, 0x80, 0, 0, 0, 0),
    "of control and large": Buffer.of(0x88, 0xfe, 0x01, 0x00),
    "larger than the limit": Buffer.of(0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0),
    "larger than anything": Buffer.of(0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0),
  };
  for (const [what, bytes] of Object.entries(invalid))
    it(`refuses a frame ${what}`, () => {
      const reader = new WebSocketReader("client", 1 << 16);
      assert.throws(() => reader.push(bytes), KubernetesWireError);
    });
});

/** How many bytes are copied while this runs. */
function copied(t: TestContext, run: () => void): number {
  const concat = t.mock.method(Buffer, "concat");
  run();
  return concat.mock.calls.reduce((sum, { result }) => sum + (result?.length ?? 0), 0);
}

const LARGE = 1 << 16;

describe("a frame that comes byte by byte", () => {
  for (const [what, bytes, reader] of [
    [
      "of WebSocket",
      encodeWebSocketFrame(
        { isFinal: true, opcode: OPCODE_BINARY, payload: Buffer.alloc(LARGE, 1) },
        Buffer.of(1, 2, 3, 4),
      ),
      () => new WebSocketReader("client", LARGE),
    ],
    ["of SPDY", encodeData(1, Buffer.alloc(LARGE, 1), true), () => new SpdyReader(LARGE)],
  ] as const)
    it(`${what} is put together once`, (t) => {
      const frames = reader();
      let count = 0;
      const moved = copied(t, () => {
        for (let at = 0; at < bytes.length; at++)
          count += frames.push(bytes.subarray(at, at + 1)).length;
      });
      assert.equal(count, 1);
      assert.ok(moved < 8 * bytes.length, String(moved));
    });
});

describe("SPDY", () => {
  it("has the protocol's dictionary", () => {
    assert.equal(
      createHash("sha256").update(DICTIONARY).digest("hex"),
      "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02",
    );
  });

  it("gives back every frame and the headers of several streams, however they arrive", async () => {
    await fc.assert(
      fc.asyncProperty(payloads, cuts, async (sent, at) => {
        using writer = new HeaderWriter();
        using reader = new HeaderReader();
        const streams = [1, 3, 5];
        const parts: Buffer[] = [];
        for (const stream of streams) {
          const headers = new Map([
            ["streamtype", `t${stream}`],
            ["port", "8080"],
          ]);
          parts.push(encodeSynStream(stream, await writer.write(headers)));
        }
        for (const [index, data] of sent.entries())
          parts.push(encodeData(1, Buffer.from(data), index === sent.length - 1));
        const bytes = Buffer.concat(parts);
        const frames = new SpdyReader(1 << 16);
        const types: (string | undefined)[] = [];
        const data: number[][] = [];
        const raw: Buffer[] = [];
        for (const chunk of cutUp(bytes, at))
          for (const frame of frames.push(chunk)) {
            raw.push(Buffer.from(frame.raw));
            if (frame.kind === "syn-stream")
              types.push((await reader.read(frame.block)).get("streamtype"));
            if (frame.kind === "data") data.push([...frame.data]);
          }
        assert.deepEqual(types, ["t1", "t3", "t5"]);
        assert.deepEqual(
          data,
          sent.map((one) => [...one]),
        );
        assert.deepEqual(Buffer.concat(raw), bytes);
      }),
      { numRuns: 25 },
    );
  });

  for (const [what, bytes] of Object.entries({
    "of another version": Buffer.of(0x80, 2, 0, 1, 0, 0, 0, 0),
    "that ends within a field": Buffer.of(0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0),
    "larger than the limit": Buffer.of(0, 0, 0, 1, 0, 0xff, 0xff, 0xff),
  }))
    it(`refuses a frame ${what}`, () => {
      assert.throws(() => new SpdyReader(1 << 16).push(bytes), KubernetesWireError);
    });

  it("refuses headers that are not compressed, and too many of them", async () => {
    using plain = new HeaderReader();
    await assert.rejects(plain.read(Buffer.from("not zlib at all")), KubernetesWireError);
    using writer = new HeaderWriter();
    using reader = new HeaderReader();
    const many = new Map(Array.from({ length: 100 }, (_, index) => [`h${index}`, "x"]));
    await assert.rejects(
      writer.write(many).then((block) => reader.read(block)),
      KubernetesWireError,
    );
  });

  it("refuses headers with something behind them, which the next block would begin with", async () => {
    const word = (text: string) => [0, 0, 0, text.length, ...Buffer.from(text)];
    const said = (port: string) => [0, 0, 0, 1, ...word("port"), ...word(port)];
    const deflate = createDeflate({ dictionary: DICTIONARY });
    const parts: Buffer[] = [];
    deflate.on("data", (part: Buffer) => parts.push(part));
    deflate.write(Buffer.from([...said("8080"), ...said("22")]));
    await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, resolve));
    using reader = new HeaderReader();
    await assert.rejects(reader.read(Buffer.concat(parts)), KubernetesWireError);
    deflate.destroy();
  });

  it("inflates no more of headers than they may have, and reads none after them", async () => {
    const deflate = createDeflate({ dictionary: DICTIONARY });
    const parts: Buffer[] = [];
    deflate.on("data", (part: Buffer) => parts.push(part));
    deflate.write(Buffer.alloc(32 << 20));
    await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, resolve));
    deflate.destroy();
    const bomb = Buffer.concat(parts);
    assert.ok(bomb.length < 1 << 16);
    using reader = new HeaderReader();
    await assert.rejects(reader.read(bomb), /too large/);
    await assert.rejects(reader.read(Buffer.alloc(0)), /too large/);
  });

  it("keeps nothing of the blocks it has read", async () => {
    using writer = new HeaderWriter();
    using reader = new HeaderReader();
    const warned: Error[] = [];
    const warn = (warning: Error) => warned.push(warning);
    process.on("warning", warn);
    for (let stream = 0; stream < 50; stream++)
      await reader.read(await writer.write(new Map([["port", String(stream)]])));
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", warn);
    assert.deepEqual(warned, []);
  });

  it("takes no frame from a client whose headers are not looked at", async () => {
    using writer = new HeaderWriter();
    const block = await writer.write(new Map([["port", "22"]]));
    const frames = (bytes: Buffer) => new SpdyReader(1 << 16).push(bytes);
    const opening = encodeSynStream(1, block);
    for (const frame of frames(Buffer.concat([opening, encodeData(1, Buffer.of(0), true)])))
      assertFromClient(frame);
    for (const type of [2, 8, 10, 11]) {
      const other = Buffer.from(opening);
      other.writeUInt16BE(type, 2);
      for (const frame of frames(other))
        assert.throws(() => assertFromClient(frame), KubernetesWireError, `type ${type}`);
    }
  });
});
