import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import {
  asJson,
  DECODERS,
  encodeAgain,
  readVectors,
  type Vector,
  vectorFiles,
} from "../../../fuzz/postgres/decoder-table.ts";
import { WireError } from "./errors.ts";
import { FrameCursor } from "./frames.ts";

const LIMITS = { maxFrameBytes: 1024 };

function decode(vector: Vector, buffer: Buffer, start: number, end: number): unknown {
  const decoder = DECODERS[vector.decoder];
  assert.ok(decoder, `no decoder ${vector.decoder}`);
  return decoder(buffer, start, end);
}

for (const file of vectorFiles("valid")) {
  for (const vector of readVectors("valid", file)) {
    const bytes = Buffer.from(vector.hex, "hex");
    test(`valid/${file}: ${vector.name}`, () => {
      assert.deepEqual(asJson(decode(vector, bytes, 0, bytes.length)), vector.decoded);
      // In the middle of other bytes, which are not to be touched or taken in.
      const amid = Buffer.concat([Buffer.alloc(3, 0x00), bytes, Buffer.alloc(5, 0x00)]);
      assert.deepEqual(asJson(decode(vector, amid, 3, 3 + bytes.length)), vector.decoded);
      const again = encodeAgain(vector.decoder, bytes);
      if (again !== undefined) assert.equal(again.toString("hex"), vector.hex);
    });
    test(`valid/${file}: ${vector.name}, cut at every byte`, () => {
      for (let end = 0; end < bytes.length; end++) {
        if (vector.decoder === "startup") {
          const need = decode(vector, bytes, 0, end) as { kind: string; bytes: number };
          assert.equal(need.kind, "need");
          assert.ok(need.bytes > end && need.bytes <= bytes.length);
          continue;
        }
        assert.throws(() => decode(vector, bytes, 0, end), WireError, `${end} bytes`);
      }
    });
  }
}

test("every decoder has a valid and an invalid vector", () => {
  for (const folder of ["valid", "invalid"] as const) {
    const named = new Set(
      vectorFiles(folder).flatMap((file) => readVectors(folder, file).map((one) => one.decoder)),
    );
    const always = new Set(["copyData", "saslResponse"]);
    for (const decoder of Object.keys(DECODERS)) {
      // These two take any bytes.
      if (folder === "invalid" && always.has(decoder)) continue;
      assert.ok(named.has(decoder), `${folder}: ${decoder}`);
    }
  }
});

test("valid frames come whole from a stream split anywhere, and byte by byte", () => {
  const vectors = ["frontend.json", "backend.json"].flatMap((file) => readVectors("valid", file));
  const frames = vectors.map((vector) => vector.hex);
  const stream = Buffer.from(frames.join(""), "hex");
  for (let cut = 0; cut <= stream.length; cut++) {
    assert.deepEqual(framesOf([stream.subarray(0, cut), stream.subarray(cut)]), frames);
  }
  for (const size of [1, 2, 3, 7, 64]) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
    assert.deepEqual(framesOf(chunks), frames);
  }
});

for (const file of vectorFiles("invalid").filter((name) => name !== "frames.json")) {
  for (const vector of readVectors("invalid", file)) {
    const bytes = Buffer.from(vector.hex, "hex");
    test(`invalid/${file}: ${vector.name}`, () => {
      // What lies behind the message would make it valid if it were read.
      const amid = Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(70_000)]);
      for (const attempt of [
        () => decode(vector, bytes, 0, bytes.length),
        () => decode(vector, amid, 3, 3 + bytes.length),
      ]) {
        assert.throws(attempt, { name: "WireError", code: vector.code });
      }
    });
  }
}

for (const vector of readVectors("invalid", "frames.json")) {
  test(`invalid/frames.json: ${vector.name}`, () => {
    const bytes = Buffer.from(vector.hex, "hex");
    const expected = { name: "WireError", code: vector.code };
    assert.throws(() => framesOf([bytes]), expected);
    assert.throws(() => framesOf([...bytes].map((byte) => Buffer.of(byte))), expected);
  });
}

test("the vectors are ASCII files", () => {
  for (const folder of ["valid", "invalid"] as const) {
    for (const file of vectorFiles(folder)) {
      const url = new URL(`../../../vectors/postgres/${folder}/${file}`, import.meta.url);
      assert.match(readFileSync(url, "latin1"), /^[\n -~]*$/);
    }
  }
});

function framesOf(chunks: readonly Buffer[]): string[] {
  const cursor = new FrameCursor(LIMITS);
  const frames: string[] = [];
  for (const chunk of chunks) {
    cursor.push(chunk);
    while (cursor.next()) {
      assert.equal(cursor.type, cursor.buffer[cursor.start]);
      frames.push(cursor.buffer.toString("hex", cursor.start, cursor.end));
    }
  }
  assert.equal(cursor.partial, false);
  assert.equal(cursor.heldBytes, 0);
  return frames;
}
