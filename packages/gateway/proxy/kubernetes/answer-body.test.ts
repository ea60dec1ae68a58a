import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FedBody, wholeBody } from "./answer-body.ts";

function fed() {
  const calls: string[] = [];
  const call = (name: string) => () => {
    calls.push(name);
  };
  const body = new FedBody({
    ...{ pause: call("pause"), resume: call("resume"), destroy: call("destroy") },
  });
  return { body, calls };
}

const A = Buffer.from("a");
const B = Buffer.from("b");
const C = Buffer.from("c");

describe("the body of an answer", () => {
  it("keeps what came before it is read, in its order", async () => {
    const { body } = fed();
    body.push(A);
    body.push(B);
    body.end();
    assert.equal((await wholeBody(body, 10)).toString(), "ab");
  });

  it("gives the next chunk when the one before was taken, and pauses its connection until then", async () => {
    const { body, calls } = fed();
    const taken: string[] = [];
    const first = Promise.withResolvers<void>();
    const read = body.each((chunk) => {
      taken.push(chunk.toString());
      return taken.length === 1 ? first.promise : undefined;
    });
    body.push(A);
    body.push(B);
    body.push(C);
    body.end();
    assert.deepEqual([taken, calls], [["a"], ["pause", "pause"]]);
    first.resolve();
    await read;
    assert.deepEqual(taken, ["a", "b", "c"]);
  });

  it("goes on with its connection once all was taken", async () => {
    const { body, calls } = fed();
    const first = Promise.withResolvers<void>();
    const read = body.each((chunk) => (chunk === A ? first.promise : undefined));
    body.push(A);
    body.push(B);
    first.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(calls, ["pause", "resume"]);
    body.end();
    await read;
  });

  it("is broken for its reader when it breaks, however much of it came", async () => {
    const { body } = fed();
    body.push(A);
    body.fail(new Error("cut"));
    await assert.rejects(wholeBody(body, 10), /cut/);
  });

  it("is nobody's error when nobody reads it", async () => {
    const { body } = fed();
    body.fail(new Error("cut"));
    await new Promise((resolve) => setImmediate(resolve));
  });

  it("is given up when its reader cannot take it, at once or later", async () => {
    for (const take of [
      () => {
        throw new Error("no");
      },
      () => Promise.reject(new Error("no")),
    ]) {
      const { body, calls } = fed();
      const read = body.each(take);
      body.push(A);
      await assert.rejects(read, /no/);
      assert.ok(calls.includes("destroy"));
      body.push(B);
      body.end();
    }
  });

  it("is not read beyond the bound", async () => {
    const { body } = fed();
    body.push(Buffer.alloc(11));
    body.end();
    await assert.rejects(wholeBody(body, 10), /too large/);
  });
});
