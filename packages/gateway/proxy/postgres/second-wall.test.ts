// The wall in the database itself, with the gateway's judgement out of the way: the role a session gets, made
// by the broker from the script `custody target setup` prints, used with a plain driver.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { systemClock } from "../../base/clock.ts";
import { newId, systemRandom } from "../../base/ids.ts";
import { Secret } from "../../base/secret.ts";
import { examinePostgres } from "../../credential/doctor.ts";
import { postgresSetupSql } from "../../credential/setup.ts";
import { openStandingConnections, type StandingConnections } from "../../credential/standing.ts";
import type { Chain } from "../../delegation/chain.ts";
import type { Lease } from "../../session/broker.ts";
import type { PostgresTarget } from "../../target/target.ts";
import { createPostgresBroker, type PostgresBroker } from "./session-roles.ts";

const ADMIN_PASSWORD = "made for this test";
const INSTANCE = "tester";

let postgres: TestPostgres;
let standing: StandingConnections;
let target: PostgresTarget;
const logged: string[] = [];

before(async () => {
  postgres = await startPostgres({ databases: ["shop", "other"] });
  await postgres.query(
    "shop",
    `create table customers (id int primary key, name text, email text, ssn text);
     create table orders (id serial primary key, customer int references customers, total numeric);
     create table visits (id int, who text, ssn text) partition by range (id);
     create table visits_low partition of visits for values from (0) to (100);
     create view social as select id, ssn from customers;
     create view social_again as select id, ssn as number from social;
     create view names as select id, name from customers;
     create schema internal;
     create table internal.salaries (id int, amount numeric);
     insert into customers values (1, 'one', 'one@example.com', 'secret');
     insert into visits values (1, 'one', 'secret');
     insert into internal.salaries values (1, 1)`,
  );
  const admin = {
    user: "custody_gateway",
    password: { from: "env", name: "UNUSED" },
    database: "shop",
  } as const;
  const never = (table: string) => ({
    database: undefined,
    schema: "public",
    table,
    column: "ssn",
    class: "never",
  });
  target = {
    protocol: "postgres",
    name: "shop",
    host: "localhost",
    port: postgres.port,
    tls: { mode: "verify-full", caFile: postgres.caFile },
    databases: ["shop"],
    searchPath: ["public"],
    accounts: [
      { name: "app", credential: { kind: "session-role", profile: "custody_app", admin } },
    ],
    catalogue: admin,
    classify: [never("customers"), never("visits")],
    tags: {},
  };
  await runSetup();
  standing = openStandingConnections({
    resolveSecret: async () => new Secret(ADMIN_PASSWORD),
    connectTimeoutMs: 5_000,
    queryTimeoutMs: 5_000,
  });
});

after(async () => {
  await standing?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

/** As a DBA runs it, but for psql's own commands. */
async function runSetup(): Promise<void> {
  const script = postgresSetupSql(target, "app").replace(
    /^\\password (.*)$/m,
    `ALTER ROLE $1 PASSWORD '${ADMIN_PASSWORD}';`,
  );
  await postgres.query("shop", script);
}

function openBroker(): PostgresBroker {
  return createPostgresBroker({
    standing,
    resolveSecret: async () => new Secret(ADMIN_PASSWORD),
    random: systemRandom,
    clock: systemClock,
    instance: INSTANCE,
    log: (message, error) => logged.push(`${message} ${String(error ?? "")}`),
  });
}

const CHAIN: Chain = {
  hops: [
    {
      delegationId: "d-root",
      kind: "user",
      id: "corp/ann@example.com",
      name: "ann",
      subject: "corp/1",
      groups: [],
      provenance: "attested",
      grant: undefined,
      expiresAtMs: Number.POSITIVE_INFINITY,
    },
  ],
};

async function openSession(broker: PostgresBroker): Promise<{ lease: Lease; client: pg.Client }> {
  const lease = await broker.lease({
    sessionId: newId("s", 12),
    target,
    account: "app",
    chain: CHAIN,
    expiresAtMs: Date.now() + 60_000,
  });
  const { credential } = lease;
  assert.equal(credential.kind, "password");
  const client = new pg.Client({
    ...postgres.connection("shop"),
    user: credential.user,
    password: credential.password.reveal(),
  });
  client.on("error", () => undefined);
  await client.connect();
  return { lease, client };
}

async function sqlStateOf(client: pg.Client, text: string): Promise<string> {
  try {
    await client.query(text);
    return "ok";
  } catch (error) {
    return (error as pg.DatabaseError).code ?? "no state";
  }
}

test("with the gateway's judgement out of the way, what was not granted is out of reach", async () => {
  const { lease, client } = await openSession(openBroker());
  for (const text of [
    "select ssn from customers",
    "select * from customers",
    "select c from customers c",
    "select count(ssn) from customers",
    "select id from customers where ssn > 'a'",
    "select id from customers order by ssn",
    "update customers set name = name returning ssn",
    "update customers set ssn = 'x'",
    "insert into customers values (2, 'x', 'y', 'z') returning *",
    "copy customers to stdout",
    "copy customers (ssn) to stdout",
    "select ssn from visits",
    "select ssn from visits_low",
    "select ssn from social",
    "select number from social_again",
    "create view mine as select ssn from customers",
    "select amount from internal.salaries",
    "create table mine (id int)",
    "create temporary table mine (id int)",
    "create schema mine",
    "create function mine() returns int language sql as 'select 1'",
    "create database mine",
    "create role mine",
    "create extension postgres_fdw",
    "alter table customers add column more int",
    "drop table orders",
    "truncate orders",
    "set role postgres",
    "set session authorization postgres",
    "copy orders from program 'id'",
    "copy orders to '/tmp/never'",
    "select pg_read_file('/etc/hostname')",
    "select lo_import('/etc/hostname')",
    "alter system set log_statement = 'none'",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres'",
    "select rolpassword from pg_authid",
    "select * from pg_statistic",
  ])
    assert.notEqual(await sqlStateOf(client, text), "ok", text);
  for (const text of [
    "select id, name, email from customers",
    "insert into customers (id, name) values (2, 'two')",
    "update customers set email = 'x' where id = 2",
    "delete from customers where id = 2",
    "insert into orders (customer, total) values (1, 10)",
    "select who from visits",
    "select name from names",
    "copy (select id, name from customers) to stdout",
  ])
    assert.equal(await sqlStateOf(client, text), "ok", text);
  await client.end();
  await lease.release();
});

test("the role is gone with the session, and what it came to own belongs to the profile", async () => {
  await postgres.query("shop", "grant create on schema internal to custody_app, public");
  const { lease, client } = await openSession(openBroker());
  await client.query("create table internal.by_profile (id int)");
  await client.query("set role none; create table internal.by_itself (id int)");
  const [me] = (await client.query("select session_user::text as name")).rows;
  await client.end();
  await lease.release();
  const owners = await postgres.query(
    "shop",
    "select relname::text as name, relowner::regrole::text as owner from pg_class where relname like 'by\\_%' order by 1",
  );
  assert.deepEqual(owners, [
    { name: "by_itself", owner: "custody_app" },
    { name: "by_profile", owner: "custody_app" },
  ]);
  assert.deepEqual(
    await postgres.query("shop", `select 1 from pg_roles where rolname = '${me.name}'`),
    [],
  );
  await postgres.query(
    "shop",
    "drop table internal.by_profile, internal.by_itself; revoke create on schema internal from custody_app, public",
  );
  assert.deepEqual(logged, []);
});

test("what a crash left behind is found at the next start: roles, their backends, what they own elsewhere", async () => {
  await postgres.query("other", "create schema open; grant create, usage on schema open to public");
  const { client } = await openSession(openBroker());
  const [me] = (await client.query("select session_user::text as name")).rows;
  // In another database than the one the gateway's login connects to.
  await postgres.query("other", `set role ${me.name}; create table open.left (id int); reset role`);
  const ended = new Promise<void>((resolve) => client.once("end", () => resolve()));
  await openBroker().clearLeftovers([target]);
  await ended;
  assert.deepEqual(logged, []);
  assert.deepEqual(
    await postgres.query("shop", `select 1 from pg_roles where rolname = '${me.name}'`),
    [],
  );
  const [left] = await postgres.query(
    "other",
    "select relowner::regrole::text as owner from pg_class where relname = 'left'",
  );
  assert.equal(left?.owner, "custody_app");
  await postgres.query("other", "drop table open.left");
});

test("another gateway's roles are left alone", async () => {
  await postgres.query("shop", "create role custody_otherg_abc login");
  await openBroker().clearLeftovers([target]);
  assert.equal(
    (await postgres.query("shop", "select 1 from pg_roles where rolname = 'custody_otherg_abc'"))
      .length,
    1,
  );
  await postgres.query("shop", "drop role custody_otherg_abc");
});

async function examine(): Promise<string[]> {
  const [account] = target.accounts;
  assert.ok(account);
  const read = (sql: string, values: readonly unknown[]) =>
    standing.query(target, target.catalogue, "shop", sql, values);
  const found = await examinePostgres(target, account, read);
  return found.map(({ severity, check, what }) => `${severity} ${check}: ${what}`);
}

test("the doctor finds nothing open where the script was run", async () => {
  assert.deepEqual(await examine(), []);
});

test("the doctor finds each thing that is opened, and says how to close it", async () => {
  await postgres.query(
    "shop",
    `create function as_owner() returns text language sql security definer as 'select ssn from customers limit 1';
     grant execute on function as_owner() to public;
     create extension postgres_fdw;
     create server away foreign data wrapper postgres_fdw;
     grant usage on foreign server away to custody_app;
     grant create on schema internal to public;
     grant temporary on database shop to public;
     grant usage on schema internal to custody_app;
     grant select on internal.salaries to custody_app with grant option;
     grant select (ssn) on customers to custody_app;
     grant select on social to public;
     grant pg_read_all_data, pg_read_all_settings to custody_app;
     grant execute on function pg_read_file(text) to custody_app;
     alter role custody_app createrole login;
     alter table orders owner to custody_app;
     alter default privileges grant select on tables to public;
     select lo_create(4711);
     grant select on large object 4711 to public;
     create role custody_tester_old login valid until '2020-01-01'`,
  );
  const found = await examine();
  for (const expected of [
    /^open attributes: role custody_app is createrole$/,
    /^open login: .* past the gateway$/,
    /^open membership: .*pg_read_all_data$/,
    /^open membership: .*pg_read_all_settings$/,
    /^open ownership: role custody_app owns table public\.orders$/,
    /^open create: .* in schema internal$/,
    /^open create: .* temporary tables in database shop$/,
    /^open security-definer: .* public\.as_owner\(\) with the rights of postgres/,
    /^open reaches-out: .* pg_read_file\(text\)/,
    /^open foreign-server: .* away$/,
    /^open never: role custody_app may read public\.customers\.ssn/,
    /^open never: role custody_app may read public\.social, a view/,
    /^open large-objects: 1 large objects/,
    /^loose other-schemas: .* 1 tables in schema internal/,
    /^loose default-privileges: .*PUBLIC by default \(SELECT\)/,
    /^loose grant-option: .*SELECT on internal\.salaries/,
    /^loose left-behind: session role custody_tester_old/,
  ])
    assert.ok(
      found.some((one) => expected.test(one)),
      `${expected}\n${found.join("\n")}`,
    );
});

test("a role that is not there is said to be missing", async () => {
  const account = {
    name: "none",
    credential: { kind: "fixed-role", user: "nobody_here", password: { from: "env", name: "X" } },
  } as const;
  const read = (sql: string, values: readonly unknown[]) =>
    standing.query(target, target.catalogue, "shop", sql, values);
  const found = await examinePostgres(target, account, read);
  assert.deepEqual(
    found.map(({ check, what }) => [check, what]),
    [["role", "role nobody_here does not exist"]],
  );
});
