// What PostgreSQL's own catalogue holds that is nobody's to read: settings of roles, passwords for other servers.
// A superuser's account sees it all, so a superuser connects here, to a database in which nothing has a class.

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

const SECRET = "k33p-0ut";

let postgres: TestPostgres;
let classifier: PostgresClassifier;
let relay: RelayHarness;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query(
    "shop",
    `create foreign data wrapper plain;
     create server elsewhere foreign data wrapper plain;
     create user mapping for public server elsewhere options (user 'x', password '${SECRET}');
     create subscription copied connection 'host=localhost password=${SECRET}' publication p
       with (connect = false, slot_name = none);
     create role holder login;
     alter role holder set app.key = '${SECRET}';
     create view owners as select rolname as name, rolconfig as began from pg_roles where rolname = 'holder'`,
  );
  classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [],
    read: () => readSnapshot((sql) => postgres.query("shop", sql)),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
  });
  const masks = createResultMasks(classifier, () => new Map());
  relay = await startRelay(postgres, { classifierFor: async () => ({ classifier, masks }) });
});

after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

const READ = [
  "select * from pg_subscription",
  "select subconninfo from pg_subscription s",
  "select s.subname, s.subconninfo from pg_subscription s where subname = 'copied'",
  "select * from pg_user_mappings",
  "select umid, umoptions as passed from pg_user_mappings",
  "select oid, umoptions from pg_user_mapping",
  "select m.* from pg_user_mapping m join pg_foreign_server s on s.oid = m.umserver",
  "select * from (select umoptions as a from pg_user_mapping) x",
  "with x as (select umoptions from pg_user_mappings) table x",
  "select * from pg_roles where rolname = 'holder'",
  "select rolname, rolconfig from pg_roles where rolname = 'holder'",
  "select umoptions from pg_user_mapping union all select umoptions from pg_user_mappings",
  "select * from owners",
];

for (const text of READ)
  test(`masked: ${text}`, async () => {
    const said = (await postgres.query("shop", text)) as readonly unknown[];
    assert.match(JSON.stringify(said), new RegExp(SECRET), "there is nothing to be masked");
    const client = await through();
    await client.query(`begin; declare c cursor for ${text}`);
    const came = [
      await client.query(text),
      await client.query({ text, values: [] }),
      await client.query({ text, name: "named" }),
      await client.query({ text, name: "named" }),
      await client.query(`prepare p as ${text}`).then(() => client.query("execute p")),
      await client.query("fetch all from c"),
    ];
    await client.end();
    for (const { rows } of came) {
      assert.equal(rows.length, said.length);
      assert.doesNotMatch(JSON.stringify(rows), new RegExp(SECRET));
    }
  });

const USED = [
  "select subconninfo || '' from pg_subscription",
  "select subname from pg_subscription where subconninfo like '%password%'",
  "select s from pg_subscription s",
  "select row_to_json(s) from pg_subscription s",
  "select pg_options_to_table(umoptions) from pg_user_mappings",
  "select array_to_string(umoptions, ',') from pg_user_mappings",
  "select unnest(umoptions) from pg_user_mapping",
  "select umserver from pg_user_mapping order by umoptions",
  "select count(distinct umoptions) from pg_user_mapping",
  "select to_jsonb(m) from pg_user_mappings m",
  "copy (select rolconfig from pg_roles) to stdout",
  "select rolconfig::text from pg_roles",
  "select m from owners m",
  "create table taken as select umoptions from pg_user_mapping",
];

for (const text of USED)
  test(`not to be used: ${text}`, () => {
    const uses = touchesOf(text);
    assert.ok(
      uses.some((use) => use !== "output"),
      `${uses}`,
    );
  });

/** Nothing of it is asked for: read as everything of the catalogue is. */
const FREE = [
  "select subname, subenabled, subpublications from pg_subscription",
  "select srvname, usename from pg_user_mappings",
  "select umuser, umserver from pg_user_mapping",
];

for (const text of FREE)
  test(`free: ${text}`, () => {
    assert.deepEqual(touchesOf(text), []);
  });

function touchesOf(text: string): string[] {
  const plan = classifier.classify(text, { prepared: () => undefined, cursor: () => undefined });
  if ("unclassified" in plan) throw new Error(`${text}: ${plan.message}`);
  return plan.operation.touches.map(({ use }) => use);
}

async function through(): Promise<pg.Client> {
  const client = new pg.Client(throughRelay(relay));
  client.on("error", () => undefined);
  await client.connect();
  return client;
}
