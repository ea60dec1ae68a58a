// A view or function that is replaced beside the gateway between the decision and the rows: no row of it is
// released (DESIGN.md, "Masking SQL soundly").

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { systemClock } from "../../base/clock.ts";
import { readDefinitionMarks, readMark, readSnapshot } from "./catalogue.ts";
import { createClassifier, type PostgresClassifier } from "./classify.ts";
import { EMAIL_CLASS } from "./classify-fixture.ts";
import type { Definitions } from "./plan.ts";
import { type RelayHarness, startRelay, throughRelay } from "./relay-harness.ts";
import { createResultMasks } from "./row-check.ts";

let postgres: TestPostgres;
let classifier: PostgresClassifier;
let relay: RelayHarness;
/** Runs just before the relay looks what became of the definitions. */
let beforeLook: () => Promise<unknown> = async () => undefined;
let looks = 0;
let reads = 0;

const VIEW = "create or replace view names as select id, name as label from customers";
const FUNCTION =
  "create or replace function name_of(int) returns text language sql as 'select name from customers where id = $1'";

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query(
    "shop",
    `create table customers (id int primary key, name text, email text);
     insert into customers values (1, 'one', 'one@example.com');
     ${VIEW}; create view outer_names as select label from names; ${FUNCTION}`,
  );
  const read = (sql: string) => postgres.query("shop", sql);
  classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [EMAIL_CLASS],
    read: () => {
      reads += 1;
      return readSnapshot(read);
    },
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
    watch: {
      mark: () => readMark(read),
      async definitions(of) {
        looks += 1;
        await beforeLook();
        return readDefinitionMarks(read, of);
      },
      clock: systemClock,
    },
  });
  const masks = createResultMasks(classifier, () => new Map());
  relay = await startRelay(postgres, { classifierFor: async () => ({ classifier, masks }) });
});

after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

async function through(): Promise<pg.Client> {
  const client = new pg.Client(throughRelay(relay));
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

const REPLACED_VIEW = "create or replace view names as select id, email as label from customers";
const REPLACED_FUNCTION = FUNCTION.replace("select name", "select email");

test("what a statement goes through is looked at once, and costs other statements nothing", async () => {
  const client = await through();
  looks = 0;
  assert.equal((await client.query("select name from customers")).rowCount, 1);
  assert.equal(looks, 0);
  assert.equal((await client.query("select label from outer_names")).rows[0].label, "one");
  assert.equal((await client.query("select name_of($1)", [1])).rows[0].name_of, "one");
  assert.equal(looks, 2);
  await client.end();
});

test("many statements at once stay in order while one is looked into", async () => {
  const client = await through();
  beforeLook = () => new Promise((resolve) => setTimeout(resolve, 30));
  const results = await Promise.all(
    [
      "select 1 as n",
      "select label as n from names",
      "select 2 as n",
      "select name_of(1) as n",
    ].map((text) => client.query(text)),
  );
  beforeLook = async () => undefined;
  assert.deepEqual(
    results.map(({ rows }) => rows[0].n),
    [1, "one", 2, "one"],
  );
  await client.end();
});

for (const [name, text, replaced, back] of [
  ["a view", "select label from names", REPLACED_VIEW, VIEW],
  ["a view below a view", "select label from outer_names", REPLACED_VIEW, VIEW],
  ["a function", "select name_of(1)", REPLACED_FUNCTION, FUNCTION],
  ["a view copied out", "copy (select label from names) to stdout", REPLACED_VIEW, VIEW],
] as const)
  test(`no row of ${name} that was replaced meanwhile`, async () => {
    const client = await through();
    beforeLook = () => postgres.query("shop", replaced);
    const rows: unknown[] = [];
    const query = new pg.Query(text);
    query.on("row", (row) => rows.push(row));
    const error = await new Promise<Error>((resolve) => {
      query.on("error", resolve);
      query.on("end", () => resolve(new Error("it went through")));
      client.query(query);
    });
    assert.match(error.message, /was replaced while the statement ran/);
    assert.deepEqual(rows, []);
    beforeLook = async () => undefined;
    await client.end().catch(() => undefined);
    await postgres.query("shop", back);
    await classifier.refresh();
  });

const DIVIDES =
  "create or replace function divides(int) returns int language sql as 'select 1 / $1'";

for (const [name, text] of [
  ["error", "select divides(0)"],
  // The server says that it cuts the name.
  ["notice", `select divides(1) as ${"a".repeat(70)}`],
] as const)
  test(`no ${name} of a function that was replaced meanwhile`, async () => {
    await postgres.query("shop", DIVIDES);
    await classifier.refresh();
    const client = await through();
    const told: (string | undefined)[] = [];
    client.on("notice", ({ message }) => told.push(message));
    beforeLook = () => postgres.query("shop", DIVIDES.replace("select", "select 2 *"));
    const failed = await client.query(text).catch((error: Error) => error.message);
    told.push(String(failed));
    beforeLook = async () => undefined;
    assert.equal(told.length, 1);
    assert.match(told[0] ?? "", /was replaced while the statement ran/);
    await client.end().catch(() => undefined);
  });

for (const [name, text, change, back] of [
  [
    "a function with a new overload",
    "select name_of(1::smallint)",
    "create function name_of(smallint) returns text language sql as 'select email from customers where id = $1'",
    "drop function name_of(smallint)",
  ],
  [
    "a view with other names of columns",
    "select lower(label) from mails",
    "alter view mails rename label to was; alter view mails rename mail to label",
    "alter view mails rename label to mail; alter view mails rename was to label",
  ],
  [
    "a view of another name",
    "select lower(label) from named",
    "alter view named rename to was_named; alter view mails rename label to was; alter view mails rename mail to label; alter view mails rename to named",
    "drop view named, was_named",
  ],
] as const)
  test(`no row of ${name}`, async () => {
    await postgres.query(
      "shop",
      `drop view if exists mails, named;
       create view mails as select name as label, email as mail from customers;
       create view named as select name as label from customers`,
    );
    await classifier.refresh();
    const plan = classifier.classify(text, { prepared: () => undefined, cursor: () => undefined });
    assert.ok(!("unclassified" in plan));
    const { definitions } = plan.statements[0] as { definitions: Definitions };
    assert.equal(await classifier.confirm?.(definitions), true);
    await postgres.query("shop", change);
    assert.equal(await classifier.confirm?.(definitions), false);
    await postgres.query("shop", back);
    await classifier.refresh();
  });

test("what arguments of EXECUTE go through is looked at too", () => {
  const names = {
    prepared: () => planOf("select label from names").statements[0],
    cursor: () => undefined,
  };
  const plan = classifier.classify("execute p(name_of(1))", names);
  assert.ok(!("unclassified" in plan));
  const { views = [], functions = [] } = plan.statements[0]?.definitions ?? {};
  assert.deepEqual([views.length, functions.length], [1, 1]);
  const explained = planOf("explain analyze select name_of(1)").statements[0];
  assert.equal(explained?.definitions?.functions.length, 1);
});

function planOf(text: string) {
  const plan = classifier.classify(text, { prepared: () => undefined, cursor: () => undefined });
  if ("unclassified" in plan) throw new Error(`${text}: ${plan.message}`);
  return plan;
}

test("a view that is dropped and made again is another one", async () => {
  const plan = classifier.classify("select label from outer_names", {
    prepared: () => undefined,
    cursor: () => undefined,
  });
  assert.ok(!("unclassified" in plan));
  const { definitions } = plan.statements[0] as { definitions: Definitions };
  assert.equal(await classifier.confirm?.(definitions), true);
  await postgres.query(
    "shop",
    `drop view outer_names, names; ${VIEW}; create view outer_names as select label from names`,
  );
  assert.equal(await classifier.confirm?.(definitions), false);
});

test("what an open transaction defined is said to be that, not to be missing", async () => {
  const client = await through();
  try {
    for (const [made, used] of [
      ["create table fresh (id int)", "create index on fresh (id)"],
      ["create table fresh (id int)", "select id from fresh"],
      ["create function made() returns int language sql as 'select 1'", "select made()"],
    ] as const) {
      await client.query("begin");
      await client.query(made);
      await assert.rejects(client.query(used), {
        code: "0A000",
        message: /this transaction defines objects: commit it/,
      });
      await client.query("rollback");
    }
  } finally {
    await client.end();
  }
});

test("a name that nobody knows is looked for without reading the catalogue, and found once it is there", async () => {
  const client = await through();
  try {
    await client.query("select 1");
    await classifier.verify?.();
    const before = reads;
    for (const missing of ["nowhere", "nowhere", "elsewhere"])
      await assert.rejects(client.query(`select * from ${missing}`), { code: "42P01" });
    assert.equal(reads, before);
    await postgres.query("shop", "create table nowhere (id int)");
    assert.equal((await client.query("select * from nowhere")).rowCount, 0);
    assert.equal(reads, before + 1);
    await postgres.query("shop", "drop table nowhere");
  } finally {
    await client.end();
  }
});
