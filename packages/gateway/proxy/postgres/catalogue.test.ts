// Reading a catalogue again and again, of a real PostgreSQL.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
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

test("what somebody has locked alone is waited for by nobody, and nothing of it is taken for known", async () => {
  await postgres.query(
    "shop",
    `create table secrets (id int, word text, twice text generated always as (word || word) stored);
     create view shown as select id, word from secrets;
     create view through as select word from shown;
     create materialized view filled as select word from secrets;
     create function told() returns text stable begin atomic select word from secrets limit 1; end`,
  );
  const classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [],
    read: () => reader(read),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
  });
  const said = (text: string) => {
    const plan = classifier.classify(text, {
      prepared: () => undefined,
      cursor: () => undefined,
    });
    return "unclassified" in plan ? plan.sqlState : "ok";
  };
  const verdicts = async () => {
    await classifier.refresh();
    return Object.fromEntries(
      ["secrets", "shown", "through", "filled", "names"].map((name) => [
        name,
        said(`select * from ${name}`),
      ]),
    );
  };
  const free = { secrets: "ok", shown: "ok", through: "ok", filled: "ok", names: "ok" };
  assert.deepEqual(await verdicts(), free);
  const owner = new pg.Client(postgres.connection("shop"));
  await owner.connect();
  try {
    await owner.query("begin; lock table secrets");
    const locked = { ...free, shown: "55P03", through: "55P03", filled: "55P03" };
    assert.deepEqual(await verdicts(), locked);
    const { relations, relationNames, functions } = await reader(read);
    const oid = relationNames.get("public")?.get("secrets") ?? 0;
    assert.equal(relations.get(oid)?.columns.at(-1)?.generated, "");
    assert.equal(functions.get("public")?.get("told")?.[0]?.body, undefined);
    // Who waits in the queue for it is in the way as well.
    const waiting = new pg.Client(postgres.connection("shop"));
    await waiting.connect();
    await owner.query("rollback; begin; select from secrets");
    const renamed = waiting.query("alter table secrets rename word to note");
    const queued = "select 1 from pg_locks where not granted";
    while ((await postgres.query("shop", queued)).length === 0) assert.ok(true);
    assert.deepEqual(await verdicts(), locked);
    await owner.query("rollback");
    await renamed;
    await waiting.end();
    assert.deepEqual(await verdicts(), free);
  } finally {
    await owner.end();
  }
});

test("a lock that is taken while the catalogue is read is waited for a moment, then gone without", async () => {
  const owner = new pg.Client(postgres.connection("shop"));
  await owner.connect();
  try {
    await owner.query("begin; lock table secrets");
    const attempts: string[] = [];
    const snapshot = await readSnapshot(async (sql) => {
      attempts.push(sql);
      // As if the lock was not there yet.
      return await postgres.query("shop", sql.replaceAll("AccessExclusiveLock", "none"));
    });
    const oid = snapshot.relationNames.get("public")?.get("shown") ?? 0;
    assert.equal(snapshot.relations.get(oid)?.definition, "");
    assert.equal(attempts.length, 4);
  } finally {
    await owner.end();
  }
});

test("what is dropped while the catalogue is read makes it be read again, and not for ever", async () => {
  const dropped =
    "do $$ begin raise 'could not open relation with OID 1' using errcode = 'XX000'; end $$";
  const failing = (times: number) => {
    let attempts = 0;
    const result = readSnapshot((sql) => {
      attempts += 1;
      return postgres.query("shop", attempts <= times ? dropped : sql);
    });
    return result.then(
      (snapshot) => ({ attempts, found: snapshot.relationNames.get("public")?.has("names") }),
      (thrown: Error) => ({ attempts, failed: thrown.message }),
    );
  };
  assert.deepEqual(await failing(2), { attempts: 3, found: true });
  const failed = "could not open relation with OID 1";
  assert.deepEqual(await failing(100), { attempts: 6, failed });
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
