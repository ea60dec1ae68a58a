// Does the search find a hole? The listener runs in this process, with the real classifier and the real
// masks before a real PostgreSQL, once as it is and once with each hole put in.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Access, Decision } from "@custody/gateway/access/operation.ts";
import { readSnapshot } from "@custody/gateway/proxy/postgres/catalogue.ts";
import {
  createClassifier,
  type PostgresClassifier,
} from "@custody/gateway/proxy/postgres/classify.ts";
import type { Classifier, QueryPlan } from "@custody/gateway/proxy/postgres/plan.ts";
import { startRelay } from "@custody/gateway/proxy/postgres/relay-harness.ts";
import { createResultMasks, type ResultMasks } from "@custody/gateway/proxy/postgres/row-check.ts";
import { type Canaries, makeCanaries } from "../../conformance/attack/postgres/canaries.ts";
import { CLASSES, DATABASE, seed } from "../../conformance/attack/postgres/stage.ts";
import { startPostgres, type TestPostgres } from "../../conformance/support/postgres-server.ts";
import { type CanaryTally, searchCanaries } from "./canary-run.ts";

let postgres: TestPostgres;
let canaries: Canaries;
let classifier: PostgresClassifier;

before(async () => {
  postgres = await startPostgres({ databases: [DATABASE] });
  canaries = makeCanaries();
  await seed(postgres, canaries, "unused");
  classifier = await createClassifier({
    target: "orders",
    database: DATABASE,
    searchPath: ["public"],
    classify: CLASSES.map(([column, name]) => {
      const [schema = "", table = "", own = ""] = column.split(".");
      return { database: undefined, schema, table, column: own, class: name };
    }),
    read: () => readSnapshot((sql) => postgres.query(DATABASE, sql)),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 4_000_000 },
  });
});

after(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

test("nothing leaks, and enough is let through to say so", async () => {
  const tally = await search({}, 400);
  assert.deepEqual(tally.leaks, []);
  assert.equal(tally.closed, 0);
  assert.ok(tally.gaveRows > 100, `${tally.gaveRows} gave rows`);
});

test("a mask that is not put on is found", async () => {
  const masks = createResultMasks(classifier, () => new Map());
  const unmasked: ResultMasks = {
    needed: true,
    check(...described) {
      const check = masks.check(...described);
      return "disagree" in check ? check : { ...check, replace: undefined };
    },
  };
  assert.notDeepEqual((await search({ masks: unmasked }, 400)).leaks, []);
});

test("a use of a class that is overlooked is found", async () => {
  const overlooks = replan((plan) => ({
    ...plan,
    statements: plan.statements.map((statement) => ({
      ...statement,
      operation: { ...statement.operation, touches: [] },
    })),
    operation: { ...plan.operation, touches: [] },
  }));
  assert.notDeepEqual((await search({ classifier: overlooks }, 400)).leaks, []);
});

test("functions that are not seen are found", async () => {
  const blind = replan((plan) =>
    /mail_of/.test(plan.text)
      ? { ...plan, operation: { ...plan.operation, effects: [], touches: [] } }
      : plan,
  );
  assert.notDeepEqual((await search({ classifier: blind }, 1_500)).leaks, []);
});

/** The classifier with a hole. */
function replan(change: (plan: QueryPlan) => QueryPlan): Classifier {
  return {
    get epoch() {
      return classifier.epoch;
    },
    refresh: () => classifier.refresh(),
    classify(text, names) {
      const plan = classifier.classify(text, names);
      return "unclassified" in plan ? plan : change(plan);
    },
  };
}

interface Parts {
  readonly classifier?: Classifier;
  readonly masks?: ResultMasks;
}

async function search(parts: Parts, runs: number): Promise<CanaryTally> {
  const database = {
    classifier: parts.classifier ?? classifier,
    masks: parts.masks ?? createResultMasks(classifier, () => new Map()),
  };
  await using relay = await startRelay(postgres, {
    access: sightless(),
    classifierFor: async () => database,
  });
  const door = {
    host: "127.0.0.1",
    port: relay.listener.port,
    ca: relay.ca,
    parameters: { user: "ro~orders", database: DATABASE },
    password: "token",
  };
  return await searchCanaries(door, canaries, { seed: 7, runs, stopAtLeak: true });
}

/** Permits everything but what reaches outside the database, and nobody may see a class. */
function sightless(): Access {
  const decide: Access["authorize"] = (_subject, operation): Decision => {
    const denied =
      operation.touches.some((touch) => touch.use !== "output") ||
      operation.effects.some(
        ({ action }) => action === "sql:unsafe_io" || action === "sql:unknown",
      );
    if (!denied)
      return {
        verdict: "permit",
        permit: {
          operation,
          obligations: {
            unmask: new Set(),
            maxRows: undefined,
            maxBytes: undefined,
            timeoutMs: undefined,
          },
          policyIds: ["test"],
          policyVersion: "1",
        },
      };
    const denial = {
      kind: "classified",
      what: "a statement",
      policyId: undefined,
      message: "it uses what nobody may see",
      hop: undefined,
      hopLabel: undefined,
    } as const;
    return { verdict: "deny", denial, policyVersion: "1" };
  };
  return {
    authorize: decide,
    authorizeApproved: decide,
    policyVersion: "1",
    forget: () => undefined,
  };
}
