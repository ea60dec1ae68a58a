import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Turns } from "./turns.ts";

const { signal } = new AbortController();

describe("turns", () => {
  it("are as many as there are at once, and go on in the order they were asked for", async () => {
    const turns = new Turns(2);
    assert.deepEqual([turns.take(signal), turns.take(signal)], [undefined, undefined]);
    const order: number[] = [];
    const waiting = [1, 2, 3].map((number) => turns.take(signal)?.then(() => order.push(number)));
    assert.ok(waiting.every((one) => one !== undefined));
    turns.give();
    await waiting[0];
    assert.deepEqual(order, [1]);
    turns.give();
    turns.give();
    await Promise.all(waiting);
    assert.deepEqual(order, [1, 2, 3]);
    turns.give();
    assert.equal(turns.take(signal), undefined);
  });

  it("are left by whom they no longer matter to", async () => {
    const turns = new Turns(1);
    turns.take(signal);
    const leaving = new AbortController();
    const left = turns.take(leaving.signal);
    const next = turns.take(signal);
    leaving.abort(new Error("it went away"));
    await assert.rejects(Promise.resolve(left), /went away/);
    await assert.rejects(Promise.resolve(turns.take(leaving.signal)), /went away/);
    turns.give();
    await next;
    turns.give();
    assert.equal(turns.take(signal), undefined);
  });
});
