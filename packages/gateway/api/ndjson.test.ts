import assert from "node:assert/strict";
import { test } from "node:test";
import { GatewayError } from "../base/errors.ts";
import { createTail, linesOf } from "./ndjson.ts";

test("a reader that is slow loses leaves, is told how many, and goes on in order", async () => {
  const tail = createTail(3, 1000);
  const lines = tail[Symbol.asyncIterator]();
  const next = async () => JSON.parse(String((await lines.next()).value));
  assert.deepEqual(await next(), { alive: true });
  for (let index = 1; index <= 5; index++) tail.push(JSON.stringify({ index }));
  assert.deepEqual(
    [await next(), await next(), await next()],
    [{ index: 1 }, { index: 2 }, { index: 3 }],
  );
  assert.deepEqual(await next(), { gap: 2 });
  const waiting = next();
  tail.push(JSON.stringify({ index: 6 }));
  assert.deepEqual(await waiting, { index: 6 });
  tail.close();
  assert.equal((await lines.next()).done, true);
});

test("a tail with nothing to say says that it is alive", async () => {
  const tail = createTail(3, 5);
  const lines = tail[Symbol.asyncIterator]();
  for (let index = 0; index < 3; index++)
    assert.deepEqual(JSON.parse(String((await lines.next()).value)), { alive: true });
  tail.close();
});

test("a source that fails half-way ends with the error, without its cause", async () => {
  async function* broken() {
    yield { t: 1 };
    throw new GatewayError("not_found", "its key was erased", { cause: new Error("/secret/path") });
  }
  const lines: string[] = [];
  for await (const line of linesOf(broken(), () => undefined)) lines.push(line);
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [{ t: 1 }, { error: { code: "not_found", message: "its key was erased" } }],
  );
});
