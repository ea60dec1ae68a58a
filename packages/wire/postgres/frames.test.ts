import assert from "node:assert/strict";
import test from "node:test";
import { FrameCursor } from "./frames.ts";
import { copyData, query, sync } from "./frontend.ts";

test("frames that lie whole in a chunk are views of it, side by side", () => {
  const cursor = new FrameCursor({ maxFrameBytes: 100 });
  const chunk = Buffer.concat([query("select 1"), sync(), query("select 2")]);
  cursor.push(chunk);
  let end = 0;
  for (const type of [0x51, 0x53, 0x51]) {
    assert.ok(cursor.next());
    assert.equal(cursor.type, type);
    assert.equal(cursor.buffer, chunk);
    assert.equal(cursor.start, end);
    end = cursor.end;
  }
  assert.equal(end, chunk.length);
  assert.equal(cursor.next(), false);
  assert.equal(cursor.buffer.length, 0, "an idle cursor keeps no chunk alive");
});

test("a split frame is assembled in its own buffer, and the chunk may be reused", () => {
  const cursor = new FrameCursor({ maxFrameBytes: 100 });
  const frame = query("select 1");
  const chunk = Buffer.from(frame.subarray(0, 7));
  cursor.push(chunk);
  assert.equal(cursor.next(), false);
  assert.equal(cursor.partial, true);
  assert.equal(cursor.heldBytes, 7);
  chunk.fill(0xff);
  const rest = Buffer.concat([frame.subarray(7), sync()]);
  cursor.push(rest);
  assert.ok(cursor.next());
  assert.deepEqual(cursor.buffer.subarray(cursor.start, cursor.end), frame);
  const assembled = cursor.buffer;
  assert.equal(cursor.partial, false);
  assert.ok(cursor.next());
  assert.equal(cursor.buffer, rest);
  assert.equal(cursor.next(), false);
  // The next split frame does not write into the one given out.
  cursor.push(frame.subarray(0, 6));
  cursor.next();
  assert.deepEqual(assembled.subarray(0, frame.length), frame);
});

test("push is refused while the chunk before is not used up", () => {
  const cursor = new FrameCursor({ maxFrameBytes: 100 });
  cursor.push(Buffer.concat([sync(), sync()]));
  assert.ok(cursor.next());
  assert.throws(() => cursor.push(sync()), { code: "state" });
  assert.ok(cursor.next());
  cursor.push(sync());
});

test("what is announced is not allocated before it arrives", () => {
  const announced = 1 << 30;
  const cursor = new FrameCursor({ maxFrameBytes: announced + 1 });
  const header = Buffer.alloc(5, 0x64);
  header.writeInt32BE(announced, 1);
  const before = process.memoryUsage().arrayBuffers;
  const cursors = Array.from({ length: 50 }, () => {
    const one = new FrameCursor({ maxFrameBytes: announced + 1 });
    one.push(header);
    one.next();
    return one;
  });
  cursor.push(header);
  assert.equal(cursor.next(), false);
  let held = header.length;
  for (let round = 0; round < 100; round++) {
    cursor.push(Buffer.alloc(10_000));
    assert.equal(cursor.next(), false);
    held += 10_000;
  }
  assert.equal(cursor.heldBytes, held);
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown < 16 << 20, `${grown} bytes for ${held} held by ${cursors.length + 1} cursors`);
});

test("the limit counts the header, and the largest frame passes", () => {
  const frame = copyData(Buffer.alloc(95));
  const fits = new FrameCursor({ maxFrameBytes: 100 });
  fits.push(frame);
  assert.ok(fits.next());
  const tight = new FrameCursor({ maxFrameBytes: 99 });
  tight.push(frame);
  assert.throws(() => tight.next(), { code: "limit" });
  assert.throws(() => tight.next(), { code: "limit" }, "and again");
  const split = new FrameCursor({ maxFrameBytes: 99 });
  split.push(frame.subarray(0, 3));
  assert.equal(split.next(), false);
  split.push(frame.subarray(3, 5));
  assert.throws(() => split.next(), { code: "limit" }, "before a byte of the body");
});

test("a run of frames of one type is taken at once, up to the next of another or an incomplete one", () => {
  const limits = { maxFrameBytes: 100 };
  const data = [
    copyData(Buffer.from("1")),
    copyData(Buffer.from("22")),
    copyData(Buffer.from("3")),
  ];
  const whole = Buffer.concat(data);
  const cursor = new FrameCursor(limits);
  cursor.push(Buffer.concat([whole, sync()]));
  assert.ok(cursor.next());
  assert.equal(cursor.takeRun(), 3);
  assert.deepEqual(cursor.buffer.subarray(cursor.start, cursor.end), whole);
  assert.equal(cursor.end, whole.length);
  assert.ok(cursor.next());
  assert.equal(cursor.type, 0x53);

  cursor.push(whole.subarray(0, whole.length - 1));
  assert.ok(cursor.next());
  assert.equal(cursor.takeRun(), 2);
  assert.equal(cursor.next(), false);
  cursor.push(whole.subarray(whole.length - 1));
  assert.ok(cursor.next());
  assert.equal(cursor.takeRun(), 1, "an assembled frame is alone");
  assert.deepEqual(cursor.buffer.subarray(cursor.start, cursor.end), data[2]);

  const broken = new FrameCursor(limits);
  broken.push(Buffer.concat([data[0] ?? Buffer.alloc(0), Buffer.of(0x64, 0, 0, 0, 3)]));
  assert.ok(broken.next());
  assert.throws(() => broken.takeRun(), { code: "length" });
});
