import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
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
import { shortKey } from "./decision-cache.ts";

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

test("a long operation is kept for as long as somebody else has it, and nothing of its text", async () => {
  const access = accessWith(512);
  const session = subject([engineer]);
  const long = (at: number) => {
    const resource = { ...table(`t${at}`), attributes: { line: "x".repeat(60_000) } };
    return operation([effect("sql:select", resource)]);
  };
  const held = long(0);
  const first = access.authorize(session, held);
  const dropped = Array.from({ length: 20 }, (_, at) => {
    const passing = long(at + 1);
    access.authorize(session, passing);
    return new WeakRef(passing);
  });
  await collected();
  assert.deepEqual(
    dropped.filter((passing) => passing.deref() !== undefined),
    [],
  );
  assert.equal(access.authorize(session, held), first);
});

test("keys of long questions are as short as others, and differ where they do", () => {
  const long = "x".repeat(100_000);
  assert.ok(shortKey(long).length < 64);
  assert.notEqual(shortKey(long), shortKey(`${long}x`));
  assert.equal(shortKey("short"), "short");
});

/** In a turn of its own: what a turn has looked at through a WeakRef stays for its rest. */
async function collected(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
}
