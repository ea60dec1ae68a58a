// Reading a catalogue again and again, of a real PostgreSQL.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { readSnapshot, type SnapshotReader, snapshotReader } from "./catalogue.ts";
import { createClassifier } from "./classify.ts";

let postgres: TestPostgres;
let reader: SnapshotReader;
/** Of each statement that was sent: whether the system's objects came. */
const came: boolean[] = [];

before(async () => {
  postgres = await startPostgres({ databases: ["shop"], tls: false });
  await postgres.query(
    "shop",
    `create table customers (id int primary key, name text);
     create table orders (id int, customer int references customers);
     create view names as select name from customers;
     create function one() returns int language sql as 'select 1'`,
  );
  reader = snapshotReader();
});

after(() => postgres[Symbol.asyncDispose]());

const read = async (sql: string) => {
  const rows = await postgres.query("shop", sql);
  came.push(rows[0]?.system != null);
  return rows;
};

/** As somebody reads it who keeps nothing. */
const anew = () => readSnapshot((sql) => postgres.query("shop", sql));

/** What was sent for the snapshot, which is as it has to be. */
async function readAgain(): Promise<readonly boolean[]> {
  came.length = 0;
  assert.deepEqual(await reader(read), await anew());
  return [...came];
}

test("what somebody defined is read again, what is the system's is not", async () => {
  assert.deepEqual(await readAgain(), [true]);
  for (const sql of [
    "alter table orders add column note text",
    "create or replace view names as select name, id from customers",
    "create function two() returns int language sql as 'select 2'",
    "create domain positive as int check (value > 0)",
    "drop table orders",
    "create function pg_catalog.lower(int) returns int language sql as 'select 1'",
  ]) {
    await postgres.query("shop", sql);
    assert.deepEqual(await readAgain(), [false], sql);
  }
});

test("an object of the system's that is another one by now is noticed", async () => {
  const volatility = async () =>
    (await reader(read)).functions.get("pg_catalog")?.get("initcap")?.[0]?.volatility;
  assert.equal(await volatility(), "immutable");
  await postgres.query("shop", "alter function pg_catalog.initcap(text) volatile");
  came.length = 0;
  assert.equal(await volatility(), "volatile");
  assert.deepEqual(came, [false, true]);
  await postgres.query("shop", "alter schema information_schema rename to informed");
  assert.deepEqual(await readAgain(), [false, true]);
  await postgres.query("shop", "create role other");
  await postgres.query("shop", "alter view informed.tables owner to other");
  assert.deepEqual(await readAgain(), [false, true]);
  await postgres.query("shop", "alter role other rename to another");
  assert.deepEqual(await readAgain(), [false, true]);
  assert.deepEqual(await readAgain(), [false]);
});

test("while nothing changes it is the same snapshot", async () => {
  const first = await reader(read);
  assert.equal(await reader(read), first);
  await postgres.query("shop", "comment on table customers is 'nothing of it is read'");
  assert.equal(await reader(read), first);
  await postgres.query("shop", "alter table customers alter column name set not null");
  assert.equal(await reader(read), first);
  await postgres.query("shop", "alter table customers rename column name to label");
  assert.notEqual(await reader(read), first);
});

test("what was defined while the catalogue was being read is known when it was asked for afterwards", async () => {
  let reads = 0;
  const hasRead = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [],
    async read() {
      reads += 1;
      const snapshot = await anew();
      // The state of the catalogue is what it was when the reading began.
      if (reads === 2) {
        hasRead.resolve();
        await gate.promise;
      }
      return snapshot;
    },
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
  });
  const knows = () =>
    !(
      "unclassified" in
      classifier.classify("select * from late", {
        prepared: () => undefined,
        cursor: () => undefined,
      })
    );
  const early = classifier.refresh();
  await hasRead.promise;
  await postgres.query("shop", "create table late (id int)");
  const asked = [classifier.refresh(), classifier.refresh(), classifier.refresh()];
  gate.resolve();
  await early;
  await Promise.all(asked);
  assert.equal(knows(), true);
  assert.equal(reads, 3);
});
