import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import { BodyRoom, beginIntake, type Incoming, type Intake } from "./body-intake.ts";

const LIMITS = { maxBytes: 100_000, startMs: 600_000 };
const NOTHING = new BodyRoom(0);

function request(pieces: readonly Buffer[], isOver = true) {
  const left = [...pieces];
  const body = new Readable({
    read() {
      const piece = left.shift();
      if (piece !== undefined) this.push(piece);
      else if (isOver) this.push(null);
    },
  });
  return Object.assign(body, { headers: { "transfer-encoding": "chunked" } });
}

function begun(incoming: Incoming): Intake {
  return beginIntake(incoming, LIMITS) ?? assert.fail("it has a body");
}

describe("the body of a request", () => {
  it("is all that came of it, and takes room until it is wanted no more", async () => {
    const pieces = Array.from({ length: 40 }, (_, index) => Buffer.alloc(1000, index));
    const room = new BodyRoom(40_000);
    const intake = begun(request(pieces));
    assert.deepEqual(await intake.whole(room), Buffer.concat(pieces));
    assert.equal(room.take(1), false);
    intake.end();
    assert.equal(room.take(40_000), true);
  });

  it("is refused where there is no room for it, and takes none then", async () => {
    const all = new BodyRoom(5000);
    const room = new BodyRoom(10_000, all);
    const intake = begun(request([Buffer.alloc(3000), Buffer.alloc(3000)]));
    await assert.rejects(intake.whole(room), { code: "limit" });
    intake.end();
    assert.equal(all.take(5000), true);
  });

  it("is refused when it is too large, or breaks off", async () => {
    const large = begun(request([Buffer.alloc(60_000), Buffer.alloc(60_000)]));
    await assert.rejects(large.whole(new BodyRoom(1 << 20)), { code: "invalid" });
    large.end();
    const broken = request([Buffer.alloc(10)], false);
    broken.on("error", () => undefined);
    const intake = begun(broken);
    const whole = intake.whole(new BodyRoom(1 << 20));
    broken.destroy();
    await assert.rejects(whole, { code: "protocol" });
    intake.end();
  });

  it("is not taken in crumbs", async () => {
    const incoming = request(Array.from({ length: 300 }, () => Buffer.of(0x20)));
    const intake = begun(incoming);
    await assert.rejects(intake.whole(new BodyRoom(1 << 20)), /crumbs/);
    assert.equal(incoming.destroyed, true);
    intake.end();
  });

  it("of a stranger is taken a little way only", async () => {
    const incoming = request(Array.from({ length: 100 }, () => Buffer.alloc(1000)));
    const intake = begun(incoming);
    while (!incoming.isPaused()) await new Promise((resolve) => setImmediate(resolve));
    assert.equal((await intake.whole(new BodyRoom(1 << 20))).length, 100_000);
    intake.end();
    // One that is refused before anybody wants its body.
    begun(request([Buffer.alloc(10)], false)).end();
  });

  it("is none where the head says so, and is not taken compressed", () => {
    assert.equal(beginIntake(Object.assign(request([]), { headers: {} }), LIMITS), undefined);
    const headers = { "content-length": "3", "content-encoding": "gzip" };
    assert.throws(() => beginIntake(Object.assign(request([]), { headers }), LIMITS), {
      code: "invalid",
    });
    assert.equal(NOTHING.take(1), false);
  });
});
