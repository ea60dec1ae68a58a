// A subscriber that is another PostgreSQL, through the real door with the real classifier and policies: its copy of
// the tables as they are, and the changes after it. What has a class stays where it is.

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { query } from "@custody/wire/postgres/frontend.ts";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { connectRaw } from "../../../../fuzz/postgres/raw-connection.ts";
import { createTestAccess, policy } from "../../access/access.fixture.ts";
import type { Access } from "../../access/operation.ts";
import { systemClock } from "../../base/clock.ts";
import { readDefinitionMarks, readMark, readSnapshot } from "./catalogue.ts";
import { readRowFilters, readSlotDatabase } from "./catalogue-replication.ts";
import { createClassifier } from "./classify.ts";
import { converse, type RelayHarness, startRelay } from "./relay-harness.ts";
import { createResultMasks } from "./row-check.ts";

const CLASSIFY = [
  { database: undefined, schema: "public", table: "people", column: "email", class: "pii.email" },
];
const TABLES = `create table items (id int primary key, name text);
  create table people (id int primary key, name text, email text)`;
const REPLICATES = `@id("connects") permit (principal, action == Custody::Action::"connect", resource);
  @id("replicates") permit (principal, action == SQL::Action::"replicate", resource);`;
const READS = `@id("reads") permit (principal, action in SQL::Action::"read", resource)
  unless { resource is SQL::Table && resource.path == "shop/public/secrets" };`;
const PAST = `@id("past") permit (principal, action == SQL::Action::"replicate_past_masks", resource);`;
const WAIT_MS = 30_000;

let publisher: TestPostgres;
let subscriber: TestPostgres;
let relay: RelayHarness;
let folder: string;
let caFile: string;
let access: Access;

before(async () => {
  const settings = { wal_level: "logical", wal_retrieve_retry_interval: "200ms" };
  publisher = await startPostgres({ databases: ["shop"], settings });
  subscriber = await startPostgres({ databases: ["copy"], settings });
  await publisher.query(
    "shop",
    `${TABLES}; create table secrets (id int primary key, word text);
     insert into items select n, 'item ' || n from generate_series(1, 2000) as n;
     insert into people values (1, 'one', 'one@example.com'), (2, 'two', 'two@example.com');
     insert into secrets values (1, 'open sesame');
     create publication items for table items where (id > 1000);
     create publication names for table people (id, name);
     create publication people for table people;
     create publication filtered for table people (id, name) where (email > 'm') with (publish = 'insert');
     create publication secrets for table secrets`,
  );
  await subscriber.query("copy", `${TABLES}; create table secrets (id int primary key, word text)`);
  const read = (sql: string) => publisher.query("shop", sql);
  const classifier = await createClassifier({
    ...{ target: "orders", database: "shop", searchPath: ["public"], classify: CLASSIFY },
    read: () => readSnapshot(read),
    limits: { maxTextBytes: 1_000_000, cacheBytes: 1_000_000 },
    watch: {
      mark: () => readMark(read),
      definitions: (of) => readDefinitionMarks(read, of),
      clock: systemClock,
    },
    replication: {
      rowFilters: (of) => readRowFilters(read, of),
      slotDatabase: (name) => readSlotDatabase(read, name),
    },
  });
  const masks = createResultMasks(classifier, () => new Map());
  relay = await startRelay(publisher, {
    classify: CLASSIFY,
    classifierFor: async () => ({ classifier, masks }),
    access: {
      authorize: (...args) => access.authorize(...args),
      authorizeApproved: (...args) => access.authorizeApproved(...args),
      policyVersion: "1",
      forget: () => undefined,
    },
  });
  // The server may run as somebody else.
  folder = mkdtempSync(join(tmpdir(), "custody-subscriber-"));
  chmodSync(folder, 0o755);
  caFile = join(folder, "ca.pem");
  writeFileSync(caFile, relay.ca, { mode: 0o644 });
});

after(async () => {
  await subscriber?.[Symbol.asyncDispose]();
  await relay?.[Symbol.asyncDispose]();
  await publisher?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

afterEach(async () => {
  await unsubscribe();
  await subscriber.query("copy", "truncate items, people, secrets");
});

async function unsubscribe(): Promise<void> {
  for (const one of await subscriber.query("copy", "select subname from pg_subscription")) {
    const name = String(one.subname);
    await subscriber.query("copy", `alter subscription ${name} disable`);
    await subscriber.query("copy", `alter subscription ${name} set (slot_name = none)`);
    await subscriber.query("copy", `drop subscription ${name}`);
  }
  // A walsender lets go of its slot when it notices that its client went.
  await until(async () => {
    await publisher.query(
      "shop",
      "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active",
    );
    const left = await publisher.query("shop", "select slot_name from pg_replication_slots");
    return left.length === 0;
  });
}

function policies(...texts: readonly string[]): void {
  access = createTestAccess(policy(texts.join("\n"))).access;
}

function subscribe(publication: string, options = ""): Promise<unknown> {
  const connection = `host=localhost port=${relay.listener.port} user=orders password=shown dbname=shop
    sslmode=verify-full sslrootcert=${caFile}`;
  return subscriber.query(
    "copy",
    `create subscription s connection '${connection}' publication ${publication} ${options}`,
  );
}

function replicating() {
  return connectRaw(
    {
      ...{ host: "127.0.0.1", port: relay.listener.port, user: "orders", password: "shown" },
      ...{ database: "shop", ssl: { ca: relay.ca, servername: "localhost" } },
    },
    { cleartext: true, parameters: { replication: "database" } },
  );
}

async function until(happened: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while (!(await happened())) {
    assert.ok(Date.now() < deadline, `not within ${WAIT_MS / 1000} s`);
    await delay(50);
  }
}

const count = async (table: string) =>
  Number((await subscriber.query("copy", `select count(*) from ${table}`))[0]?.count);
const events = (event: string) => relay.leaves.filter((leaf) => leaf.event === event);
const effects = () => events("command.intent").flatMap((leaf) => leaf.effects ?? []);

test("a subscription copies what the publication has, on record as reads, and goes on with changes", async () => {
  policies(REPLICATES, READS);
  relay.leaves.length = 0;
  await subscribe("items");
  await until(async () => (await count("items")) === 1000);
  await publisher.query("shop", "update items set name = 'changed' where id = 2000");
  await publisher.query("shop", "insert into items values (3000, 'after')");
  const changed = "select 1 from items where name in ('changed', 'after')";
  await until(async () => (await subscriber.query("copy", changed)).length === 2);
  assert.ok(effects().includes("sql:copy_out orders/shop/public/items"), effects().join("\n"));
  assert.deepEqual(events("command.denied"), []);
  const copied = events("command.outcome").find(({ rows }) => rows === 1000);
  assert.equal(copied?.outcome, "ok");
  assert.ok(relay.recorded.some((line) => /^command full COPY /.test(line)));
});

test("the tables of the copy are judged like any read of them", async () => {
  policies(REPLICATES, READS);
  relay.leaves.length = 0;
  await subscribe("secrets");
  await until(() => events("command.denied").length > 0);
  assert.equal(await count("secrets"), 0);
  assert.ok(!effects().some((effect) => effect.includes("secrets")));
});

test("a publication without the column that has a class is copied and streamed", async () => {
  policies(REPLICATES, READS);
  await subscribe("names");
  await until(async () => (await count("people")) === 2);
  await publisher.query("shop", "insert into people values (3, 'three', 'three@example.com')");
  await until(async () => (await count("people")) === 3);
  const mails = "select email from people where email is not null";
  assert.deepEqual(await subscriber.query("copy", mails), []);
});

test("a publication with it is not copied", async () => {
  policies(REPLICATES, READS, PAST);
  relay.leaves.length = 0;
  await subscribe("people");
  await until(() => events("command.denied").length > 0);
  assert.equal(await count("people"), 0);
});

test("a stream ends before a row with a class, and goes past it by its own permit alone", async () => {
  policies(REPLICATES, READS);
  await subscribe("people", "with (copy_data = false)");
  await publisher.query("shop", "insert into people values (11, 'x', 'x@example.com')");
  const log = () => subscriber.query("copy", LOGGED);
  await until(async () => Number((await log())[0]?.failures) > 0);
  assert.equal(await count("people"), 0);
  policies(REPLICATES, READS, PAST);
  await until(async () => (await count("people")) === 1);
});

test("a stream ends before a table that may not be read, and where a filter tells of a class", async () => {
  policies(REPLICATES, READS);
  const failures = async () => Number((await subscriber.query("copy", LOGGED))[0]?.failures ?? 0);
  for (const [publication, sql] of [
    ["secrets", "insert into secrets values (2, 'again')"],
    ["filtered", "insert into people values (21, 'x', 'x@example.com')"],
  ] as const) {
    const before = await failures();
    await subscribe(publication, "with (copy_data = false)");
    await publisher.query("shop", sql);
    await until(async () => (await failures()) > before);
    assert.equal((await count("secrets")) + (await count("people")), 0);
    await unsubscribe();
  }
});

test("a slot of another database is dropped by those alone who may replicate all of the server", async () => {
  policies(`@id("connects") permit (principal, action == Custody::Action::"connect", resource);
    @id("replicates") permit (principal, action == SQL::Action::"replicate",
      resource == SQL::Schema::"orders/shop");`);
  const slots = "select slot_name from pg_replication_slots order by 1";
  await publisher.query("postgres", "select pg_create_logical_replication_slot('far', 'pgoutput')");
  await publisher.query("postgres", "select pg_create_physical_replication_slot('files')");
  await publisher.query("shop", "select pg_create_logical_replication_slot('near', 'pgoutput')");
  {
    await using connection = await replicating();
    const say = (text: string) => converse(connection, [query(text)], 1);
    for (const name of ["far", "files", "FAR", '"far" WAIT'])
      assert.deepEqual(await say(`DROP_REPLICATION_SLOT ${name}`), ["E:42501", "Z:I"]);
    assert.deepEqual(await say("DROP_REPLICATION_SLOT nowhere"), ["E:42704", "Z:I"]);
    assert.deepEqual(await say("DROP_REPLICATION_SLOT near"), ["C:DROP_REPLICATION_SLOT", "Z:I"]);
    const left = await publisher.query("shop", slots);
    assert.deepEqual(
      left.map(({ slot_name }) => slot_name),
      ["far", "files"],
    );
    policies(REPLICATES);
    assert.deepEqual(await say("DROP_REPLICATION_SLOT files"), ["C:DROP_REPLICATION_SLOT", "Z:I"]);
  }
});

test("statements of a replication connection are reads, one at a time, in a transaction PostgreSQL keeps", async () => {
  policies(REPLICATES, READS);
  await using connection = await replicating();
  const say = (text: string) => converse(connection, [query(text)], 1);
  assert.deepEqual(await say("select count(*) from items"), ["T", "D", "C:SELECT 1", "Z:I"]);
  assert.deepEqual(await say("begin read only"), ["C:BEGIN", "Z:T"]);
  assert.deepEqual(await say("select email from people"), ["E:42501", "Z:E"]);
  assert.deepEqual(await say("select 1"), ["E:25P02", "Z:E"]);
  assert.deepEqual(await say("BASE_BACKUP"), ["E:42501", "Z:E"]);
  assert.deepEqual(await say("rollback"), ["C:ROLLBACK", "Z:I"]);
  for (const text of [
    "select 1; select 2",
    "select set_config('datestyle', 'DMY', false)",
    "select pg_read_file('pg_hba.conf')",
    "select * into stolen from items",
    "with gone as (delete from items returning id) select * from gone",
    "select nextval('s')",
    "select name from people where email = 'one@example.com'",
    "select people from people",
    "select word from secrets",
    "select rolpassword from pg_authid",
    "begin; drop table items",
    "copy items from stdin",
    "copy people to stdout",
    "copy (select email from people) to stdout",
    "copy items to '/tmp/items'",
    "copy items to program 'id'",
    "commit prepared 'x'",
    "/* */ select 1",
    "table items",
    "values (1)",
  ]) {
    const [first, ready] = await say(text);
    assert.match(String(first), /^E:(42501|42601|0A000|42P01)$/, text);
    assert.equal(ready, "Z:I", text);
  }
  assert.deepEqual(await say("copy (select id, name from people where id < 3) to stdout"), [
    "H",
    "d",
    "d",
    "c",
    "C:COPY 2",
    "Z:I",
  ]);
  // Of a table with a class an error says no more than its code.
  connection.socket.write(query("select name::int from people"));
  const said: Buffer[] = [];
  for await (const chunk of connection.socket.iterator({ destroyOnReturn: false })) {
    said.push(chunk);
    if (chunk.includes("Z\0\0\0\x05")) break;
  }
  assert.match(String(Buffer.concat(said)), /22P02.*its text is withheld/s);
});

/** Of the subscriber's side: its worker was ended, and tries again. */
const LOGGED = "select sum(apply_error_count) as failures from pg_stat_subscription_stats";
