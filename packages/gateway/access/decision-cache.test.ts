import assert from "node:assert/strict";
import { test } from "node:test";
import {
  effect,
  engineer,
  load,
  NOON_MS,
  operation,
  policy,
  subject,
  table,
} from "./access.fixture.ts";
import { createAccess, DEFAULT_ACCESS_LIMITS } from "./authorize.ts";

const ALL = policy(
  `@id("connect") permit (principal, action == Custody::Action::"connect", resource);
   @id("read") permit (principal, action in SQL::Action::"read", resource);`,
);

function accessWith(decisionsPerSession: number) {
  const set = load(ALL);
  const clock = { nowMs: () => NOON_MS, monotonicMs: () => NOON_MS };
  const limits = { ...DEFAULT_ACCESS_LIMITS, decisionsPerSession };
  return createAccess({ policies: () => set, clock, limits });
}

const one = operation([effect("sql:select", table("one"))]);
const two = operation([effect("sql:select", table("two"))]);

test("as many decisions are kept of a session as the limit says, the last used ones", () => {
  const access = accessWith(1);
  const session = subject([engineer]);
  const first = access.authorize(session, one);
  assert.equal(first.verdict, "permit");
  assert.equal(access.authorize(session, one), first);
  access.authorize(session, two);
  assert.notEqual(access.authorize(session, one), first);
});

test("none are kept where the limit is 0, and all the same every command is decided", () => {
  const access = accessWith(0);
  const session = subject([engineer]);
  const first = access.authorize(session, one);
  const again = access.authorize(session, one);
  assert.deepEqual([first.verdict, again.verdict], ["permit", "permit"]);
  assert.notEqual(again, first);
});
