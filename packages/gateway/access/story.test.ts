// The story of the first light, decided by the starter policies as they are shipped.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { starterPolicies } from "../policy/starter.ts";
import {
  agent,
  chainOf,
  createTestAccess,
  dba,
  effect,
  engineer,
  entry,
  operation,
  subject,
  system,
  table,
} from "./access.fixture.ts";

const { access, control } = createTestAccess(starterPolicies());

const job = agent("ci-job", [entry({ accounts: ["rw"], actions: ["sql:data"] })]);
const reader = agent("sub-agent", [
  entry({ accounts: ["ro"], actions: ["sql:read"], resources: ["shop/public/*"] }),
]);
const select = operation([effect("sql:select", table("customers"))]);
const remove = operation([effect("sql:delete", table("orders"))]);
const drop = operation([effect("sql:drop", table("orders"))]);

describe("the starter policies", () => {
  it("let a sub-agent read, with e-mail addresses masked", () => {
    const decision = access.authorize(
      subject([engineer, job, reader], { account: "ro" }),
      operation(select.effects, [
        { class: "pii.email", use: "output", column: "public.customers.email" },
      ]),
    );
    assert.equal(decision.verdict, "deny", "the job's grant is for the account rw");
    const allowed = access.authorize(
      subject([engineer, agent("ci-job", [entry({ actions: ["sql:data"] })]), reader], {
        account: "ro",
      }),
      operation(select.effects, [
        { class: "pii.email", use: "output", column: "public.customers.email" },
      ]),
    );
    assert.equal(allowed.verdict, "permit");
    if (allowed.verdict !== "permit") return;
    assert.deepEqual([...allowed.permit.obligations.unmask], []);
    assert.deepEqual(allowed.permit.policyIds.toSorted(), [
      "agents-inherit",
      "engineers-connect-to-test-data",
      "engineers-read-and-write",
    ]);
  });

  it("deny a schema change to everybody, and say which policy and hop", () => {
    const decision = access.authorize(subject([engineer, job], { account: "rw" }), drop);
    assert.deepEqual(decision.verdict === "deny" && decision.denial, {
      kind: "forbidden",
      what: "drop on table public.orders",
      policyId: "no-schema-changes",
      message:
        "Schemas, rights and the server itself are changed by migrations, not through Custody.",
      hop: 0,
      hopLabel: "depth 0, user corp/engineer@example.com",
    });
    assert.equal(access.authorize(subject([dba]), drop).verdict, "deny");
  });

  it("hold a delete for a database administrator, and run it once they consent", () => {
    const asked = subject([engineer, job], { account: "rw" });
    const held = access.authorize(asked, remove);
    assert.deepEqual(held.verdict === "hold" && held.requirements, [
      {
        policyId: "deletes-need-a-dba",
        message: "Deleting rows needs a database administrator's approval.",
        quorum: 1,
        approvers: ["corp/dba"],
        ttlMs: 900_000,
        justificationRequired: false,
      },
    ]);
    assert.equal(held.verdict === "hold" && held.what, "delete on table public.orders");
    assert.equal(access.authorizeApproved(asked, remove, []).verdict, "hold");
    assert.equal(access.authorizeApproved(asked, remove, ["another"]).verdict, "hold");
    assert.equal(access.authorizeApproved(asked, remove, ["deletes-need-a-dba"]).verdict, "permit");
    assert.equal(access.authorize(asked, remove).verdict, "hold", "an approval is for once");
  });

  it("let a dba approve it, not the engineer, not an agent of the dba", () => {
    const target = { name: "orders", tags: { env: "demo" } };
    const held = access.authorize(subject([engineer, job], { account: "rw" }), remove);
    assert.equal(held.verdict, "hold");
    const requirements = held.verdict === "hold" ? held.requirements : [];
    const approves = control.mayApprove(chainOf([dba]), target, requirements);
    assert.deepEqual(approves, {
      allowed: true,
      policyIds: ["dbas-approve"],
      denial: undefined,
      countsFor: ["deletes-need-a-dba"],
    });
    const engineerMay = control.mayApprove(chainOf([engineer]), target, requirements);
    assert.equal(engineerMay.denial?.kind, "not_permitted");
    const agentMay = control.mayApprove(chainOf([dba, job]), target, requirements);
    assert.equal(agentMay.denial?.kind, "forbidden");
  });

  it("let everybody connected read the catalogue, whatever their grant", () => {
    const catalogue = operation([effect("sql:select", system("pg_class"))]);
    const narrow = agent("narrow", [entry({ resources: ["shop/public/orders"] })]);
    assert.equal(access.authorize(subject([engineer, narrow]), catalogue).verdict, "permit");
    const stranger = { ...engineer, id: "corp/guest", groups: [] };
    assert.equal(access.authorize(subject([stranger]), catalogue).verdict, "deny");
  });

  it("keep engineers out of production and let database administrators in", () => {
    const production = { targetTags: { env: "prod" } };
    const untagged = { targetTags: {} };
    for (const place of [production, untagged]) {
      const decision = access.authorize(subject([engineer], place), select);
      assert.equal(decision.verdict === "deny" && decision.denial.kind, "not_permitted");
      assert.equal(decision.verdict === "deny" && decision.denial.what, "connect on target orders");
      assert.equal(access.authorize(subject([dba], place), select).verdict, "permit");
    }
  });

  it("let everybody delegate, dbas replay and administer, and agents neither", () => {
    const target = { name: "orders", tags: {} };
    assert.equal(control.mayDelegate(chainOf([engineer, job])).allowed, true);
    assert.equal(control.mayReplay(chainOf([dba]), target).allowed, true);
    assert.equal(control.mayReplay(chainOf([engineer]), target).allowed, false);
    assert.equal(control.mayReplay(chainOf([dba, job]), target).allowed, false);
    assert.equal(control.mayAdminister(chainOf([dba])).allowed, true);
    assert.equal(control.mayAdminister(chainOf([dba, job])).allowed, false);
    assert.equal(control.mayAdminister(chainOf([engineer])).allowed, false);
  });
});
