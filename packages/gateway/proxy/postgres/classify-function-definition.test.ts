// Definitions that give what exists another meaning: functions, and views under other names, by a real
// PostgreSQL's catalogue.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { readSnapshot } from "./catalogue.ts";
import { createClassifier, type PostgresClassifier } from "./classify.ts";

let postgres: TestPostgres;
let classifier: PostgresClassifier;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query(
    "shop",
    `set check_function_bodies = off;
     create table people (id int primary key, mail text, note text);
     create table orders (id int, word text);
     create function safe() returns text language sql as 'select ''x''::text';
     create function calls() returns text language sql as 'select missing()';
     create function calls_quoted() returns text language sql as 'select "a""b"()';
     create table defaulted (id int, word text default safe());
     create view mails as select id, mail from people;
     create view named as select id, note from people where mail like 'a%';
     create view plain as select id, word from orders;
     create materialized view kept as select id, mail from people;
     create schema elsewhere; create schema views; create schema empty; create schema codes;
     create table elsewhere.hidden (id int, mail text); create table empty.plain (id int);
     create view views.mails as select mail from people;
     create function codes.opaque() returns int language plpgsql as 'begin return 1; end';
     create function tidy(x int) returns int language plpgsql as 'begin return x; end';`,
  );
  classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [
      { database: undefined, schema: "public", table: "people", column: "mail", class: "pii.mail" },
      { database: undefined, schema: "elsewhere", table: "hidden", column: "mail", class: "pii" },
    ],
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

const usesOf = (text: string) => planOf(text).operation.touches.map(({ use }) => use);

const opaque = (name: string) =>
  `create or replace function ${name} returns text language plpgsql as 'begin return null; end'`;
const followed = (name: string, sql: string) =>
  `create or replace function ${name} returns text language sql as '${sql}'`;

const USES = [
  opaque("safe()"),
  opaque("public.safe()"),
  // An overload is picked by whoever called the other one.
  opaque("safe(int)"),
  opaque("lower(varchar)"),
  opaque("public.lower(varchar)"),
  followed("safe()", "select mail from people limit 1"),
  followed("safe(x text default (select mail from people limit 1))", "select x"),
  `${followed("safe()", "select word from orders")} set search_path = elsewhere`,
  "create or replace function safe() returns text begin atomic select mail from people; end",
  "create or replace function safe() returns text return (select mail from people limit 1)",
  opaque("safe()").replace("function", "procedure").replace(" returns text", ""),
  // What a body in SQL calls is looked up when it runs.
  opaque("missing()"),
  opaque('"a""b"()'),
  "alter function safe() set search_path = elsewhere",
  "alter function safe() reset all",
  "alter function tidy(int) rename to safe",
  "alter function tidy(int) set schema elsewhere",
  "alter view mails rename to plain",
  "alter table mails rename to plain",
  "alter view mails rename column mail to word",
  "alter view named rename to plain",
  "alter view mails set schema elsewhere",
  "alter materialized view kept rename to plain",
  "alter schema elsewhere rename to other",
  "alter schema views rename to other",
  "alter schema codes rename to other",
];

const USE_NOTHING = [
  opaque("fresh()"),
  followed("fresh()", "select mail from people limit 1"),
  followed("safe()", "select word from orders limit 1"),
  "create or replace function safe() returns text return 'y'",
  "alter function safe() immutable",
  "alter function safe() rename to fresh",
  "alter function safe() set schema public",
  "alter view plain rename to plainer",
  "alter view plain rename column word to said",
  "drop view mails",
  "alter schema empty rename to other",
];

test("a new body, overload or name of what may be called already counts as a call of it", () => {
  for (const text of USES) assert.ok(usesOf(text).includes("inner"), text);
  for (const text of USE_NOTHING) assert.deepEqual(usesOf(text), [], text);
});

test("a body that hides what it names may name anything", async () => {
  await postgres.query(
    "shop",
    `set check_function_bodies = off;
     create function hides() returns text language sql as 'select U&"m\\0069ssed"()'`,
  );
  await classifier.refresh();
  assert.ok(usesOf(opaque("missed()")).includes("inner"));
});

test("a trigger's function is the one the server takes, whichever else has its name", async () => {
  await postgres.query(
    "shop",
    "create function upper() returns trigger language plpgsql as 'begin return new; end'",
  );
  await classifier.refresh();
  const trigger = "create trigger t before insert on orders for each row execute function upper()";
  assert.ok(usesOf(trigger).includes("inner"));
});

test("compiled code of somebody's is the server's own input and output", () => {
  const effects = planOf("create function fresh(text) returns text language internal as 'upper'")
    .operation.effects;
  assert.ok(effects.some(({ action }) => action === "sql:unsafe_io"));
  assert.ok(
    !planOf(opaque("fresh()")).operation.effects.some(({ action }) => action.endsWith("io")),
  );
});
