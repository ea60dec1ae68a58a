// Lists of much, through the API as it is served.

import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { at, startControlApi } from "../../../conformance/support/control-api.ts";
import { Secret } from "../base/secret.ts";

const api = await startControlApi();
after(() => api[Symbol.asyncDispose]());
beforeEach(() => api.side.clock.advance(10_000));
const { delegate, get, side, signIn } = api;

async function openSession(token: string): Promise<string> {
  const { sessionId } = await side.control.openSession(
    {
      ...{ protocol: "postgres", credential: new Secret(token), target: "orders" },
      ...{ account: "ro", database: "shop", clientAddress: "127.0.0.1" },
    },
    { onEnd: () => undefined, onWarning: () => undefined },
  );
  return sessionId;
}

test("a flood of requests with long commands hides nobody else's, and is shown by its beginnings", async () => {
  const root = await signIn("engineer");
  const sessionId = await openSession(await delegate(root, "job"));
  const { holdId } = await side.control.requestApproval(
    {
      ...{ requestId: "r-1", sessionId, target: "orders", account: "ro", binding: "b" },
      ...{ what: "delete on table public.orders", command: "DELETE ".repeat(9000) },
      ...{ parameters: Array.from({ length: 20 }, () => "x".repeat(1000)) },
      requirements: [
        {
          ...{ policyId: "deletes-need-a-dba", message: undefined, quorum: 1, ttlMs: 60_000 },
          ...{ approvers: ["corp/dba"], justificationRequired: false },
        },
      ],
      justification: undefined,
    },
    () => undefined,
  );
  const one = side.store.approvals.find(holdId);
  assert.ok(one);
  const [first, ...rest] = one.chain.hops;
  const others = { hops: [{ ...first, id: "corp/other", subject: "corp/9" }, ...rest] } as const;
  side.store.approvals.atomically(() => {
    // Older than all of the flood.
    const older = { ...one, createdAtMs: one.createdAtMs - 1, chain: others };
    side.store.approvals.insert({ ...older, id: "h-ofanother", binding: "of another" });
    for (let number = 1; number < 300; number++)
      side.store.approvals.insert({ ...one, id: `h-flood${number}`, binding: `flood-${number}` });
  });
  const dba = await signIn("dba1");
  const listed = await get("/v1/requests?state=waiting", dba);
  const requests = at(listed, "requests") as { id: string; command: string; parameters: [] }[];
  assert.equal(requests.length, 101);
  assert.equal(at(listed, "left"), 200);
  assert.equal(requests.at(-1)?.id, "h-ofanother");
  assert.ok(listed.text.length < 2_500_000, `${listed.text.length} characters`);
  assert.deepEqual(
    [at(listed, "requests.0.commandTruncated"), requests[0]?.command.length],
    [true, 2048],
  );
  const whole = await get(`/v1/requests/${holdId}`, root);
  assert.equal(at(whole, "command"), "DELETE ".repeat(9000));
});

test("sessions are found among thousands, some a turn, and one's own only", async () => {
  const [root, stranger] = [await signIn("engineer"), await signIn("dba1")];
  const id = await openSession(await delegate(root, "job"));
  const row = side.store.sessions.find(id);
  assert.ok(row);
  for (let number = 0; number < 3000; number++) {
    const target = number % 1000 === 0 ? "rare" : "orders";
    const openedAtMs = row.openedAtMs - 1 - number;
    side.store.sessions.insert({ ...row, id: `s-many${number}`, target, openedAtMs });
  }
  let turns = 0;
  let isOver = false;
  const count = (): void => {
    turns += 1;
    if (!isOver) setImmediate(count);
  };
  count();
  const found = await get("/v1/sessions?target=rare", root);
  isOver = true;
  assert.deepEqual(
    (at(found, "sessions") as { id: string }[]).map((one) => one.id),
    ["s-many0", "s-many1000", "s-many2000"],
  );
  assert.ok(turns >= 30, `${turns} turns`);
  assert.deepEqual(at(await get("/v1/sessions?target=rare", stranger), "sessions"), []);
  assert.equal((at(await get("/v1/sessions", root), "sessions") as []).length, 500);
  const live = at(await get("/v1/sessions?state=closed", root), "sessions");
  assert.deepEqual(live, []);
});
