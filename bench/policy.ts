// What a decision costs: cold (Cedar is asked for every hop and effect), warm (a new statement on known
// tables) and cached (the same statement again), by number of policies and depth of the chain.
//
//   node bench/policy.ts [--json]

import { createAccess, DEFAULT_ACCESS_LIMITS } from "@custody/gateway/access/authorize.ts";
import type { Operation, Resource, Subject } from "@custody/gateway/access/operation.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import type { Chain, Hop } from "@custody/gateway/delegation/chain.ts";
import { parsePolicies } from "@custody/gateway/policy/load.ts";
import { starterPolicies } from "@custody/gateway/policy/starter.ts";

interface Row {
  readonly policies: number;
  readonly depth: number;
  readonly loadMs: number;
  readonly coldUs: number;
  readonly warmUs: number;
  readonly cachedUs: number;
}

const SIZES = [10, 100, 1000];
const DEPTHS = [0, 3];
const COLD_RUNS = 300;
const CACHED_RUNS = 200_000;

const rows = SIZES.flatMap((size) => DEPTHS.map((depth) => measure(size, depth)));
if (process.argv.includes("--json")) {
  console.log(JSON.stringify({ benchmark: "policy", rows }));
} else {
  console.log("medians, one select; cold and warm include every hop");
  console.table(rows);
}

function measure(size: number, depth: number): Row {
  const files = [...starterPolicies(), { name: "generated", text: generated(size) }];
  const begun = performance.now();
  const loaded = parsePolicies(files);
  const loadMs = performance.now() - begun;
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  const policies = () => loaded.policies;
  const access = createAccess({ policies, clock: systemClock, limits: DEFAULT_ACCESS_LIMITS });

  // A slice is parsed when it is first needed; that is once per reload, not per decision.
  time(() => access.authorize(subjectOf(depth, 1_000_000), select(0)));
  const cold = Array.from({ length: COLD_RUNS }, (_, run) => {
    const subject = subjectOf(depth, run);
    const operation = select(run);
    return time(() => access.authorize(subject, operation));
  });
  const subject = subjectOf(depth, 0);
  access.authorize(subject, select(0));
  const warm = Array.from({ length: COLD_RUNS }, () => {
    const operation = select(0);
    return time(() => access.authorize(subject, operation));
  });
  const same = select(0);
  const cached = time(() => {
    for (let run = 0; run < CACHED_RUNS; run++) access.authorize(subject, same);
  });
  const verdict = access.authorize(subject, same).verdict;
  if (verdict !== "permit") throw new Error(`expected a permit, got ${verdict}`);
  return {
    policies: loaded.policies.policies.length,
    depth,
    loadMs: round(loadMs),
    coldUs: round(median(cold)),
    warmUs: round(median(warm)),
    cachedUs: round(cached / CACHED_RUNS),
  };
}

/** As installations grow: by team and target, and some that concern everybody. */
function generated(size: number): string {
  return Array.from({ length: size }, (_, index) => {
    const id = `@id("generated-${index}")`;
    if (index % 50 === 0) {
      return `${id} forbid (principal, action in SQL::Action::"write", resource)
        when { context.depth > ${index + 20} };`;
    }
    return `${id} permit (principal in Custody::Group::"corp/team-${index % 40}",
      action in SQL::Action::"read", resource in Custody::Target::"target-${index}")
      when { context.target.hasTag("env") };`;
  }).join("\n");
}

function subjectOf(depth: number, run: number): Subject {
  const root: Hop = {
    delegationId: `d-${run}`,
    kind: "user",
    id: `corp/engineer${run}@example.com`,
    name: "engineer",
    subject: `corp/${run}`,
    groups: ["corp/engineers", "corp/team-1", "corp/team-2"],
    provenance: "attested",
    grant: undefined,
    expiresAtMs: Number.MAX_SAFE_INTEGER,
  };
  const agents = Array.from({ length: depth }, (_, index): Hop => {
    const id = `d-${run}-${index}`;
    const grant = [
      {
        targets: ["orders"],
        accounts: ["*"],
        actions: ["sql:read"],
        resources: ["shop/public/*"],
        unmask: [],
        limits: {},
      },
    ];
    return { ...root, delegationId: id, kind: "agent", id, groups: [], grant };
  });
  const chain: Chain = { hops: [root, ...agents] };
  return {
    sessionId: `s-${run}`,
    chain,
    target: "orders",
    account: "ro",
    targetTags: { env: "demo" },
    clientAddress: "127.0.0.1",
    justification: undefined,
  };
}

function select(table: number): Operation {
  const schema: Resource = {
    type: "SQL::Schema",
    id: "orders/shop/public",
    path: "shop/public",
    label: "schema public",
    parent: undefined,
    implied: false,
  };
  const resource: Resource = {
    ...schema,
    type: "SQL::Table",
    id: `${schema.id}/t${table}`,
    path: `${schema.path}/t${table}`,
    label: `table public.t${table}`,
    parent: schema,
  };
  const effects = [{ action: "sql:select", resource }];
  return { protocol: "postgres", effects, touches: [], summary: `select on ${resource.label}` };
}

/** Microseconds. */
function time(run: () => unknown): number {
  const begun = performance.now();
  run();
  return (performance.now() - begun) * 1000;
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
