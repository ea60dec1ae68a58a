import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startPostgres } from "../../../../conformance/support/postgres-server.ts";
import { effectsOf, NO_NAMES, openShop, type Shop, touchesOf } from "./classify-fixture.ts";
import type { QueryPlan } from "./plan.ts";

let shop: Shop;
before(async () => {
  shop = await openShop(await startPostgres({ databases: ["shop"] }));
});
after(async () => {
  await shop[Symbol.asyncDispose]();
});

function planOf(text: string): QueryPlan {
  const plan = shop.classify(text);
  assert.ok(!("unclassified" in plan), `${text}: ${"message" in plan ? plan.message : ""}`);
  return plan;
}

const CUSTOMERS = "select table public.customers";
const ORDERS = "select table public.orders";
const EVERYTHING =
  "inner email; inner phone; inner public.base.secret; inner public.derived.secret; inner public.events.actor; inner public.events_high.actor; inner public.events_low.actor";

/** statement, effects, touches */
const CORPUS: readonly (readonly [string, string, string])[] = [
  ["SELECT 1", "", ""],
  ["", "", ""],
  ["-- nothing", "", ""],
  // Bare columns, through every level.
  ["SELECT id, name FROM customers", CUSTOMERS, ""],
  ["SELECT email FROM customers", CUSTOMERS, "output email"],
  ["SELECT id, email AS name FROM public.customers AS c", CUSTOMERS, "output email"],
  ["SELECT public.customers.email FROM public.customers", CUSTOMERS, "output email"],
  ["SELECT x FROM (SELECT email AS x FROM customers) s", CUSTOMERS, "output email"],
  ["SELECT b FROM customers AS c(a, n, b)", CUSTOMERS, "output email"],
  [
    "WITH w AS MATERIALIZED (SELECT email FROM customers) SELECT * FROM w",
    CUSTOMERS,
    "output email",
  ],
  ["WITH w(a) AS (SELECT email FROM customers) SELECT a FROM w", CUSTOMERS, "output email"],
  ["SELECT email FROM customers UNION ALL SELECT name FROM customers", CUSTOMERS, "output email"],
  [
    "SELECT l.email FROM orders o, LATERAL (SELECT email FROM customers c WHERE c.id = o.id) l",
    `${CUSTOMERS}; ${ORDERS}`,
    "output email",
  ],
  [
    "SELECT id, email, phone FROM customers ORDER BY id LIMIT 3",
    CUSTOMERS,
    "output email; output phone",
  ],
  ["SELECT id FROM (SELECT id, email FROM customers) s", CUSTOMERS, ""],
  ["TABLE orders", ORDERS, ""],
  ["SELECT email AS id FROM customers ORDER BY customers.id", CUSTOMERS, "output email"],
  ["SELECT id AS email FROM customers ORDER BY email", CUSTOMERS, ""],
  // Counting rows looks at no column.
  ["SELECT count(*) FROM customers", CUSTOMERS, ""],
  [
    "SELECT 1 FROM orders WHERE EXISTS (SELECT email FROM customers)",
    `${CUSTOMERS}; ${ORDERS}`,
    "",
  ],
  // Equality with a constant or parameter in WHERE; once.
  ["SELECT id FROM customers WHERE email = 'a'", CUSTOMERS, "match email"],
  ["SELECT id FROM customers WHERE id > 1 AND $1 = email", CUSTOMERS, "match email"],
  ["SELECT id FROM customers WHERE email = $1::text", CUSTOMERS, "match email"],
  [
    "DELETE FROM customers WHERE email = 'a'",
    `delete table public.customers; ${CUSTOMERS}`,
    "match email",
  ],
  [
    "SELECT id FROM customers WHERE email = 'a' OR email = 'b'",
    CUSTOMERS,
    "inner email; match email",
  ],
  [
    "SELECT 1 FROM customers WHERE email = 'a'; SELECT 1 FROM customers WHERE email = 'b'",
    CUSTOMERS,
    "inner email; match email",
  ],
  ["SELECT id FROM customers WHERE NOT email = 'a'", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers WHERE email IN ('a', 'b')", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers WHERE email = ANY ($1)", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers WHERE email > 'a'", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers WHERE email LIKE 'a%'", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers WHERE email IS NULL", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers WHERE email = name", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers WHERE email = lower($1)", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers WHERE (email, id) = ('a', 1)", CUSTOMERS, "inner email"],
  ["SELECT email = 'a' FROM customers", CUSTOMERS, "inner email"],
  [
    "SELECT o.id FROM orders o JOIN customers c ON c.email = 'a'",
    `${CUSTOMERS}; ${ORDERS}`,
    "inner email",
  ],
  // Everywhere else.
  ["SELECT lower(email) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT email::text FROM customers", CUSTOMERS, "inner email"],
  ["SELECT email || '' FROM customers", CUSTOMERS, "inner email"],
  ["SELECT max(email) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT CASE WHEN email = 'a' THEN 1 END FROM customers", CUSTOMERS, "inner email"],
  ["SELECT coalesce(email, '') FROM customers", CUSTOMERS, "inner email"],
  ["SELECT (SELECT email FROM customers LIMIT 1)", CUSTOMERS, "inner email"],
  ["SELECT ARRAY(SELECT email FROM customers)", CUSTOMERS, "inner email"],
  ["SELECT ARRAY[email] FROM customers", CUSTOMERS, "inner email"],
  ["SELECT ROW(id, email) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT c FROM customers c", CUSTOMERS, "inner email; inner phone"],
  ["SELECT row_to_json(c) FROM customers c", CUSTOMERS, "inner email; inner phone"],
  ["SELECT count(c.*) FROM customers c", CUSTOMERS, "inner email; inner phone"],
  ["SELECT (c).email FROM customers c", CUSTOMERS, "inner email; inner phone"],
  ["SELECT json_agg(email) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT json_object('e': email) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT json_array(email) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT json_arrayagg(email ORDER BY id) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT xmlelement(name e, email) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT xmlforest(email) FROM customers", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers ORDER BY email", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers ORDER BY email USING >", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers ORDER BY id USING OPERATOR(pg_catalog.<)", CUSTOMERS, ""],
  ["SELECT id, email FROM customers ORDER BY 2", CUSTOMERS, "inner email; output email"],
  ["SELECT id, email AS e FROM customers ORDER BY e", CUSTOMERS, "inner email; output email"],
  ["SELECT id FROM customers GROUP BY id, email", CUSTOMERS, "inner email"],
  ["SELECT email, count(*) FROM customers GROUP BY 1", CUSTOMERS, "inner email; output email"],
  ["SELECT DISTINCT email FROM customers", CUSTOMERS, "inner email; output email"],
  ["SELECT DISTINCT ON (email) id FROM customers", CUSTOMERS, "inner email"],
  ["SELECT id FROM customers GROUP BY GROUPING SETS ((id), (email))", CUSTOMERS, "inner email"],
  ["SELECT count(*) FROM customers HAVING max(email) > 'a'", CUSTOMERS, "inner email"],
  ["SELECT rank() OVER (ORDER BY email) FROM customers", CUSTOMERS, "inner email"],
  [
    "SELECT rank() OVER w FROM customers WINDOW w AS (PARTITION BY email)",
    CUSTOMERS,
    "inner email",
  ],
  ["SELECT count(*) FILTER (WHERE email > 'a') FROM customers", CUSTOMERS, "inner email"],
  ["SELECT email FROM customers UNION SELECT name FROM customers", CUSTOMERS, "inner email"],
  ["SELECT email FROM customers EXCEPT ALL SELECT 'a'", CUSTOMERS, "inner email"],
  [
    "SELECT email FROM customers UNION ALL SELECT phone FROM customers",
    CUSTOMERS,
    "inner email; inner phone",
  ],
  [
    "SELECT email FROM customers UNION ALL SELECT name FROM customers ORDER BY 1",
    CUSTOMERS,
    "inner email; output email",
  ],
  [
    "SELECT 1 FROM customers c JOIN internal.people p USING (email)",
    `${CUSTOMERS}; select table internal.people`,
    "inner email",
  ],
  [
    "SELECT 1 FROM customers c NATURAL JOIN internal.people p",
    `${CUSTOMERS}; select table internal.people`,
    "inner email",
  ],
  [
    "SELECT 1 FROM customers c JOIN internal.people p ON c.email = p.email",
    `${CUSTOMERS}; select table internal.people`,
    "inner email",
  ],
  ["SELECT x FROM customers c, unnest(ARRAY[c.email]) x", CUSTOMERS, "inner email"],
  [
    "SELECT * FROM orders o WHERE o.status IN (SELECT email FROM customers)",
    `${CUSTOMERS}; ${ORDERS}`,
    "inner email",
  ],
  [
    "WITH RECURSIVE r AS (SELECT id, email FROM customers UNION ALL SELECT id, email FROM r) SELECT id FROM r",
    CUSTOMERS,
    "inner email",
  ],
  [
    "SELECT * FROM customers LIMIT (SELECT length(email) FROM customers LIMIT 1)",
    CUSTOMERS,
    "inner email; output email; output phone",
  ],
  ["VALUES ((SELECT email FROM customers LIMIT 1))", CUSTOMERS, "inner email"],
  // A column computed from a classified one.
  ["SELECT email_length FROM customers", CUSTOMERS, "inner email"],
  // Views.
  ["SELECT contact FROM contacts", "select view public.contacts", ""],
  ["SELECT address FROM contacts", "select view public.contacts", "output email"],
  ["SELECT small FROM contacts", "select view public.contacts", "inner email"],
  ["SELECT address FROM nested", "select view public.nested", "output email"],
  ["SELECT id FROM vips", "select view public.vips", "inner email"],
  ["SELECT email FROM both_mails", "select view public.both_mails", "output email"],
  ["SELECT * FROM snapshot_mails", "select view public.snapshot_mails", "output email"],
  [
    "SELECT attname FROM statistics",
    "select view public.statistics; unsafe_io system relation pg_catalog.pg_stats",
    "",
  ],
  // Partitions and children.
  [
    "SELECT actor FROM events",
    "select +table public.events_high; select +table public.events_low; select table public.events",
    "output public.events.actor",
  ],
  [
    "SELECT actor FROM events_high",
    "select table public.events; select table public.events_high",
    "output public.events_high.actor",
  ],
  [
    "SELECT secret FROM derived",
    "select +table public.base; select table public.derived",
    "output public.derived.secret",
  ],
  // Writing.
  [
    "INSERT INTO customers (id, name, email) VALUES (9, 'n', 'e')",
    "insert table public.customers",
    "match email",
  ],
  [
    "INSERT INTO customers (id, name, email) VALUES ($1, $2, $3) RETURNING email",
    `insert table public.customers; ${CUSTOMERS}`,
    "match email; output email",
  ],
  // Rows that are written are compared with what is there (lineage-constraint.ts).
  [
    "INSERT INTO customers (id, name, email) VALUES (9, 'n', 'e'), (10, 'm', 'f')",
    "insert table public.customers",
    "inner email; match email",
  ],
  [
    "INSERT INTO customers (id, name, email, phone) VALUES (9, 'n', NULL, 'p')",
    "insert table public.customers",
    "",
  ],
  ["INSERT INTO customers VALUES ($1, $2, $3)", "insert table public.customers", "match email"],
  [
    "INSERT INTO contacts (contact, address) VALUES (9, 'e')",
    `insert view public.contacts`,
    "match email",
  ],
  [
    "INSERT INTO customers (id, name) VALUES (1, 'n') ON CONFLICT (id) DO UPDATE SET email = 'e'",
    `insert table public.customers; ${CUSTOMERS}; update table public.customers`,
    "match email",
  ],
  [
    "INSERT INTO orders (status) SELECT email FROM customers",
    `insert table public.orders; ${CUSTOMERS}`,
    "inner email",
  ],
  [
    "INSERT INTO customers (id, name) VALUES (1, 'n') ON CONFLICT (id) DO NOTHING",
    "insert table public.customers",
    "",
  ],
  [
    "UPDATE customers SET email = 'x' WHERE id = 1",
    `${CUSTOMERS}; update table public.customers`,
    "match email",
  ],
  ["UPDATE customers SET email = $1", "update table public.customers", "match email"],
  ["UPDATE customers SET phone = $1", "update table public.customers", ""],
  ["UPDATE customers SET email = email || 'x'", "update table public.customers", "inner email"],
  ["UPDATE customers SET name = email", "update table public.customers", "inner email"],
  [
    "UPDATE customers SET (name, note) = (SELECT email, 'x' FROM customers LIMIT 1)",
    `${CUSTOMERS}; update table public.customers`,
    "inner email",
  ],
  [
    "UPDATE orders SET status = 'x' FROM customers c WHERE c.id = customer_id RETURNING c.email",
    `${CUSTOMERS}; ${ORDERS}; update table public.orders`,
    "output email",
  ],
  ["DELETE FROM orders WHERE id = 1", `delete table public.orders; ${ORDERS}`, ""],
  [
    "DELETE FROM customers RETURNING old.email, new.email",
    `delete table public.customers; ${CUSTOMERS}`,
    "output email",
  ],
  [
    "WITH d AS (DELETE FROM orders RETURNING *) SELECT count(*) FROM d",
    `delete table public.orders; ${ORDERS}`,
    "",
  ],
  [
    "WITH d AS (UPDATE customers SET name = 'x' RETURNING email) SELECT email FROM d",
    `${CUSTOMERS}; update table public.customers`,
    "output email",
  ],
  [
    "MERGE INTO orders o USING customers c ON c.id = o.customer_id WHEN MATCHED THEN UPDATE SET status = c.email WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (c.id)",
    `insert table public.orders; ${CUSTOMERS}; ${ORDERS}; update table public.orders`,
    "inner email",
  ],
  ["SELECT id FROM orders FOR UPDATE", `lock table public.orders; ${ORDERS}`, ""],
  // COPY has no description of its columns.
  ["COPY orders TO STDOUT", `copy_out table public.orders; ${ORDERS}`, ""],
  [
    "COPY customers TO STDOUT",
    `copy_out table public.customers; ${CUSTOMERS}`,
    "inner email; inner phone",
  ],
  ["COPY customers (id, name) TO STDOUT", `copy_out table public.customers; ${CUSTOMERS}`, ""],
  [
    "COPY (SELECT email FROM customers) TO STDOUT",
    `copy_out table public.customers; ${CUSTOMERS}`,
    "inner email",
  ],
  [
    "COPY customers FROM STDIN",
    "copy_in table public.customers; insert table public.customers",
    "inner email",
  ],
  [
    "COPY orders FROM PROGRAM 'id'",
    "copy_in table public.orders; insert table public.orders; unsafe_io database shop",
    "",
  ],
  [
    "COPY orders TO '/tmp/x'",
    `copy_out table public.orders; ${ORDERS}; unsafe_io database shop`,
    "",
  ],
  // Statements inside statements.
  ["EXPLAIN SELECT * FROM customers WHERE id = 1", CUSTOMERS, "inner email; inner phone"],
  ["EXPLAIN SELECT id FROM customers WHERE email = 'a'", CUSTOMERS, "inner email"],
  ["EXPLAIN ANALYZE DELETE FROM orders", "delete table public.orders", ""],
  ["PREPARE p AS SELECT email FROM customers; EXECUTE p", CUSTOMERS, "output email"],
  [
    "DECLARE c CURSOR FOR SELECT email FROM customers; FETCH 1 FROM c; CLOSE c",
    CUSTOMERS,
    "output email",
  ],
  ["DO $$ BEGIN END $$", "execute database shop; unknown database shop", EVERYTHING],
  ["CALL tidy()", "execute function public.tidy", EVERYTHING],
  ["SELECT * FROM all_mails()", "execute function public.all_mails", EVERYTHING],
  ["SELECT a, b FROM unnest(ARRAY[1], ARRAY[2]) WITH ORDINALITY u(a, b, n)", "", ""],
  [
    "SELECT (information_schema._pg_expandarray(i.indkey)).n FROM pg_catalog.pg_index i",
    "select ~table pg_catalog.pg_index",
    "",
  ],
  ["SELECT add_one(1)", "execute +function public.add_one", ""],
  ["SELECT 1 === 2", "execute +function public.same", ""],
  ["SELECT 1 ~~~ 2", "", ""],
  ["SELECT 'good'::mood", "", ""],
  // What reaches outside.
  ["SELECT pg_read_file('x')", "unsafe_io function pg_catalog.pg_read_file", ""],
  [
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "unsafe_io function pg_catalog.query_to_xml",
    "",
  ],
  ["SELECT lo_import('x')", "unsafe_io function pg_catalog.lo_import", ""],
  ["SELECT pg_terminate_backend(1)", "unsafe_io function pg_catalog.pg_terminate_backend", ""],
  ["SELECT ts_stat('SELECT 1')", "unsafe_io function pg_catalog.ts_stat", ""],
  ["SELECT * FROM pg_stats", "unsafe_io system relation pg_catalog.pg_stats", ""],
  ["SELECT * FROM pg_stat_activity", "unsafe_io system relation pg_catalog.pg_stat_activity", ""],
  ["SELECT rolpassword FROM pg_authid", "unsafe_io system relation pg_catalog.pg_authid", ""],
  ["DELETE FROM pg_class", "unsafe_io system relation pg_catalog.pg_class", ""],
  ["SELECT relname FROM pg_class", "select ~table pg_catalog.pg_class", ""],
  ["SELECT * FROM information_schema.tables", "select ~view information_schema.tables", ""],
  ["LOAD 'x'", "unsafe_io database shop", ""],
  ["CREATE EXTENSION dblink", "unsafe_io database shop", ""],
  ["ALTER SYSTEM SET work_mem = '1MB'", "unsafe_io database shop", ""],
  ["ALTER ROLE postgres SET search_path = x", "unsafe_io database shop", ""],
  ["CREATE RULE r AS ON SELECT TO orders DO INSTEAD SELECT 1", "unsafe_io database shop", ""],
  // Definitions.
  ["CREATE TABLE t (id serial, at timestamptz DEFAULT now())", "create table public.t", ""],
  [
    "CREATE TABLE t (x text DEFAULT pg_read_file('x'))",
    "create table public.t; unsafe_io function pg_catalog.pg_read_file",
    "",
  ],
  [
    "CREATE TABLE t AS SELECT email FROM customers",
    `create table public.t; ${CUSTOMERS}`,
    "inner email",
  ],
  ["SELECT email INTO t FROM customers", `create table public.t; ${CUSTOMERS}`, "inner email"],
  [
    "CREATE VIEW v AS SELECT email FROM customers",
    `create view public.v; ${CUSTOMERS}`,
    "inner email",
  ],
  ["CREATE INDEX ON customers (lower(email))", "alter table public.customers", "inner email"],
  ["CREATE INDEX ON customers (name)", "alter table public.customers", ""],
  [
    "ALTER TABLE customers RENAME email TO x",
    "alter table public.customers",
    "inner email; inner phone",
  ],
  ["ALTER TABLE orders ADD COLUMN x int", "alter table public.orders", ""],
  [
    "CREATE TRIGGER t AFTER INSERT ON orders EXECUTE FUNCTION all_mails()",
    "alter table public.orders; execute function public.all_mails",
    EVERYTHING,
  ],
  ["DROP TABLE orders", "drop table public.orders", ""],
  ["DROP TABLE IF EXISTS nothing", "drop schema public", ""],
  ["DROP SCHEMA internal CASCADE", "drop schema internal; drop table internal.people", ""],
  [
    "TRUNCATE customers CASCADE",
    "truncate table public.customers; truncate table public.orders",
    "",
  ],
  ["GRANT SELECT ON orders TO PUBLIC", "grant table public.orders", ""],
  ["CREATE ROLE x", "grant database shop", ""],
  ["COMMENT ON TABLE orders IS 'x'", "alter table public.orders", ""],
  ["VACUUM orders", "maintain table public.orders", ""],
  ["LOCK TABLE orders", "lock table public.orders", ""],
  ["NOTIFY c, 'x'", "notify database shop", ""],
  // The session.
  ["BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT", "", ""],
  ["SET timezone = 'UTC'", "", ""],
  ["SET custody.justification = 'because'", "", ""],
  ["SHOW search_path", "", ""],
  [
    "SELECT set_config('bytea_output', 'hex', false) FROM pg_settings WHERE name = 'bytea_output'",
    "select ~view pg_catalog.pg_settings",
    "",
  ],
  ["SELECT nextval('orders_id_seq')", "update sequence public.orders_id_seq", ""],
  ["SELECT pg_notify('c', 'x')", "notify database shop", ""],
  ["PREPARE TRANSACTION 'x'", "lock database shop", ""],
];

test("the corpus: effects and touches", () => {
  const wrong: string[] = [];
  for (const [text, effects, touches] of CORPUS) {
    const plan = shop.classify(text);
    const got = "unclassified" in plan ? plan.message : `${effectsOf(plan)} | ${touchesOf(plan)}`;
    const want = `${effects.split("; ").sort().join("; ")} | ${touches}`;
    if (got !== want) wrong.push(`${text}\n  want ${want}\n  got  ${got}`);
  }
  assert.deepEqual(wrong, []);
});

/** statement, SQLSTATE, message */
const REFUSED: readonly (readonly [string, string, RegExp])[] = [
  ["SELEC 1", "42601", /^syntax error at or near "SELEC"$/],
  ["SELECT 'a", "42601", /unterminated quoted string/],
  ["SELECT * FROM nothing", "42P01", /^relation "nothing" does not exist$/],
  ["SELECT nothing FROM customers", "42703", /^column "nothing" does not exist$/],
  ["SELECT id FROM customers, orders", "42702", /^column reference "id" is ambiguous$/],
  ["SELECT x.id FROM customers", "42P01", /missing FROM-clause entry for table "x"/],
  ["SELECT nothing(1)", "42883", /does not exist/],
  ["SELECT email(customers) FROM customers", "42883", /does not exist/],
  ["SELECT customers.lower FROM customers", "42703", /does not exist/],
  ["SELECT 1::nothing", "42704", /does not exist/],
  ["SELECT * FROM other.public.customers", "0A000", /cross-database/],
  ["SET search_path = internal", "42501", /search_path/],
  ["SET LOCAL search_path = internal", "42501", /search_path/],
  ["SET standard_conforming_strings = off", "42501", /fixed/],
  ["SET client_encoding = 'GBK'", "42501", /fixed/],
  ["SET NAMES 'SJIS'", "42501", /fixed/],
  ["SET ROLE postgres", "42501", /fixed/],
  ["SET SESSION AUTHORIZATION postgres", "42501", /fixed/],
  ["RESET ROLE", "42501", /fixed/],
  ["SET session_preload_libraries = 'x'", "42501", /may not be changed/],
  ["SELECT set_config('search_path', 'internal', true)", "42501", /fixed/],
  ["CREATE TEMP TABLE customers (id int)", "42501", /temporary/],
  ["SELECT 1 AS id INTO TEMP customers", "42501", /temporary/],
  ["CREATE TEMP VIEW customers AS SELECT 1", "42501", /temporary/],
  ["CREATE TABLE pg_temp.customers (id int)", "42501", /temporary/],
  ["INSERT INTO ruled VALUES (1)", "42501", /rewrite rules/],
  ["CREATE TABLE t (id int); SELECT * FROM customers", "42501", /sent on its own/],
  ["EXECUTE nothing", "26000", /does not exist/],
  ["FETCH nothing", "34000", /does not exist/],
  ["COPY orders TO STDOUT (ENCODING 'GBK')", "42501", /encoding/],
  [
    "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a",
    "0A000",
    /before it is defined/,
  ],
  [`SELECT ${"(".repeat(600)}1${")::text".repeat(600)}`, "54001", /nested/],
  [`SELECT '${"x".repeat(1_000_001)}'`, "54000", /longer than the limit/],
  ["SELECT '\ud800'", "22021", /UTF-8/],
];

test("what cannot be parsed, resolved or placed is refused, in PostgreSQL's words where it has some", () => {
  for (const [text, sqlState, message] of REFUSED) {
    const plan = shop.classify(text);
    assert.ok("unclassified" in plan, text);
    assert.equal(plan.sqlState, sqlState, text.slice(0, 80));
    assert.match(plan.message, message);
  }
});

test("a name that is not there is told at PostgreSQL's position", async () => {
  for (const text of [
    "SELECT 'é', nothing FROM customers",
    "SELECT 1 FROM nothing",
    "SELECT é é é",
  ]) {
    const plan = shop.classify(text);
    assert.ok("unclassified" in plan);
    const error: { message?: string; code?: string; position?: string } = await shop.client
      .query(text)
      .then(
        () => ({}),
        (thrown: object) => thrown,
      );
    assert.equal(plan.message, error.message);
    assert.equal(plan.sqlState, error.code);
    assert.equal(String(plan.position), error.position);
  }
});

test("plans are interned, and EXECUTE keeps the operation of what it runs", () => {
  assert.equal(planOf("SELECT 1"), planOf("SELECT 1"));
  const inner = planOf("SELECT email FROM customers").statements[0];
  const names = { ...NO_NAMES, prepared: () => inner };
  const plan = shop.classify("EXECUTE p", names);
  assert.ok(!("unclassified" in plan));
  assert.equal(plan.operation, inner?.operation);
  assert.deepEqual(plan.refers, [{ space: "prepared", name: "p" }]);
  assert.ok("unclassified" in shop.classify("EXECUTE p"), "not cached for another session");
});

test("plain reads", () => {
  for (const text of ["SELECT 1", "SELECT * FROM orders", "SELECT now(), count(*) FROM customers"])
    assert.equal(planOf(text).plainRead, true, text);
  for (const text of [
    "SELECT email FROM customers",
    "SELECT pg_sleep(1)",
    "DELETE FROM orders",
    "SELECT nextval('orders_id_seq')",
    "SELECT id FROM orders FOR SHARE",
    "SET timezone = 'UTC'",
  ])
    assert.equal(planOf(text).plainRead, false, text);
});

test("what reaches a classified table is known, whatever it does there", () => {
  assert.equal(planOf("UPDATE customers SET name = NULL").reachesClassified, true);
  assert.equal(planOf("SELECT contact FROM nested").reachesClassified, true);
  assert.equal(planOf("SELECT * FROM orders").reachesClassified, false);
});

test("a classification that names nothing is told", () => {
  assert.deepEqual(
    shop.classifier.unmatched.map((entry) => entry.column),
    ["nothing"],
  );
});

test("the epoch changes with the catalogue, and only then", async () => {
  const before = shop.classifier.epoch;
  await shop.classifier.refresh();
  assert.equal(shop.classifier.epoch, before);
  assert.ok("unclassified" in shop.classify("SELECT x FROM fresh"));
  await shop.client.query("CREATE VIEW fresh AS SELECT email AS x FROM customers");
  const reads = [1, 2, 3].map(() => shop.classifier.refresh());
  assert.notEqual(reads[0], reads[1], "it may have begun too early");
  assert.equal(reads[1], reads[2], "one more read for all who ask meanwhile");
  await Promise.all(reads);
  assert.equal(shop.classifier.epoch, before + 1);
  assert.equal(touchesOf(planOf("SELECT x FROM fresh")), "output email");
  await shop.client.query("CREATE OR REPLACE VIEW fresh AS SELECT name AS x FROM customers");
  await shop.classifier.refresh();
  assert.equal(touchesOf(planOf("SELECT x FROM fresh")), "");
  await shop.client.query("DROP VIEW fresh");
  await shop.classifier.refresh();
});
