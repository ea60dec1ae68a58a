// Chains, operations and policies for the tests of this folder.

import assert from "node:assert/strict";
import type { Clock } from "../base/clock.ts";
import type { Chain, Hop } from "../delegation/chain.ts";
import type { GrantEntry } from "../delegation/grant.ts";
import { type PolicyFile, parsePolicies } from "../policy/load.ts";
import type { PolicySet } from "../policy/policy-set.ts";
import { createAccess, DEFAULT_ACCESS_LIMITS } from "./authorize.ts";
import { type ControlAccess, createControlAccess } from "./control.ts";
import type { Access, ClassTouch, Effect, Operation, Resource, Subject } from "./operation.ts";

/** 2026-11-22 20:15:30 UTC, a Sunday. */
export const NOON_MS = Date.UTC(2026, 10, 22, 20, 15, 30);

export interface TestAccess {
  readonly access: Access;
  readonly control: ControlAccess;
  readonly clock: Clock & { now: number };
  use(files: readonly PolicyFile[]): void;
}

export function createTestAccess(files: readonly PolicyFile[]): TestAccess {
  let set = load(files);
  const clock = { now: NOON_MS, nowMs: () => clock.now, monotonicMs: () => clock.now };
  const policies = () => set;
  return {
    access: createAccess({ policies, clock, limits: DEFAULT_ACCESS_LIMITS }),
    control: createControlAccess({ policies, clock }),
    clock,
    use(replaced) {
      set = load(replaced);
    },
  };
}

export function load(files: readonly PolicyFile[]): PolicySet {
  const loaded = parsePolicies(files);
  assert.deepEqual(loaded.ok ? [] : loaded.problems, []);
  assert.ok(loaded.ok);
  return loaded.policies;
}

export function policy(text: string): PolicyFile[] {
  return [{ name: "test.cedar", text }];
}

export const engineer: Hop = {
  delegationId: "d-engineer",
  kind: "user",
  id: "corp/engineer@example.com",
  name: "engineer",
  subject: "corp/1001",
  groups: ["corp/engineers"],
  provenance: "attested",
  grant: undefined,
  expiresAtMs: NOON_MS + 3_600_000,
};

export const dba: Hop = {
  ...engineer,
  delegationId: "d-dba",
  id: "corp/dba1@example.com",
  name: "dba1",
  subject: "corp/1002",
  groups: ["corp/dba"],
};

export function agent(name: string, grant: readonly GrantEntry[]): Hop {
  return {
    delegationId: `d-${name}`,
    kind: "agent",
    id: `d-${name}`,
    name,
    subject: `d-${name}`,
    groups: [],
    provenance: "bearer",
    grant,
    expiresAtMs: NOON_MS + 600_000,
  };
}

export function entry(change: Partial<GrantEntry> = {}): GrantEntry {
  return {
    targets: ["orders"],
    accounts: ["*"],
    actions: ["sql:*"],
    resources: ["*"],
    unmask: [],
    limits: {},
    ...change,
  };
}

export function chainOf(hops: readonly [Hop, ...Hop[]]): Chain {
  return { hops };
}

let sessions = 0;

export function subject(hops: readonly [Hop, ...Hop[]], change: Partial<Subject> = {}): Subject {
  sessions += 1;
  return {
    sessionId: `s-${sessions}`,
    chain: chainOf(hops),
    target: "orders",
    account: "rw",
    targetTags: { env: "demo" },
    clientAddress: "127.0.0.1",
    justification: undefined,
    ...change,
  };
}

export function schema(name: string): Resource {
  return {
    type: "SQL::Schema",
    id: `orders/shop/${name}`,
    path: `shop/${name}`,
    label: `schema ${name}`,
    parent: undefined,
    implied: false,
  };
}

export function table(name: string, inSchema = "public"): Resource {
  const parent = schema(inSchema);
  return {
    type: "SQL::Table",
    id: `${parent.id}/${name}`,
    path: `${parent.path}/${name}`,
    label: `table ${inSchema}.${name}`,
    parent,
    implied: false,
  };
}

export function system(name: string): Resource {
  return { ...table(name, "pg_catalog"), implied: true };
}

export function effect(action: string, resource: Resource): Effect {
  return { action, resource };
}

export function operation(
  effects: readonly Effect[],
  touches: readonly ClassTouch[] = [],
): Operation {
  const summary = effects
    .map(({ action, resource }) => `${action.replace("sql:", "")} on ${resource.label}`)
    .join("; ");
  return { protocol: "postgres", effects, touches, summary };
}
