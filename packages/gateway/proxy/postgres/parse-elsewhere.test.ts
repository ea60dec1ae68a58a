// Large texts: parsed in the thread as they would be here, while everything else goes on, and in their place
// in what a session sends.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { systemClock } from "../../base/clock.ts";
import { catalogueOver, type Database, openDatabases } from "./databases.ts";
import { loadParser, parseSql } from "./parse.ts";
import { LARGE_TEXT_CHARACTERS, parseElsewhere } from "./parse-elsewhere.ts";
import { type RelayHarness, startRelay, throughRelay } from "./relay-harness.ts";

const MAX_BYTES = 1 << 20;
const NO_NAMES = { prepared: () => undefined, cursor: () => undefined };

let postgres: TestPostgres;
let relay: RelayHarness;
let opened: Promise<Database> | undefined;
before(async () => {
  await loadParser(18);
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query("shop", "create table t (a int primary key, b text)");
  const databases = openDatabases({
    catalogue: catalogueOver({
      query: (_target, _login, name, sql) => postgres.query(name, sql),
    }),
    clock: systemClock,
    masks: () => new Map(),
    limits: { catalogueRefreshMs: 60_000, statementBytes: MAX_BYTES, planCacheBytes: 1 << 20 },
    log: () => undefined,
  });
  relay = await startRelay(postgres, {
    classifierFor(target, database) {
      opened = databases.open(target, database);
      return opened;
    },
  });
});
after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

test("the thread finds what is found here: trees, errors and their places, limits", async () => {
  for (const text of [
    insertOf(1, 3000),
    Array.from({ length: 4000 }, (_, at) => `select ${at} as "column ${at}"`).join(";"),
    `select ${"1 + ".repeat(200)} '${"x".repeat(20_000)}'`,
    `${insertOf(1, 1000)} bogus`,
    `select '${"x".repeat(20_000)}`,
    `select 1 -- \0 ${"x".repeat(20_000)}`,
  ])
    assert.deepEqual(
      roundTrip(await parseElsewhere(text, MAX_BYTES, 18)),
      roundTrip(parseSql(text, MAX_BYTES, 18)),
    );
  assert.deepEqual(await parseElsewhere(`select ${"1 + ".repeat(20_000)} 1`, MAX_BYTES, 18), {
    unclassified: true,
    message: "the statement is nested too deeply",
    sqlState: "54001",
    position: undefined,
  });
  const long = insertOf(1, 1000);
  assert.deepEqual(await parseElsewhere(long, 1000, 18), parseSql(long, 1000, 18));
});

test("what else there is to do is done meanwhile", async () => {
  let turns = 0;
  const count = (): void => {
    turns++;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  await parseElsewhere(insertOf(1, 8000), MAX_BYTES, 18);
  clearImmediate(next);
  assert.ok(turns > 10, `${turns} turns of the event loop`);
});

test("a text that takes too long is refused, and those behind it are parsed", async () => {
  const long = insertOf(1, 20_000);
  const short = insertOf(1, 500);
  const asked = [
    parseElsewhere(long, MAX_BYTES, 18, { limitMs: 1 }),
    ...Array.from({ length: 100 }, () => parseElsewhere(short, MAX_BYTES, 18)),
  ];
  const [refused, ...others] = await Promise.all(asked);
  assert.ok(refused !== undefined && "unclassified" in refused);
  assert.equal(refused.message, "the statement is too complex");
  for (const found of others) assert.ok("statements" in found);
  assert.ok("statements" in (await parseElsewhere(long, MAX_BYTES, 18)));
});

test("what the lexer would read again and again is refused unread, wherever it would be parsed", async () => {
  const small = LARGE_TEXT_CHARACTERS - 100;
  for (const text of [
    `select ${"+".repeat(small)} 1`,
    `select ${"+-".repeat(small / 2)} 1`,
    `${"/*".repeat(250_000)}${"*/".repeat(250_000)} select 1`,
    `${"/**/".repeat(100_000)} select 1`,
    `select 1 ${"+/**/".repeat(100_000)} 1`,
  ]) {
    const found = await parseElsewhere(text, MAX_BYTES, 18);
    assert.deepEqual(found, parseSql(text, MAX_BYTES, 18));
    assert.ok("unclassified" in found && found.sqlState === "54001", text.slice(0, 20));
  }
  for (const text of [
    `select '${"-".repeat(500_000)}'`,
    `-- ${"=".repeat(500_000)}\nselect 1`,
    `/${"*".repeat(500_000)}/ select 1`,
    `select '${"+".repeat(4_000)}'`,
    `select '${"a+/*".repeat(100_000)}'`,
  ])
    assert.ok("statements" in parseSql(text, MAX_BYTES, 18), text.slice(0, 20));
});

test("a session's statements stay in their order, large ones and what follows them", async () => {
  const client = await connected();
  const total = "select count(*)::int as n from t";
  const answers = await Promise.all([
    client.query("begin"),
    client.query(insertOf(1, 2000)),
    client.query(total),
    client.query(insertOf(2001, 4000)),
    client.query({ text: `${insertOf(4001, 6000)} returning a` }),
    client.query(total),
    client.query("rollback"),
    client.query(total),
  ]);
  assert.deepEqual(
    answers.filter(({ command }) => command === "SELECT").map(({ rows }) => rows[0].n),
    [2000, 6000, 0],
  );
  await assert.rejects(client.query(`${insertOf(1, 2000)} bogus`), { code: "42601" });
  assert.equal((await client.query(total)).rows[0].n, 0);
  await client.end();
});

test("a client that goes away meanwhile leaves nothing behind for the next", async () => {
  const { classifier } = (await opened) ?? assert.fail("no database was opened");
  const text = insertOf(1, 2500);
  await classifier.prepare?.(text);
  assert.equal(classifier.prepare?.(text), undefined, "it is there");
  assert.ok(!("unclassified" in classifier.classify(text, NO_NAMES)));
  assert.equal(classifier.prepare?.("select 1"), undefined, "small ones are parsed here");
  const leaving = await connected();
  leaving.on("error", () => undefined);
  leaving.query(insertOf(1, 8000)).catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 5));
  (
    leaving as unknown as { connection: { stream: { destroy(): void } } }
  ).connection.stream.destroy();
  const client = await connected();
  assert.equal((await client.query(insertOf(1, 2000))).rowCount, 2000);
  await client.query("truncate t");
  await client.end();
});

test("a large statement that was prepared by message is run by its name, by another catalogue too", async () => {
  const client = await connected();
  await client.query({ name: "big", text: insertOf(1, 2000) });
  await client.query("truncate t");
  await client.query("create table another (a int)");
  assert.equal((await client.query("execute big")).rowCount, 2000);
  await client.query("truncate t; drop table another");
  await client.end();
});

function insertOf(from: number, to: number): string {
  const rows = Array.from({ length: to - from + 1 }, (_, at) => `(${from + at}, 'row ${at}')`);
  const text = `insert into t values ${rows.join(", ")}`;
  assert.ok(text.length > LARGE_TEXT_CHARACTERS / 2);
  return text;
}

/** Without what is undefined, which no message carries. */
function roundTrip(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

async function connected(): Promise<pg.Client> {
  const client = new pg.Client(throughRelay(relay));
  await client.connect();
  return client;
}
