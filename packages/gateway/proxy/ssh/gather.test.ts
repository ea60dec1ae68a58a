// Data that waits, in few pieces, and as it came.

import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { Flow } from "./flow.ts";
import { type Gathering, gather } from "./gather.ts";

function gathered(pieces: readonly { readonly stream: number; readonly data: Buffer }[]) {
  const kept: Gathering[] = [];
  for (const { stream, data } of pieces)
    if (!gather(kept, stream, data)) kept.push({ stream, data });
  return kept;
}

test("a byte at a time waits in a piece for every 16 KiB, but for the first few", () => {
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at % 251));
  const kept = gathered(
    [...bytes].map((_, at) => ({ stream: 0, data: bytes.subarray(at, at + 1) })),
  );
  assert.deepEqual(Buffer.concat(kept.map(({ data }) => data)), bytes);
  assert.equal(kept.length, 22);
  const held = kept.reduce((sum, { data, room }) => sum + data.length + (room?.length ?? 0), 0);
  assert.ok(held <= 7 * 16_384, `${held} bytes are held`);
});

test("what was gathered is what came, by stream and in order, and nobody else's memory is written to", () => {
  const piece = fc.record({
    stream: fc.constantFrom(0, 1),
    data: fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
  });
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const before = pieces.map(({ data }) => Buffer.from(data));
      const kept = gathered(pieces);
      const runs = (all: readonly { readonly stream: number; readonly data: Buffer }[]) =>
        all.flatMap(({ stream, data }) => [...data].map((byte) => `${stream} ${byte}`));
      assert.deepEqual(runs(kept), runs(pieces));
      assert.deepEqual(
        pieces.map(({ data }) => data),
        before,
      );
    }),
    { numRuns: 200 },
  );
});

test("what a sink does not take yet waits in few pieces, with what its source is owed", () => {
  const sent: number[] = [];
  let isOpen = false;
  let consumed = 0;
  const peer = {
    connection: {
      sendData(_channel: number, data: Buffer) {
        if (isOpen) sent.push(data.length);
        return isOpen ? data.length : 0;
      },
      consumed(_channel: number, bytes: number) {
        consumed += bytes;
      },
    },
    touch: () => undefined,
    whenDrained: (done: () => void) => done(),
  };
  const end = { peer: peer as never, channel: 0 };
  let isDurable = true;
  const flow = new Flow({ room: () => true, delivery: () => isDurable }).from(end).to(end);
  for (let at = 0; at < 20_000; at++) flow.push(0, Buffer.from("x"), 1);
  // What waits for the disk is not put behind what may go.
  isDurable = false;
  for (let at = 0; at < 3; at++) flow.push(0, Buffer.from("y"), 1);
  assert.deepEqual([sent, consumed], [[], 0]);
  isOpen = true;
  flow.advance();
  assert.deepEqual(
    [sent, consumed],
    [[...Array.from({ length: 15 }, () => 1), 16_384, 3601], 20_000],
  );
});
