// Names in databases that are not in UTF-8: what the parser makes of them is what the server makes of them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { readSnapshot } from "./catalogue.ts";
import { createClassifier, type PostgresClassifier } from "./classify.ts";

let postgres: TestPostgres;
const classifiers = new Map<string, PostgresClassifier>();

const ENCODINGS = ["LATIN1", "EUC_JP", "SQL_ASCII"];

before(async () => {
  postgres = await startPostgres();
  for (const encoding of ENCODINGS) {
    const name = encoding.toLowerCase();
    await postgres.query(
      "postgres",
      `create database ${name} template template0 encoding '${encoding}' locale 'C'`,
    );
    await postgres.query(
      name,
      `create table people (id int, mail text, "é" text);
       insert into people values (1, 'secret');
       set check_function_bodies = off;
       create function reads() returns text language sql as 'select "${long("a")}" from (select id as "${long("a")}", 1 as "${long("b")}" from people) s'`,
    );
    classifiers.set(
      encoding,
      await createClassifier({
        target: "orders",
        database: name,
        searchPath: ["public"],
        classify: [
          { database: undefined, schema: "public", table: "people", column: "mail", class: "pii" },
        ],
        read: () => readSnapshot((sql) => postgres.query(name, sql)),
        limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
      }),
    );
  }
});

after(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

/** 41 characters: cut after 31 in UTF-8, whole in LATIN1. */
function long(end: string): string {
  return `${"é".repeat(40)}${end}`;
}

async function planOf(encoding: string, text: string) {
  const classifier = classifiers.get(encoding);
  if (classifier === undefined) throw new Error(`no database in ${encoding}`);
  await classifier.prepare?.(text);
  return classifier.classify(text, { prepared: () => undefined, cursor: () => undefined });
}

async function isRefused(encoding: string, text: string): Promise<boolean> {
  const plan = await planOf(encoding, text);
  return "unclassified" in plan && plan.sqlState === "0A000";
}

const TWO = `with "${long("a")}" as (select mail as v from people), "${long("b")}" as (select 'c'::text as v) select lower(v) from "${long("a")}"`;

const DOUBTFUL = [
  TWO,
  // Large enough to be parsed elsewhere.
  `${TWO} where v <> '${"x".repeat(20_000)}'`,
  // The cut leaves no character of it.
  `select 1 as "${"a".repeat(62)}é"`,
  // The server may fold it to é.
  'select É from people, (select 1 as "É") s',
  'select U&"\\00e9" from people',
];

test("a name that the server may cut or fold otherwise is refused, and one it may take for another", async () => {
  for (const encoding of ENCODINGS)
    for (const text of DOUBTFUL) assert.equal(await isRefused(encoding, text), true, text);
  for (const encoding of ["EUC_JP", "SQL_ASCII"])
    assert.equal(await isRefused(encoding, 'select "é" from people'), true);
  assert.equal(await isRefused("LATIN1", 'select "é" from people'), false);
});

test("the attack itself works at the server, so it is the gateway that stops it", async () => {
  const [row] = await postgres.query("latin1", TWO);
  assert.deepEqual(row, { lower: "secret" });
});

test("everyday texts pass: constants of any characters, comments, bodies", async () => {
  for (const text of [
    `select mail from people where "é" = '${"É".repeat(70)}'`,
    "select id as numéro from people",
    `comment on table people is '${"É".repeat(70)}'`,
    `create function f() returns int language plpgsql as 'begin /* ${"É".repeat(70)} */ return 1; end'`,
  ]) {
    const plan = await planOf("LATIN1", text);
    assert.ok(!("unclassified" in plan), text);
  }
});

test("a body whose names are in doubt is not followed", async () => {
  const plan = await planOf("LATIN1", "select reads()");
  assert.ok(!("unclassified" in plan));
  assert.deepEqual(
    plan.operation.touches.map(({ use }) => use),
    ["inner"],
  );
});
