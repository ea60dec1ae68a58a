// Code of the database's own that runs by itself, and what follows of it, by a real PostgreSQL's catalogue.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { parse, query, sync } from "@custody/wire/postgres/frontend.ts";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { connectRaw } from "../../../../fuzz/postgres/raw-connection.ts";
import { readSnapshot } from "./catalogue.ts";
import { createClassifier, type PostgresClassifier } from "./classify.ts";
import { converse, startRelay, throughRelay } from "./relay-harness.ts";
import { createResultMasks } from "./row-check.ts";

let postgres: TestPostgres;
let classifier: PostgresClassifier;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query(
    "shop",
    `create table people (id int primary key, mail text unique, note text);
     create table orders (id int primary key, person int references people on update cascade on delete set null);
     create function noisy(x text) returns bool language plpgsql as 'begin return true; end';
     create function tidy(x text) returns bool language sql immutable as 'select true';
     create domain guard as text check (noisy(value));
     create domain short as text check (length(value) < 9);
     create table plain (id int, word short);
     create table checked (id int, word text check (noisy(word)));
     create table tidied (id int, word bool default tidy('x'));
     create table indexed (id int, word text);
     create index on indexed (tidy(word));
     create table domained (id int, words guard[]);
     create table secured (id int);
     create policy seen on secured using (true);
     insert into secured values (1);
     create function noisy_id(int) returns int language plpgsql as
       $$begin raise notice 'told'; return $1; end$$;
     create table parts (id int, mail text) partition by range (id);
     create table parts_low partition of parts for values from (0) to (10);
     create unique index on parts_low (mail);
     create table bands (id int, mail text) partition by list (mail);
     create table bands_a partition of bands for values in ('a');
     create function row_text(orders) returns text language sql as 'select mail from people limit 1';
     create cast (orders as text) with function row_text(orders) as implicit;`,
  );
  const classify = ["people", "parts", "bands", "later"].map((table) => ({
    database: undefined,
    schema: "public",
    table,
    column: "mail",
    class: "pii.mail",
  }));
  classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify,
    read: () => readSnapshot((sql) => postgres.query("shop", sql)),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
  });
});

after(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

function planOf(text: string) {
  const plan = classifier.classify(text, { prepared: () => undefined, cursor: () => undefined });
  if ("unclassified" in plan) throw new Error(`${text}: ${plan.message}`);
  return plan;
}

const MAY_TELL = [
  "insert into checked values (1, 'x')",
  "insert into tidied (id) values (1)",
  "update indexed set word = 'x'",
  "insert into domained (id) values (1)",
  "select id from domained",
  "select id from secured",
  "select 'x'::guard",
  "select array['x']::guard[]",
  "reindex table plain",
  "explain analyze update people set note = null",
];
const TELL_NOTHING = [
  "insert into plain values (1, 'x')",
  "select id from checked",
  "select id from tidied",
  "select id from indexed",
  "select 'x'::short",
  "explain select id from plain",
];

test("errors and notices are withheld where code of the database's own may speak, and only there", () => {
  for (const text of MAY_TELL) assert.equal(planOf(text).reachesClassified, true, text);
  for (const text of TELL_NOTHING) assert.equal(planOf(text).reachesClassified, false, text);
});

const usesOf = (text: string) => planOf(text).operation.touches.map(({ use }) => use);

test("constraints of parts, places of rows and casts nobody names are uses of a class", () => {
  assert.deepEqual(usesOf("insert into parts values (1, 'x')"), ["match"]);
  assert.deepEqual(usesOf("update parts set id = 2"), []);
  assert.deepEqual(usesOf("select id from bands_a"), ["inner"]);
  assert.deepEqual(usesOf("select id, tableoid from bands"), ["inner"]);
  assert.deepEqual(usesOf("explain select id from bands"), ["inner"]);
  assert.deepEqual(usesOf("select id from bands"), []);
  assert.deepEqual(usesOf("select lower(o) from orders o"), ["inner"]);
  assert.deepEqual(usesOf("select relname, n_tup_upd from pg_stat_user_tables"), ["inner"]);
  assert.deepEqual(usesOf("select pg_relation_size('bands_a')"), ["inner"]);
  assert.deepEqual(usesOf("select mode from pg_locks"), ["inner"]);
  assert.deepEqual(usesOf("select relname, reltuples from pg_class"), ["output"]);
  assert.deepEqual(usesOf("select relname, relkind from pg_class"), []);
  assert.deepEqual(usesOf("select id from people"), []);
});

test("rows that change along are changed by the statement", () => {
  const effects = planOf("update people set id = 2 where id = 1").operation.effects;
  const changed = effects.filter(({ action }) => action === "sql:update");
  assert.deepEqual(changed.map(({ resource }) => resource.path).sort(), [
    "shop/public/orders",
    "shop/public/people",
  ]);
  const others = planOf("update people set note = 'x' where id = 1").operation.effects;
  assert.equal(others.filter(({ action }) => action === "sql:update").length, 1);
});

test("definitions set off event triggers", async () => {
  assert.equal(planOf("create table made (id int)").reachesClassified, false);
  await postgres.query(
    "shop",
    `create function tells() returns event_trigger language plpgsql as 'begin end';
     create event trigger tells on ddl_command_end execute function tells()`,
  );
  await classifier.refresh();
  assert.equal(planOf("create table made (id int)").reachesClassified, true);
  assert.equal(planOf("select id from orders").reachesClassified, false);
});

test("what is told when a transaction ends is withheld, whoever ends it", async () => {
  const masks = createResultMasks(classifier, () => new Map());
  await postgres.query(
    "shop",
    `create table later (id int, mail text, unique (id) deferrable initially deferred);
     insert into later values (1, 'a'), (2, 'b');
     alter table secured enable row level security`,
  );
  await classifier.refresh();
  await using relay = await startRelay(postgres, {
    classifierFor: async () => ({ classifier, masks }),
  });
  const client = new pg.Client(throughRelay(relay));
  await client.connect();
  const messages: (string | undefined)[] = [];
  client.on("notice", ({ message }) => messages.push(message));
  const told = async (sql: string) =>
    await client.query(sql).then(
      () => "nothing",
      (error: Error) => error.message,
    );
  for (const end of [
    "commit",
    "select 1; commit",
    "select id from people; commit",
    "prepare transaction 'x'",
    "set constraints all immediate",
  ]) {
    await client.query("begin");
    await client.query("update later set id = 1 where id = 2");
    assert.match(await told(end), /withheld/, end);
    await client.query("rollback");
  }
  assert.equal(await told("select 1 / 0"), "division by zero");
  messages.length = 0;
  // A cursor that is held is run by COMMIT.
  await client.query("begin; declare c cursor with hold for select noisy_id(id) from secured");
  await client.query("commit");
  assert.deepEqual(messages, ["notice withheld"]);
  await client.end();
});

test("a parameter is not declared to be of a type whose values run code", async () => {
  const masks = createResultMasks(classifier, () => new Map());
  await using relay = await startRelay(postgres, {
    classifierFor: async () => ({ classifier, masks }),
  });
  const [row] = await postgres.query(
    "shop",
    "select 'guard'::regtype::oid::int as guard, 'orders'::regtype::oid::int as row",
  );
  await using raw = await connectRaw(throughRelay(relay), { cleartext: true });
  for (const type of [Number(row?.guard), Number(row?.row)]) {
    const refused = await converse(raw, [parse("", "select lower($1)", [type]), sync()], 1);
    assert.match(refused.join(" "), /0A000/);
  }
  const fine = await converse(raw, [parse("", "select lower($1)", [25]), sync()], 1);
  assert.doesNotMatch(fine.join(" "), /0A000/);
  assert.match((await converse(raw, [query("select 1")], 1)).join(" "), /Z:I/);
});
