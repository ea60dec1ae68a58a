// What an agent, and who is above it, can find out about the tree and about what stands in the way: on
// the real gateway.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { DelegationView } from "@custody/contract/delegations.ts";
import type { DenialView, Explanation } from "@custody/contract/explanations.ts";

import { CUSTODY } from "../../conformance/support/command-line.ts";
import { connectAgent } from "../../demo/agent-connection.ts";
import { openSignedInStage, type SignedInStage } from "./run-harness.ts";

let parts: SignedInStage;
before(async () => {
  parts = await openSignedInStage(["engineer", "dba1"]);
});
after(() => parts[Symbol.asyncDispose]());

const GRANT = [
  "--target",
  "orders",
  "--account",
  "app",
  "--resources",
  "shop/public/*",
  "--handle",
];

interface Agent {
  readonly id: string;
  readonly env: Record<string, string>;
}

async function delegate(name: string, actions: string, parent?: Agent): Promise<Agent> {
  const args = ["delegate", "--actor", name, ...GRANT, "--actions", actions, "--json"];
  const { json, stderr } = await parts.as("engineer", args, parent?.env);
  const issued = json as { access_token: string; delegation_id: string };
  assert.ok(issued.access_token, stderr);
  const { gateway } = parts.stage;
  return {
    id: issued.delegation_id,
    env: {
      CUSTODY_URL: gateway.url,
      CUSTODY_CA: gateway.caFile,
      CUSTODY_TOKEN: issued.access_token,
    },
  };
}

/** Runs what is denied; the request id is in the error's detail. */
async function deniedRequest(agent: Agent, sql: string): Promise<string> {
  await using connection = await connectAgent(parts.stage, agent.env.CUSTODY_TOKEN ?? "");
  const error = await connection.client.query(sql).then(
    () => assert.fail("it was not denied"),
    (thrown: { detail?: string }) => thrown,
  );
  const id = /Request (r-\S+)\./.exec(error.detail ?? "")?.[1];
  assert.ok(id !== undefined, error.detail);
  return id;
}

const explain = (agent: Agent, ...args: string[]) =>
  parts.as("engineer", ["explain", ...args, "--json"], agent.env);

describe("a denied command", () => {
  test("is explained to its own chain: what does not carry it, and what to ask for", async () => {
    const job = await delegate("job", "sql:read,sql:write");
    const agent = await delegate("reader", "sql:read", job);
    const id = await deniedRequest(agent, "update orders set status = 'x' where id = 1");
    const denial = (await explain(agent, id)).json as DenialView;
    assert.equal(denial.state, "denied");
    assert.equal(denial.what, "update on table public.orders");
    assert.match(denial.hop ?? "", /agent reader/);
    const [advice] = denial.advice;
    assert.match(advice?.text ?? "", /grant of reader .* does not carry sql:update.*job \(d-/s);
    // What it says to type does what it says it does.
    const typed = (advice?.command ?? "").replace(/^custody /, "").split(" ");
    const granted = await parts.as("engineer", [...typed, "--handle", "--json"], job.env);
    assert.equal(granted.exitCode, 0, granted.stderr + granted.stdout);
    const people = await parts.as("engineer", ["explain", id], agent.env);
    assert.match(people.stdout, /because {2}.*does not carry sql:update/);
    assert.match(people.stdout, /custody delegate --actor reader/);
  });

  test("and to who is above or may replay, to nobody else", async () => {
    const agent = await delegate("dropper", "sql:*");
    const sibling = await delegate("sibling", "sql:*");
    const below = await delegate("below", "sql:read", agent);
    const id = await deniedRequest(agent, "drop table orders");
    for (const person of ["engineer", "dba1"]) {
      const { json } = await parts.as(person, ["explain", id, "--json"]);
      const denial = json as DenialView;
      assert.equal(denial.policyId, "no-schema-changes");
      assert.match(denial.advice[0]?.text ?? "", /no-schema-changes forbids it.*No grant changes/);
    }
    for (const other of [sibling, below]) {
      const refused = await explain(other, id);
      assert.notEqual(refused.exitCode, 0);
      assert.doesNotMatch(refused.stdout, /no-schema-changes/);
    }
    const none = await explain(agent, "r-0000-1");
    assert.equal(none.exitCode, 1);
  });

  test("that waited for people says for whom", async () => {
    const agent = await delegate("cleaner", "sql:read,sql:write");
    await using connection = await connectAgent(parts.stage, agent.env.CUSTODY_TOKEN ?? "");
    const running = connection.client.query("delete from orders where id = 1");
    running.catch(() => undefined);
    let requestId: string | undefined;
    let holdId = "";
    while (requestId === undefined) {
      const { json } = await parts.as("dba1", ["requests", "--state", "waiting", "--json"]);
      const [request] = (json as { requests: { id: string; requestId: string }[] }).requests;
      requestId = request?.requestId;
      holdId = request?.id ?? "";
    }
    const held = (await explain(agent, requestId)).json as DenialView;
    assert.equal(held.state, "held");
    assert.equal(held.requirements[0]?.policyId, "deletes-need-a-dba");
    assert.match(held.advice[0]?.text ?? "", /approval of corp\/dba/);
    await parts.as("dba1", ["deny", holdId, "--reason", "not today"]);
    await assert.rejects(running);
    const denied = (await explain(agent, requestId)).json as DenialView;
    assert.equal(denied.state, "denied");
    assert.match(denied.what, /delete on table public\.orders/);
    assert.match(denied.message ?? "", /not today/);
    assert.equal(denied.requirements.length, 1);
  });
});

describe("a statement that is only asked about", () => {
  const ask = async (agent: Agent, sql: string) =>
    (await explain(agent, sql, "--target", "orders")).json as Explanation;

  test("is decided as it would be, and not run", async () => {
    const agent = await delegate("asker", "sql:*");
    const read = await ask(agent, "select name, email from customers");
    assert.equal(read.verdict, "permit");
    assert.deepEqual(read.masked, ["pii.email"]);
    assert.ok(read.effects.includes("select on table public.customers"), read.effects.join());
    const held = await ask(agent, "delete from orders");
    assert.equal(held.verdict, "hold");
    assert.match(held.advice[0]?.text ?? "", /approval of corp\/dba/);
    const denied = await ask(agent, "drop table orders");
    assert.equal(denied.verdict, "deny");
    assert.equal(denied.policyId, "no-schema-changes");
    const classified = await ask(agent, "select id from customers where email like 'a%'");
    assert.equal(classified.verdict, "deny");
    assert.match(classified.advice[1]?.text ?? "", /unmask pii\.email/);
    const unknown = await ask(agent, "select from where");
    assert.equal(unknown.verdict, "deny");
    assert.match(unknown.message ?? "", /syntax/);
    const [count] = await parts.stage.database.query(
      "shop",
      "select count(*)::int as n from orders",
    );
    assert.equal(count?.n, 400);
    const { json } = await parts.as("dba1", ["requests", "--json"]);
    const asked = (json as { requests: { what: string; chain: { name: string }[] }[] }).requests;
    assert.ok(!asked.some(({ chain }) => chain.at(-1)?.name === "asker"), "a request was opened");
  });

  test("is decided for one below, by who is above or administers, and by nobody else", async () => {
    const job = await delegate("asking-job", "sql:read,sql:write");
    const reader = await delegate("asked-reader", "sql:read", job);
    const about = (agent: Agent | undefined, person: string) =>
      parts.as(
        person,
        ["explain", "delete from orders", "--target", "orders", "--for", reader.id, "--json"],
        agent?.env ?? {},
      );
    assert.equal((await ask(job, "delete from orders")).verdict, "hold");
    for (const answer of [await about(job, "engineer"), await about(undefined, "engineer")]) {
      const { verdict, hop } = answer.json as Explanation;
      assert.equal(verdict, "deny", answer.stderr);
      assert.match(hop ?? "", /agent asked-reader/);
    }
    const sibling = await delegate("asking-sibling", "sql:*");
    assert.equal((await about(sibling, "engineer")).exitCode, 1);
    const upwards = ["explain", "delete from orders", "--target", "orders", "--for", job.id];
    assert.equal((await parts.as("engineer", upwards, reader.env)).exitCode, 1);
  });

  test("by a chain that may not connect there, it is refused as a session would be", async () => {
    const agent = await delegate("elsewhere", "sql:read");
    const wrong = await explain(agent, "select 1", "--target", "orders", "--database", "postgres");
    assert.equal(wrong.exitCode, 1);
    assert.match(wrong.stdout, /has no database/);
    const away = await explain(agent, "select 1", "--target", "nothing", "--database", "shop");
    assert.match(away.stdout, /there is no target/);
    const account = ["--target", "orders", "--account", "root"];
    assert.match((await explain(agent, "select 1", ...account)).stdout, /has no account/);
  });
});

test("custody chain draws what is above, below, live and ended", async () => {
  const job = await delegate("tree-job", "sql:read,sql:write");
  const one = await delegate("tree-reader", "sql:read", job);
  const gone = await delegate("tree-gone", "sql:read", job);
  await parts.as("engineer", ["revoke", gone.id, "--reason", "no use"], job.env);
  await using connection = await connectAgent(parts.stage, one.env.CUSTODY_TOKEN ?? "");
  await connection.client.query("select 1");
  const drawn = (await parts.as("engineer", ["chain"], job.env)).stdout;
  const lines = drawn.trimEnd().split("\n");
  assert.match(lines[0] ?? "", /^corp\/engineer {2}d-\S+ {2}user, attested, expires in/);
  assert.match(lines[1] ?? "", /^│ {2}may: whatever/);
  assert.match(lines[2] ?? "", /^└─ tree-job {2}d-\S+ {2}agent, \w+, expires in .* {2}you$/);
  assert.match(lines[3] ?? "", /^ {3}│ {2}may: sql:read,sql:write on app~orders shop\/public\/\*$/);
  assert.match(drawn, /^ {3}├─ tree-reader {2}d-/m);
  assert.match(drawn, /^ {3}│ {2}│ {2}may: sql:read on /m);
  assert.match(drawn, /^ {3}│ {2}└─ ● s-\S+ {2}app~orders\/shop {2}from 127\.0\.0\.1, opened/m);
  assert.match(drawn, /^ {3}└─ tree-gone {2}d-\S+ .*revoked \d+s ago: no use$/m);
  assert.equal(lines.length, 8);
  const { json } = await parts.as("engineer", ["chain", "--json"], job.env);
  const { delegations } = json as { delegations: DelegationView[] };
  assert.deepEqual(
    delegations.map(({ name }) => name),
    ["tree-job", "tree-reader", "tree-gone"],
  );
  const nested = await parts.as(
    "engineer",
    ["run", "--target", "orders:read", "--quiet", "--", process.execPath, CUSTODY, "chain"],
    { ...one.env, CUSTODY_HOME: join(parts.stage.folder, "nobody") },
  );
  assert.match(nested.stdout, /^ {6}└─ node {2}d-.* {2}you$/m, nested.stderr);
});
