// Statements that once passed as something else than what they do. Each stays here.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startPostgres } from "../../../../conformance/support/postgres-server.ts";
import { readMark, readSnapshot } from "./catalogue.ts";
import { createClassifier } from "./classify.ts";
import { effectsOf, NO_NAMES, openShop, type Shop, touchesOf } from "./classify-fixture.ts";
import type { QueryPlan } from "./plan.ts";

let shop: Shop;
before(async () => {
  const server = await startPostgres({ databases: ["shop"] });
  shop = await openShop(server);
  await server.query(
    "shop",
    `CREATE FUNCTION mail_of(orders) RETURNS text LANGUAGE sql AS 'SELECT email FROM customers LIMIT 1';
     CREATE FUNCTION gather(text, int) RETURNS text LANGUAGE sql AS 'SELECT email FROM customers LIMIT 1';
     CREATE AGGREGATE gathered(int) (SFUNC = gather, STYPE = text);
     CREATE AGGREGATE longest(int) (SFUNC = int4larger, STYPE = int);
     CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
     CREATE TABLE stamped (id int);
     CREATE TRIGGER stamping BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
     CREATE TABLE lines (id int UNIQUE, order_id int REFERENCES orders(id) ON DELETE CASCADE);
     CREATE TABLE parts (line_id int REFERENCES lines(id) ON DELETE CASCADE, again int REFERENCES lines(id));
     CREATE TABLE marks (order_id int REFERENCES orders(id) ON DELETE SET NULL);
     CREATE TYPE contact AS (email text, phone text);`,
  );
  await shop.classifier.refresh();
});
after(async () => {
  await shop[Symbol.asyncDispose]();
});

function planOf(text: string): QueryPlan {
  const plan = shop.classify(text);
  assert.ok(!("unclassified" in plan), `${text}: ${"message" in plan ? plan.message : ""}`);
  return plan;
}

test("a function called as an attribute is a call", () => {
  for (const text of [
    "SELECT ('select to_tsvector(email) from customers'::text).ts_stat",
    "SELECT ('/etc/passwd'::text).pg_read_file",
    "SELECT ((1::oid)).lo_get",
    "SELECT id FROM orders ORDER BY ('base'::text).pg_ls_dir",
    "CREATE TABLE t (a text DEFAULT ('base'::text).pg_ls_dir)",
  ])
    assert.match(effectsOf(planOf(text)), /unsafe_io function pg_catalog\./, text);
  for (const text of [
    "SELECT (o).mail_of FROM orders o",
    "SELECT (SELECT o FROM orders o LIMIT 1).mail_of",
    "SELECT x.mail_of FROM unnest(ARRAY(SELECT o FROM orders o)) x",
    "CREATE TABLE t (a orders, CHECK ((a).mail_of = ''))",
  ]) {
    const plan = planOf(text);
    assert.match(effectsOf(plan), /execute \+function public\.mail_of/, text);
    assert.match(touchesOf(plan), /inner email/, text);
  }
  assert.equal(touchesOf(planOf("SELECT ('a'::text).upper, (o).status FROM orders o")), "");
});

test("an aggregate is what its functions are", () => {
  assert.match(touchesOf(planOf("SELECT gathered(1)")), /inner email/);
  assert.equal(touchesOf(planOf("SELECT longest(1)")), "");
});

test("listening may bring anything", () => {
  assert.match(touchesOf(planOf("LISTEN jobs")), /inner email/);
  assert.equal(touchesOf(planOf("NOTIFY jobs, 'one'")), "");
});

test("a constant that a cast cuts is not the constant that is read", () => {
  for (const text of [
    "SELECT set_config('jit_'::char(3), 'off', false)",
    "SELECT current_setting('primary_conninfo_'::varchar(16))",
    "SELECT current_setting('restore_command'::pg_catalog.bpchar)",
    `SELECT nextval('orders_id_seq_'::varchar(13)::regclass)`,
  ])
    assert.match(effectsOf(planOf(text)), /unsafe_io/, text);
  assert.equal(effectsOf(planOf("SELECT set_config('jit'::text, 'off', false)")), "");
});

test("what changes settings besides SET is known", () => {
  const changes = (text: string) =>
    planOf(text).statements.some((statement) => statement.changesSettings === true);
  assert.equal(changes("SELECT set_config('datestyle', 'DMY', false)"), true);
  assert.equal(changes("SELECT all_mails()"), true);
  assert.equal(changes("SELECT now(), id FROM orders"), false);
});

test("triggers may tell anything in an error, so its text is withheld", () => {
  assert.equal(planOf("INSERT INTO stamped VALUES (1)").reachesClassified, true);
  assert.equal(planOf("COPY stamped FROM STDIN").reachesClassified, true);
  assert.equal(planOf("INSERT INTO orders DEFAULT VALUES").reachesClassified, false);
});

test("what others define is noticed, and a column keeps its class under another name", async () => {
  const read = async (sql: string) => {
    const result: unknown = await shop.client.query(sql);
    const last = Array.isArray(result) ? result.at(-1) : result;
    return (last as { rows: Record<string, unknown>[] }).rows;
  };
  await read(
    "CREATE TABLE notes (id int, mail text); CREATE VIEW seen AS SELECT id::text AS x FROM notes",
  );
  let nowMs = 0;
  const classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: [
      { database: undefined, schema: "public", table: "notes", column: "mail", class: "pii.email" },
    ],
    read: () => readSnapshot(read),
    limits: { maxTextBytes: 10_000, cacheBytes: 100_000 },
    watch: { mark: () => readMark(read), clock: { monotonicMs: () => nowMs } },
  });
  const touches = (text: string) => {
    const plan = classifier.classify(text, NO_NAMES);
    return "unclassified" in plan ? plan.message : touchesOf(plan);
  };
  assert.equal(touches("SELECT lower(x) FROM seen"), "");
  const { epoch } = classifier;
  nowMs = 1_000;
  assert.equal(classifier.due?.(), true);
  await classifier.verify?.();
  assert.equal(classifier.due?.(), false);
  assert.equal(classifier.epoch, epoch);
  await read(
    "CREATE OR REPLACE VIEW seen AS SELECT mail AS x FROM notes; ALTER TABLE notes RENAME mail TO post; ALTER TABLE notes RENAME TO letters",
  );
  nowMs = 2_000;
  await classifier.verify?.();
  assert.equal(touches("SELECT lower(x) FROM seen"), "inner public.notes.mail");
  assert.equal(touches("SELECT post FROM letters"), "output public.notes.mail");
});

test("a delete that goes on into other tables is a delete there", () => {
  const effects = effectsOf(planOf("DELETE FROM orders"));
  assert.match(effects, /delete table public\.lines/);
  assert.match(effects, /delete table public\.parts/);
  assert.match(effects, /update table public\.marks/);
  assert.equal(effectsOf(planOf("DELETE FROM parts")), "delete table public.parts");
});

/** Short, and without end to whoever follows it. */
test("a statement whose names take too long to look up is refused", () => {
  const nested = (levels: number): string =>
    levels === 0 ? "orders" : `(SELECT *, *, *, *, *, *, * FROM ${nested(levels - 1)} a)`;
  const refusal = (text: string) => {
    const plan = shop.classify(text);
    return "unclassified" in plan ? plan.sqlState : "";
  };
  assert.equal(refusal(`SELECT 1 FROM ${nested(2)} z`), "");
  assert.equal(refusal(`SELECT 1 FROM ${nested(60)} z`), "54011");
  const joined = `orders o CROSS JOIN ${Array.from({ length: 150 }, (_, index) => `${nested(3)} n${index}`).join(" CROSS JOIN ")}`;
  const references = Array.from({ length: 200 }, () => "o.id = 1").join(" OR ");
  assert.equal(refusal(`SELECT 1 FROM ${joined} WHERE ${references}`), "54001");
  const many = Array.from({ length: 3_000 }, (_, index) => `orders n${index}`).join(", ");
  assert.equal(refusal(`SELECT nothing FROM ${many}`), "42703");
  const all = Array.from({ length: 2_000 }, () => "n0.id = 1").join(" OR ");
  assert.equal(refusal(`SELECT 1 FROM ${many} WHERE ${all}`), "54001");
});
