// Short statements that name much: what taking them apart costs does not multiply. All sessions of a process
// wait for it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { type RelationInfo, readSnapshot } from "./catalogue.ts";
import { createClassifier, type PostgresClassifier } from "./classify.ts";
import { EMAIL_CLASS, touchesOf } from "./classify-fixture.ts";
import type { QueryPlan } from "./plan.ts";

const PARTS = 100;

let postgres: TestPostgres;
let classifier: PostgresClassifier;
/** How often a relation was looked up by its OID. */
let lookups = 0;

class CountedRelations extends Map<number, RelationInfo> {
  override get(oid: number): RelationInfo | undefined {
    lookups += 1;
    return super.get(oid);
  }
}

before(async () => {
  postgres = await startPostgres({ databases: ["shop"], tls: false });
  await postgres.query(
    "shop",
    `create table customers (id int primary key, name text, email text);
     create table log (id int) partition by range (id);
     do $$ begin for i in 1..${PARTS} loop
       execute format('create table log_%s partition of log for values from (%s) to (%s)', i, i, i + 1);
     end loop; end $$;
     create view logged as select a.id from log a, log b;
     create function address() returns text stable language sql as 'select email from customers limit 1';
     create view twice as select address() as one, address() as other, id from customers`,
  );
  classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [EMAIL_CLASS],
    async read() {
      const snapshot = await readSnapshot((sql) => postgres.query("shop", sql));
      return { ...snapshot, relations: new CountedRelations(snapshot.relations) };
    },
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
  });
});

after(() => postgres[Symbol.asyncDispose]());

function planOf(text: string): QueryPlan {
  lookups = 0;
  const plan = classifier.classify(text, {
    prepared: () => undefined,
    cursor: () => undefined,
  });
  if ("unclassified" in plan) assert.fail(`${plan.sqlState} ${plan.message}: ${text.slice(0, 80)}`);
  return plan;
}

const times = (count: number, piece: (index: number) => string, between = ", ") =>
  Array.from({ length: count }, (_, index) => piece(index)).join(between);

test("the parts of a table are looked at once, however often a statement names it", () => {
  const plan = planOf(`select 1 from ${times(PARTS, (index) => `log l${index}`)}`);
  assert.equal(plan.operation.effects.length, PARTS + 1);
  assert.ok(lookups < 10 * PARTS, `${lookups}`);
  const throughViews = planOf(`select 1 from ${times(PARTS, (index) => `logged l${index}`)}`);
  assert.equal(throughViews.operation.effects.length, 1);
  assert.ok(lookups < 10 * PARTS, `${lookups}`);
});

test("a class that comes by many ways is one class", () => {
  const plan = planOf(
    `with a0 as (select * from customers), ${times(
      60,
      (index) => `a${index + 1} as (select * from a${index} union all select * from a${index})`,
    )} select email from a60`,
  );
  assert.equal(touchesOf(plan), "output email");
});

test("what is named again counts again in each column of a view", () => {
  assert.equal(touchesOf(planOf("select one from twice")), "inner email");
  assert.equal(touchesOf(planOf("select other from twice")), "inner email");
  assert.equal(touchesOf(planOf("select id from twice")), "");
  assert.equal(
    touchesOf(planOf("select b from (select address() as a, address() as b) as s")),
    "inner email",
  );
});

test("a list is not deep, however long it is", () => {
  const many = 150_000;
  for (const text of [
    `insert into customers (id) values ${times(many, () => "(1)")}`,
    `select id from customers where id in (${times(many, () => "1")})`,
    `create table made (id int, check (id in (${times(many, () => "1")})))`,
  ])
    assert.ok(planOf(text).operation.effects.length > 0);
});

test("of columns that no row can have, no more are listed than it takes to know", () => {
  const plan = classifier.classify(
    `select * from ${times(3_000, (index) => `customers c${index}`)}`,
    { prepared: () => undefined, cursor: () => undefined },
  );
  assert.ok("unclassified" in plan);
  assert.equal(plan.sqlState, "54011");
});

test("a text of many statements is classified some a turn, and others have theirs between", async () => {
  const many = 3_000;
  const text = times(many, (index) => `update customers set name = 'x' where id = ${index}`, ";");
  let most = 0;
  let seen = 0;
  lookups = 0;
  const count = (): void => {
    most = Math.max(most, lookups - seen);
    seen = lookups;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  await classifier.prepare?.(text);
  clearImmediate(next);
  assert.ok(lookups >= many, `${lookups}`);
  assert.ok(most < lookups / 10, `${most} of ${lookups} in one turn`);
  const inTurns = planOf(text);
  assert.equal(lookups, 0, "it was classified before");
  assert.deepEqual(planOf(text), inTurns);
  assert.ok(lookups >= many, "and is not known by now");
});

test("a large text that uses names of the session is classified with them", async () => {
  const text = `${times(1_000, (index) => `select ${index} as n`, ";")}; execute mine`;
  const mine = planOf("select email from customers").statements[0];
  const names = { prepared: () => mine, cursor: () => undefined };
  for (const prepared of [true, false]) {
    if (prepared) await classifier.prepare?.(text);
    const plan = classifier.classify(text, names);
    if ("unclassified" in plan) assert.fail(plan.message);
    assert.deepEqual(
      plan.refers.map(({ name }) => name),
      ["mine"],
    );
    assert.equal(touchesOf(plan), "output email");
  }
});
