// The slice must give the answer of the whole set: same decision, same deciding policies, same errors.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isAuthorized } from "@cedar-policy/cedar-wasm/nodejs";
import fc from "fast-check";
import type { Hop } from "../delegation/chain.ts";
import { evaluatePair } from "./engine.ts";
import { parsePolicies } from "./load.ts";
import type { PolicySet } from "./policy-set.ts";
import {
  contextOf,
  entitiesOf,
  principalFacts,
  type ResourceFacts,
  resourceFacts,
  type Situation,
  targetFacts,
} from "./question.ts";
import { type EntityUid, SCHEMA_ACTIONS } from "./schema.ts";

const GROUPS = ["corp/a", "corp/b"];
const TABLES = ["orders/shop/public/t1", "orders/shop/public/t2", "billing/shop/public/t1"];

const principalHead = fc.constantFrom(
  "principal",
  'principal == Custody::User::"corp/u1"',
  'principal == Custody::Workload::"corp/u1"',
  'principal in Custody::User::"corp/u1"',
  ...GROUPS.map((group) => `principal in Custody::Group::"${group}"`),
  "principal is Custody::User",
  "principal is Custody::Agent",
  'principal is Custody::Workload in Custody::Group::"corp/a"',
);
const resourceHead = fc.constantFrom(
  "resource",
  "resource is SQL::Table",
  'resource == SQL::Table::"orders/shop/public/t1"',
  'resource in SQL::Table::"orders/shop/public/t2"',
  'resource in SQL::Schema::"orders/shop/public"',
  'resource in Custody::Target::"orders"',
  'resource is SQL::Table in Custody::Target::"billing"',
  'resource == Custody::Target::"orders"',
);
const actionHead = fc.constantFrom(
  "action",
  'action == SQL::Action::"select"',
  'action in SQL::Action::"read"',
  'action in [SQL::Action::"write", SQL::Action::"select"]',
  'action in Custody::Action::"data"',
  'action == Custody::Action::"connect"',
);
const condition = fc.constantFrom(
  "",
  "when { context.depth == 0 }",
  'unless { context.provenance == "bearer" }',
  'when { context.root has user && context.root.user in Custody::Group::"corp/a" }',
  "when { !(context has justification) && context.address.isLoopback() }",
  "when { [context.depth, context.time.hour].contains(1) }",
  // Errs for some of the chains: the whole set and the slice must both say so.
  "when { 9223372036854775807 - 1 + context.depth * 2 > 0 }",
);
const statement = fc
  .record({
    form: fc.constantFrom("permit", "permit", "forbid", "hold"),
    principal: principalHead,
    action: actionHead,
    resource: resourceHead,
    condition,
  })
  .map(({ form, principal, action, resource, condition }) => {
    const head = `${form === "permit" ? "permit" : "forbid"} (${principal}, ${action}, ${resource})`;
    return `${head} ${condition} ${form === "hold" ? "unless { context.approved }" : ""};`;
  });

const hop: fc.Arbitrary<Hop> = fc
  .record({
    kind: fc.constantFrom("user", "workload", "agent" as const),
    id: fc.constantFrom("corp/u1", "corp/u2"),
    groups: fc.uniqueArray(fc.constantFrom(...GROUPS)),
  })
  .map(({ kind, id, groups }) => ({
    delegationId: "d-1",
    kind,
    id,
    name: id,
    subject: id,
    groups: kind === "agent" ? [] : groups,
    provenance: kind === "agent" ? "bearer" : "attested",
    grant: undefined,
    expiresAtMs: 1,
  }));

const question = fc.record({
  root: hop,
  leaf: hop,
  action: fc.constantFrom("select", "insert", "delete", "connect"),
  table: fc.constantFrom(...TABLES),
});

type Question = typeof question extends fc.Arbitrary<infer Q> ? Q : never;

/** A set of those of the policies that are valid by themselves. */
function setOf(statements: readonly string[]): PolicySet | undefined {
  const valid = statements
    .map((text, index) => `@id("p${index}") ${text}`)
    .filter((text) => parsePolicies([{ name: "p", text }]).ok);
  const loaded = parsePolicies([{ name: "p", text: valid.join("\n") }]);
  return loaded.ok ? loaded.policies : undefined;
}

function ask({ root, leaf, action, table }: Question): {
  readonly situation: Situation;
  readonly action: EntityUid;
  readonly resource: ResourceFacts;
} {
  const target = table.split("/")[0] ?? "";
  const schema = { type: "SQL::Schema", id: `${target}/shop/public`, path: "shop/public" };
  const situation: Situation = {
    chain: { hops: [root, leaf] },
    nowMs: 0,
    target: { name: target, tags: {} },
    session: { account: "rw", protocol: "postgres", address: "::1", justification: undefined },
  };
  if (action === "connect") {
    const uid = { type: "Custody::Action", id: "connect" };
    return { situation, action: uid, resource: targetFacts(target) };
  }
  const resource = resourceFacts(
    {
      type: "SQL::Table",
      id: table,
      path: table.slice(target.length + 1),
      parent: { ...schema, parent: undefined, implied: false },
      implied: false,
    },
    target,
  );
  return { situation, action: { type: "SQL::Action", id: action }, resource };
}

/** Cedar with every policy of the set. */
function wholeSet(set: PolicySet, asked: ReturnType<typeof ask>, leaf: Hop, approved: boolean) {
  const principal = principalFacts(leaf);
  const answer = isAuthorized({
    principal: principal.uid,
    action: asked.action,
    resource: asked.resource.uid,
    context: { ...contextOf(asked.situation), approved },
    policies: {
      staticPolicies: Object.fromEntries(set.policies.map((policy) => [policy.id, policy.text])),
    },
    entities: entitiesOf(asked.situation, principal, asked.action, asked.resource),
    validateRequest: false,
  });
  assert.ok(answer.type === "success", JSON.stringify(answer));
  const { decision, diagnostics } = answer.response;
  return { decision, reason: diagnostics.reason.toSorted(), errors: diagnostics.errors };
}

const anybody = principalFacts({
  delegationId: "d-1",
  kind: "user",
  id: "corp/u1",
  name: "u1",
  subject: "corp/1",
  groups: ["corp/a"],
  provenance: "attested",
  grant: undefined,
  expiresAtMs: 1,
});

describe("a slice", () => {
  it("answers as the whole set does, holds and faults too", () => {
    const seen = new Map<string, number>();
    const verdicts = ["permit", "hold", "deny", "fault"];
    const isAsAWhole = () =>
      fc.property(
        fc.array(statement, { minLength: 4, maxLength: 12 }),
        fc.array(question, { minLength: 5, maxLength: 5 }),
        (statements, questions) => {
          const set = setOf(statements);
          if (set === undefined) return;
          for (const one of questions) {
            const asked = ask(one);
            const answer = evaluatePair(
              set,
              asked.situation,
              one.leaf,
              asked.action,
              asked.resource,
            );
            seen.set(answer.verdict, (seen.get(answer.verdict) ?? 0) + 1);
            const before = wholeSet(set, asked, one.leaf, false);
            const after = wholeSet(set, asked, one.leaf, true);
            if (answer.verdict === "fault") {
              assert.ok(before.errors.length > 0 || after.errors.length > 0);
              continue;
            }
            assert.deepEqual(before.errors, []);
            if (answer.verdict === "permit") {
              const permits = answer.permits.map((policy) => policy.id).toSorted();
              assert.deepEqual([before.decision, before.reason], ["allow", permits]);
            } else if (answer.verdict === "hold") {
              const approvals = answer.approvals.map((policy) => policy.id).toSorted();
              const permits = answer.permits.map((policy) => policy.id).toSorted();
              assert.deepEqual([before.decision, before.reason], ["deny", approvals]);
              assert.deepEqual([after.decision, after.reason], ["allow", permits]);
            } else {
              assert.equal(answer.verdict, "deny");
              assert.deepEqual([before.decision, after.decision], ["deny", "deny"]);
              const forbid = answer.verdict === "deny" ? answer.forbid : undefined;
              assert.equal(after.reason.includes(forbid?.id ?? ""), forbid !== undefined);
              assert.equal(after.reason.length > 0, forbid !== undefined);
            }
          }
        },
      );
    fc.assert(isAsAWhole(), { numRuns: 50 });
    // Chance may leave one out; more of the same brings it.
    for (let more = 0; more < 20 && !verdicts.every((one) => seen.has(one)); more++)
      fc.assert(isAsAWhole(), { numRuns: 10 });
    for (const verdict of verdicts) {
      assert.ok((seen.get(verdict) ?? 0) > 0, `${verdict} came up ${seen.get(verdict)} times`);
    }
  });

  it("leaves out what cannot match", () => {
    const set = setOf([
      'permit (principal in Custody::Group::"corp/a", action in SQL::Action::"read", resource);',
      'permit (principal in Custody::Group::"corp/b", action in SQL::Action::"read", resource);',
      'permit (principal is Custody::Agent, action in SQL::Action::"read", resource);',
      'permit (principal, action in SQL::Action::"write", resource);',
      'permit (principal, action in SQL::Action::"read", resource in Custody::Target::"billing");',
      'forbid (principal, action, resource in SQL::Schema::"orders/shop/public");',
    ]);
    const table = resourceFacts(
      {
        type: "SQL::Table",
        id: "orders/shop/public/t1",
        path: "shop/public/t1",
        parent: {
          type: "SQL::Schema",
          id: "orders/shop/public",
          path: "shop/public",
          parent: undefined,
          implied: false,
        },
        implied: false,
      },
      "orders",
    );
    const slice = set?.slice(anybody, { type: "SQL::Action", id: "select" }, table);
    assert.deepEqual(
      slice?.map((policy) => policy.id),
      ["p0", "p5"],
    );
  });

  it("knows every action of the schema", () => {
    const set = setOf(["permit (principal, action, resource);"]);
    for (const action of SCHEMA_ACTIONS.values()) {
      assert.equal(set?.slice(anybody, action.uid, targetFacts("t")).length, 1);
    }
  });
});
