import assert from "node:assert/strict";
import { test } from "node:test";
import { createLanes } from "./lanes.ts";

test("of each one piece goes on at a time, in the order asked, and others wait for nobody", async () => {
  const lanes = createLanes(3);
  const steps: string[] = [];
  const enter = async (who: string, name: string) => {
    const turn = await lanes.enter(who);
    steps.push(name);
    return turn;
  };
  const first = await enter("one", "first");
  const second = enter("one", "second");
  const third = enter("one", "third");
  await assert.rejects(lanes.enter("one"), { code: "limit" });
  await enter("two", "other");
  assert.deepEqual(steps, ["first", "other"]);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
  (await third)[Symbol.dispose]();
  assert.deepEqual(steps, ["first", "other", "second", "third"]);
  (await enter("one", "again"))[Symbol.dispose]();
});
