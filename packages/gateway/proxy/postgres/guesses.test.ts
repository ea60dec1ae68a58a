// Comparisons of a class with a constant are counted, before a real PostgreSQL: by message, in SQL's EXECUTE,
// over all sessions of a root.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { readSnapshot } from "./catalogue.ts";
import { createClassifier, type PostgresClassifier } from "./classify.ts";
import { type RelayHarness, startRelay, throughRelay } from "./relay-harness.ts";
import { createResultMasks } from "./row-check.ts";

let postgres: TestPostgres;
let classifier: PostgresClassifier;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query(
    "shop",
    "create table people (id int primary key, mail text); insert into people values (1, 'a'), (2, 'b')",
  );
  const mail = { schema: "public", table: "people", column: "mail", class: "pii.mail" };
  classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [{ database: undefined, ...mail }],
    read: () => readSnapshot((sql) => postgres.query("shop", sql)),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
  });
});

after(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

/** Three comparisons an hour. */
async function startStage() {
  const masks = createResultMasks(classifier, () => new Map());
  return await startRelay(postgres, { classifierFor: async () => ({ classifier, masks }) });
}

async function connect(relay: RelayHarness): Promise<pg.Client> {
  const client = new pg.Client(throughRelay(relay));
  await client.connect();
  return client;
}

const refused = { code: "53400", message: /3 comparisons with pii\.mail within an hour/ };

test("one too many is refused, in every form, and the session lives on", async () => {
  await using relay = await startStage();
  const client = await connect(relay);
  const guess = "select id from people where mail = ";
  assert.equal((await client.query(`${guess}'b'`)).rows[0].id, 2);
  assert.equal((await client.query(`${guess}$1`, ["a"])).rows[0].id, 1);
  // PREPARE is one too: what it runs is judged with it.
  await client.query(`prepare p as ${guess}$1`);
  await assert.rejects(client.query("execute p('a')"), refused);
  await assert.rejects(client.query(`${guess}'c'`), refused);
  await assert.rejects(client.query(`${guess}$1`, ["c"]), refused);
  assert.equal((await client.query("select count(*)::int as n from people")).rows[0].n, 2);
  assert.equal(
    (await client.query("select mail from people limit 1")).rows[0].mail,
    "[masked pii.mail]",
  );
  await client.end();
});

test("another session of the same root draws on the same budget", async () => {
  await using relay = await startStage();
  for (const value of ["a", "b", "c"]) {
    const client = await connect(relay);
    await client.query("select id from people where mail = $1", [value]);
    await client.end();
  }
  const client = await connect(relay);
  await assert.rejects(client.query("select id from people where mail = 'd'"), refused);
  await client.end();
});
