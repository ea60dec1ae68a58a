import assert from "node:assert/strict";
import { test } from "node:test";
import type { Denial, Requirement } from "../access/operation.ts";
import type { Hop } from "../delegation/chain.ts";
import { createRecentDenials, type DeniedCommand } from "./recent-denials.ts";

const clock = { nowMs: () => 1_000, monotonicMs: () => 0 };
const HOP = { delegationId: "d-root", kind: "user", id: "corp/ann", name: "ann" } as Hop;

const DENIAL: Denial = {
  kind: "forbidden",
  what: "a held command",
  policyId: undefined,
  message: "nobody decided",
  hop: undefined,
  hopLabel: undefined,
};
const REQUIREMENT: Requirement = {
  policyId: "deletes-need-a-dba",
  message: undefined,
  quorum: 1,
  approvers: ["corp/dba"],
  ttlMs: 60_000,
  justificationRequired: false,
};

function denied(session: string, number: number, change: Partial<DeniedCommand> = {}) {
  return {
    requestId: `r-${session}-${number}`,
    sessionId: `s-${session}`,
    chain: { hops: [HOP] as const },
    target: "orders",
    account: "app",
    what: "drop on table public.orders",
    denial: DENIAL,
    effects: [],
    touches: [],
    requirements: [],
    ...change,
  } satisfies DeniedCommand;
}

test("the newest are kept, of a session and of sessions", () => {
  const denials = createRecentDenials(clock);
  for (let number = 1; number <= 40; number++) denials.note(denied("aaaa", number));
  assert.equal(denials.find("r-aaaa-8"), undefined);
  assert.equal(denials.find("r-aaaa-9")?.atMs, 1_000);
  assert.ok(denials.find("r-aaaa-40"));
  for (let session = 0; session < 999; session++) denials.note(denied(`b${session}`, 1));
  assert.ok(denials.find("r-aaaa-40"));
  denials.note(denied("aaaa", 41));
  denials.note(denied("cccc", 1));
  assert.ok(denials.find("r-aaaa-41"), "the session that was denied something last went first");
  assert.equal(denials.find("r-b0-1"), undefined);
});

test("an id that names no session finds nothing", () => {
  const denials = createRecentDenials(clock);
  denials.note(denied("aaaa", 1));
  for (const id of ["", "r-aaaa", "s-aaaa", "r-aaaa-1 ", "r-__proto__-1", "r-aaaa-2"])
    assert.equal(denials.find(id), undefined, id);
});

test("a command that waited and was then denied still says for whom it waited", () => {
  const denials = createRecentDenials(clock);
  const requirements = [REQUIREMENT];
  const held = { denial: undefined, what: "delete on table public.orders", requirements };
  denials.note(denied("aaaa", 1, held));
  assert.equal(denials.find("r-aaaa-1")?.denial, undefined);
  denials.note(denied("aaaa", 1, { what: "a held command" }));
  const kept = denials.find("r-aaaa-1");
  assert.equal(kept?.denial?.message, "nobody decided");
  assert.equal(kept?.what, "delete on table public.orders");
  assert.deepEqual(kept?.requirements, [REQUIREMENT]);
});
