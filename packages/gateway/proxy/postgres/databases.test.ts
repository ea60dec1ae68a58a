import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { systemClock } from "../../base/clock.ts";
import type { StandingConnections } from "../../credential/standing.ts";
import type { Classification, PostgresTarget } from "../../target/target.ts";
import { type ClassMemory, openClassMemory } from "./class-memory.ts";
import { catalogueOver, openDatabases } from "./databases.ts";

let postgres: TestPostgres;

before(async () => {
  postgres = await startPostgres({ databases: ["shop", "other"] });
  await postgres.query("shop", "create table customers (id int, email text)");
});

after(() => postgres[Symbol.asyncDispose]());

const email: Classification = {
  database: undefined,
  schema: "public",
  table: "customers",
  column: "email",
  class: "pii.email",
};

function target(
  classify: readonly Classification[],
  databases?: readonly string[],
): PostgresTarget {
  const login = {
    user: postgres.superuser,
    password: { from: "env", name: "UNUSED" },
    database: "postgres",
  } as const;
  return {
    protocol: "postgres",
    name: "orders",
    host: "localhost",
    port: postgres.port,
    tls: { mode: "verify-full", caFile: postgres.caFile },
    databases,
    searchPath: ["public"],
    accounts: [],
    catalogue: login,
    classify,
    tags: {},
  };
}

async function open(one: PostgresTarget, database: string, memory?: ClassMemory) {
  const logged: string[] = [];
  const standing: Pick<StandingConnections, "query"> = {
    query: (_target, _login, name, sql) => postgres.query(name, sql),
  };
  using databases = openDatabases({
    catalogue: catalogueOver(standing),
    ...(memory === undefined ? {} : { memory }),
    clock: systemClock,
    masks: () => new Map(),
    limits: { catalogueRefreshMs: 60_000, statementBytes: 1 << 20, planCacheBytes: 1 << 20 },
    log: (message) => logged.push(message),
  });
  const { classifier, masks } = await databases.open(one, database);
  return { logged, isNeeded: masks.needed, classifier };
}

test("a classification that names a column is in force, and nothing is said", async () => {
  const { logged, isNeeded } = await open(target([email], ["shop"]), "shop");
  assert.deepEqual({ logged, isNeeded }, { logged: [], isNeeded: true });
});

test("one that names none keeps every session out of the database it is meant for", async () => {
  const slip = { ...email, column: "emial" };
  for (const one of [target([slip], ["shop"]), target([{ ...slip, database: "shop" }])])
    await assert.rejects(open(one, "shop"), {
      code: "configuration",
      message: /public\.customers\.emial \(pii\.email\) names no column of database shop/,
    });
});

test("one for whatever database has it is only mentioned where it is not", async () => {
  const { logged, isNeeded } = await open(target([email]), "other");
  assert.match(logged[0] ?? "", /names no column of database other/);
  assert.equal(isNeeded, false);
});

test("what the database bounds may be tightened and not loosened, by whatever statement", async () => {
  await postgres.query("postgres", "create database bound");
  await postgres.query("postgres", "alter database bound set statement_timeout = '30s'");
  await postgres.query("postgres", "alter database bound set default_transaction_read_only = on");
  const { classifier } = await open(target([]), "bound");
  const names = { prepared: () => undefined, cursor: () => undefined };
  const verdict = (text: string) => {
    const plan = classifier.classify(text, names);
    return "unclassified" in plan ? plan.message : "ok";
  };
  for (const text of [
    "set statement_timeout = 0",
    "set local statement_timeout = '1min'",
    "begin read write",
    "start transaction isolation level serializable, read write",
    "set transaction read write",
    "set session characteristics as transaction read write",
    "set transaction_read_only = off",
    "set default_transaction_read_only = off",
    "select set_config('statement_timeout', '0', false)",
  ])
    assert.match(verdict(text), /only be lowered|not be switched off|use SET|fixed/, text);
  for (const text of [
    "set statement_timeout = '5s'",
    "begin read only",
    "begin isolation level repeatable read",
    "set lock_timeout = '1h'",
    "reset statement_timeout",
  ])
    assert.equal(verdict(text), "ok", text);
  assert.deepEqual([...(classifier.settingBounds ?? [])].sort(), [
    ["default_transaction_read_only", 1],
    ["statement_timeout", 30_000],
  ]);
});

test("a column that is renamed while the gateway is down keeps its class until the operator lets go", async () => {
  await postgres.query("postgres", "create database renamed");
  await postgres.query("renamed", "create table customers (id int, email text, name text)");
  const folder = mkdtempSync(join(tmpdir(), "custody-classes-"));
  try {
    const outputs = async (one: PostgresTarget, text: string) => {
      const { classifier, logged } = await open(one, "renamed", openClassMemory(folder, 1));
      const plan = classifier.classify(text, {
        prepared: () => undefined,
        cursor: () => undefined,
      });
      assert.ok(!("unclassified" in plan), "message" in plan ? plan.message : "");
      return { classes: plan.statements[0]?.columns?.map((column) => column.class), logged };
    };
    const one = target([email], ["renamed"]);
    assert.deepEqual((await outputs(one, "select email from customers")).classes, ["pii.email"]);
    await postgres.query(
      "renamed",
      "alter table customers rename email to contact; alter table customers rename to clients",
    );
    const after = await outputs(one, "select contact, name from clients");
    assert.deepEqual(after.classes, ["pii.email", undefined]);
    assert.match(after.logged[0] ?? "", /public\.customers\.email .*called otherwise/);
    // Without the memory nobody gets in: the classification names nothing.
    await assert.rejects(open(one, "renamed"), { code: "configuration" });
    // Taken out of the configuration, it is forgotten.
    const none = await outputs(target([], ["renamed"]), "select contact, name from clients");
    assert.deepEqual(none.classes, [undefined, undefined]);
    await assert.rejects(open(one, "renamed", openClassMemory(folder, 1)), {
      code: "configuration",
    });
    const [file = ""] = readdirSync(folder);
    writeFileSync(join(folder, file), "{}");
    await assert.rejects(open(one, "renamed", openClassMemory(folder, 1)), /cannot be read/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
