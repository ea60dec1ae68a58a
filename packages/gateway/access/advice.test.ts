import assert from "node:assert/strict";
import { test } from "node:test";

import { agent, chainOf, effect, engineer, entry, system, table } from "./access.fixture.ts";
import { adviseOn } from "./advice.ts";
import type { Denial, DenyKind } from "./operation.ts";

const job = agent("job", [entry({ actions: ["sql:read", "sql:write"] })]);
const reader = { ...agent("reader", [entry({ actions: ["sql:read"] })]), name: "night's report" };

function denial(kind: DenyKind, hop?: number): Denial {
  return { kind, what: "it", policyId: undefined, message: "no", hop, hopLabel: undefined };
}

function advise(kind: DenyKind, hop?: number) {
  return adviseOn({
    chain: chainOf([engineer, job, reader]),
    target: "orders",
    account: "rw",
    denial: denial(kind, hop),
    effects: [
      effect("sql:select", table("orders")),
      effect("sql:update", table("orders")),
      effect("sql:select", system("pg_class")),
    ],
    touches: [{ class: "pii.email", use: "inner", column: "public.customers.email" }],
    requirements: [],
  });
}

test("a grant that is too narrow: what is lacking, asked of the hop before, quoted for a shell", () => {
  const [advice] = advise("not_granted", 2);
  assert.match(advice?.text ?? "", /night's report \(d-reader\) does not carry sql:update on/);
  assert.match(advice?.text ?? "", /job \(d-job\) can delegate anew/);
  assert.equal(
    advice?.command,
    "custody delegate --actor 'night'\\''s report' --target orders --account rw --actions sql:update --resources shop/public/orders",
  );
});

test("what no grant changes names no command", () => {
  for (const kind of ["forbidden", "not_permitted", "unknown", "fault"] as const) {
    const advice = advise(kind, 0);
    assert.equal(advice.length, 1, kind);
    assert.equal(advice[0]?.command, undefined, kind);
  }
});

test("a class that is used: as it is and masked, or unmasked by every hop", () => {
  const [asItIs, unmasked] = advise("classified", 1);
  assert.match(asItIs?.text ?? "", /Select public\.customers\.email as it is/);
  assert.match(unmasked?.text ?? "", /unmask pii\.email/);
});

test("the requestor has no grant to be widened", () => {
  assert.deepEqual(advise("not_granted", 0), []);
});
