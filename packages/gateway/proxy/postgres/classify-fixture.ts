// For tests: a real PostgreSQL with a small shop in which two columns are classified, and a classifier
// over its catalogue. Every value of a classified column contains CANARY.

import pg from "pg";
import type { Classification } from "../../target/target.ts";
import { readSnapshot } from "./catalogue.ts";
import { createClassifier, type PostgresClassifier } from "./classify.ts";
import type { QueryPlan, SessionNames, Unclassified } from "./plan.ts";

export const CANARY = "k4n4ry";

export const NO_NAMES: SessionNames = { prepared: () => undefined, cursor: () => undefined };

const SCHEMA = `
  CREATE SCHEMA internal;
  CREATE TABLE customers (
    id int PRIMARY KEY, name text NOT NULL, email text UNIQUE, phone varchar(40), note text,
    email_length int GENERATED ALWAYS AS (length(email)) STORED
  );
  CREATE TABLE orders (
    id serial PRIMARY KEY, customer_id int REFERENCES customers(id), total numeric, status text
  );
  CREATE TABLE events (id int, at date, actor text) PARTITION BY RANGE (id);
  CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (100);
  CREATE TABLE events_high PARTITION OF events FOR VALUES FROM (100) TO (1000);
  CREATE TABLE base (id int, secret text);
  CREATE TABLE derived (extra text) INHERITS (base);
  CREATE TABLE internal.people (id int, email text, name text);
  CREATE VIEW contacts AS SELECT c.id AS contact, c.email AS address, lower(c.email) AS small FROM customers c;
  CREATE VIEW nested AS SELECT contact, address FROM contacts;
  CREATE VIEW vips AS SELECT id, name FROM customers WHERE email LIKE '%vip%';
  CREATE VIEW both_mails AS SELECT email FROM customers UNION ALL SELECT name FROM orders JOIN customers c USING (id);
  CREATE MATERIALIZED VIEW snapshot_mails AS SELECT id, email FROM customers;
  CREATE VIEW statistics AS SELECT attname FROM pg_stats;
  CREATE TABLE ruled (id int);
  CREATE RULE ruled_insert AS ON INSERT TO ruled DO ALSO SELECT 1;
  CREATE FUNCTION add_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
  CREATE FUNCTION all_mails() RETURNS SETOF text LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT email FROM customers; END';
  CREATE FUNCTION order_count(min numeric) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM orders WHERE total > min AND order_count.min > 0';
  CREATE FUNCTION address_of(who int) RETURNS text LANGUAGE sql AS 'SELECT email FROM customers WHERE id = who';
  CREATE FUNCTION mail_again(who int) RETURNS text LANGUAGE sql AS 'SELECT address_of(who)';
  CREATE FUNCTION finds(mail text) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM customers WHERE email = mail)';
  CREATE FUNCTION named(customers) RETURNS text LANGUAGE sql AS 'SELECT $1.name';
  CREATE FUNCTION tells_mail() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT name FROM customers LIMIT 1; SELECT email FROM customers LIMIT 1; END;
  CREATE FUNCTION plus_one(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN n + 1;
  CREATE FUNCTION defaulted(mail text DEFAULT address_of(1)) RETURNS int LANGUAGE sql AS 'SELECT length(mail)';
  CREATE FUNCTION closes(which int) RETURNS void LANGUAGE sql AS 'UPDATE orders SET status = ''closed'' WHERE id = which';
  CREATE FUNCTION counts_as_owner() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS 'SELECT count(*) FROM orders';
  CREATE FUNCTION tuned() RETURNS int LANGUAGE sql SET work_mem = '1MB' AS 'SELECT 1';
  CREATE FUNCTION elsewhere() RETURNS bigint LANGUAGE sql SET search_path = internal AS 'SELECT count(*) FROM people';
  CREATE FUNCTION turns(n int) RETURNS int LANGUAGE sql AS 'SELECT 1';
  CREATE OR REPLACE FUNCTION turns(n int) RETURNS int LANGUAGE sql AS 'SELECT turns(n - 1)';
  CREATE FUNCTION defines() RETURNS void LANGUAGE sql AS 'CREATE TABLE made (n int)';
  CREATE VIEW counted AS SELECT order_count(5) AS orders;
  CREATE PROCEDURE tidy() LANGUAGE plpgsql AS 'BEGIN END';
  CREATE OPERATOR ~~~ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
  CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE sql AS 'SELECT $1 = $2';
  CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same);
  CREATE TYPE mood AS ENUM ('good', 'bad');
  INSERT INTO customers (id, name, email, phone, note)
    SELECT n, 'name' || n, 'k4n4ry' || n || '@example.com', '+49 k4n4ry ' || n, 'note' FROM generate_series(1, 5) n;
  INSERT INTO orders (customer_id, total, status) SELECT n, n * 10, 'open' FROM generate_series(1, 5) n;
  INSERT INTO events SELECT n * 50, '2024-01-01', 'k4n4ry' FROM generate_series(0, 4) n;
  INSERT INTO derived VALUES (1, 'k4n4ry', 'x');
  INSERT INTO internal.people VALUES (1, 'plain@example.com', 'plain');
  REFRESH MATERIALIZED VIEW snapshot_mails;
`;

export const EMAIL_CLASS: Classification = {
  database: undefined,
  schema: "public",
  table: "customers",
  column: "email",
  class: "pii.email",
};

export const SHOP_CLASSES: readonly Classification[] = [
  ["customers", "email", "pii.email"],
  ["customers", "phone", "pii.phone"],
  ["events_low", "actor", "pii.name"],
  ["base", "secret", "secret.token"],
  ["customers", "nothing", "pii.none"],
].map(([table = "", column = "", name = ""]) => ({
  database: undefined,
  schema: "public",
  table,
  column,
  class: name,
}));

export interface Shop extends AsyncDisposable {
  readonly client: pg.Client;
  readonly classifier: PostgresClassifier;
  classify(text: string, names?: SessionNames): QueryPlan | Unclassified;
}

/** A running server with a database `shop`: conformance/support/postgres-server.ts. */
export interface ShopServer extends AsyncDisposable {
  query(database: string, sql: string): Promise<Record<string, unknown>[]>;
  connection(database: string): pg.ClientConfig;
}

/** The server goes away with the shop. */
export async function openShop(server: ShopServer): Promise<Shop> {
  await server.query("shop", SCHEMA);
  const client = new pg.Client(server.connection("shop"));
  await client.connect();
  const classifier = await createClassifier({
    target: "orders",
    database: "shop",
    searchPath: ["public"],
    classify: SHOP_CLASSES,
    read: () => readSnapshot((sql) => server.query("shop", sql)),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 4_000_000 },
  });
  return {
    client,
    classifier,
    classify: (text, names = NO_NAMES) => classifier.classify(text, names),
    async [Symbol.asyncDispose]() {
      await client.end();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** `select ~table pg_catalog.pg_class; delete table public.orders`: "~" where implied, "+" by way. */
export function effectsOf(plan: QueryPlan): string {
  return plan.operation.effects
    .map(
      ({ action, resource, byWay }) =>
        `${action.slice(4)} ${byWay ? "+" : ""}${resource.implied ? "~" : ""}${resource.label}`,
    )
    .sort()
    .join("; ");
}

/** `inner email; output phone`, without the table's name where it is customers. */
export function touchesOf(plan: QueryPlan): string {
  return plan.operation.touches
    .map(({ use, column }) => `${use} ${column.replace("public.customers.", "")}`)
    .sort()
    .join("; ");
}
