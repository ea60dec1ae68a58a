import assert from "node:assert/strict";
import { test } from "node:test";
import type { LeafDraft } from "../audit/journal.ts";
import { createRefusedSignIns } from "./refused-sign-ins.ts";

function fixture() {
  const leaves: LeafDraft[] = [];
  const clock = { ms: 0, nowMs: () => clock.ms, monotonicMs: () => clock.ms };
  const journal = { append: (leaf: LeafDraft) => leaves.push(leaf) };
  return { leaves, clock, refusals: createRefusedSignIns(journal, clock) };
}

const leaf: LeafDraft = { event: "session.refused", outcome: "unauthenticated" };

test("a flood from one address is a few leaves and a count, and hides no other address", () => {
  const { leaves, clock, refusals } = fixture();
  for (let index = 0; index < 10_000; index++) refusals.tell("10.0.0.1", leaf);
  refusals.tell("10.0.0.2", leaf);
  assert.equal(leaves.length, 6);
  clock.ms = 1000;
  refusals.tell("10.0.0.1", leaf);
  assert.deepEqual(leaves[6], {
    event: "session.refused",
    outcome: "throttled",
    detail: { count: 9995 },
  });
  assert.equal(leaves.length, 8);
});

test("many addresses are bounded too, and the last count is told at the end", () => {
  const { leaves, refusals } = fixture();
  for (let index = 0; index < 5000; index++) refusals.tell(`2001:db8::${index}`, leaf);
  assert.equal(leaves.length, 1000);
  refusals[Symbol.dispose]();
  assert.deepEqual(leaves[1000]?.detail, { count: 4000 });
});
