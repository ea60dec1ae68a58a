import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createPacer } from "./pacer.ts";

test("everything is done, in order, in later turns, whatever a piece throws or adds", async () => {
  const faults: unknown[] = [];
  const pacer = createPacer((thrown) => faults.push(thrown));
  const done: number[] = [];
  for (let piece = 0; piece < 100; piece++)
    pacer.later(() => {
      if (piece === 3) throw new Error("this one");
      if (piece === 50) pacer.later(() => done.push(1000));
      done.push(piece);
    });
  assert.equal(done.length, 0);
  while (!done.includes(1000)) await delay(1);
  const expected = Array.from({ length: 100 }, (_, piece) => piece).filter((piece) => piece !== 3);
  assert.deepEqual(done, [...expected, 1000]);
  assert.match(String(faults), /this one/);
  pacer.later(() => done.push(2000));
  await delay(20);
  assert.equal(done.at(-1), 2000);
});

test("many pieces leave turns to others between them", async () => {
  const pacer = createPacer((thrown) => assert.fail(String(thrown)));
  let done = 0;
  for (let piece = 0; piece < 400; piece++) pacer.later(() => done++);
  await delay(0);
  await delay(0);
  assert.ok(done < 400, `${done} in two turns`);
  while (done < 400) await delay(1);
});
