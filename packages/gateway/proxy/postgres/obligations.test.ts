// Limits of rows, bytes and time that a permit carries, before a real PostgreSQL: what a client gets, and
// that it is still in step afterwards.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  bind,
  describePortal,
  execute,
  flush,
  parse,
  query,
  sync,
} from "@custody/wire/postgres/frontend.ts";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { connectRaw, type RawConnection } from "../../../../fuzz/postgres/raw-connection.ts";
import { converse, type RelayHarness, startRelay, throughRelay } from "./relay-harness.ts";

let postgres: TestPostgres;
let relay: RelayHarness;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
  await postgres.query("shop", "create table t (a int primary key, b text)");
  relay = await startRelay(postgres);
});

after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

function open(): Promise<RawConnection> {
  return connectRaw(throughRelay(relay), { cleartext: true });
}

const run = (text: string, maxRows = 0) => [
  parse("", text),
  bind({ portal: "", statement: "", parameterFormats: [], parameters: [], resultFormats: [] }),
  describePortal(""),
  execute("", maxRows),
];

const series = (rows: number, limit: string) =>
  `select repeat('x', 100) from generate_series(1, ${rows}) /* ${limit} */`;

test("no row above the limit comes, and an error says so", async () => {
  await using client = await open();
  for (const rows of [4, 200_000]) {
    const seen = await converse(client, [query(series(rows, "rows=3"))], 1);
    assert.deepEqual(seen, ["T", "D", "D", "D", "E:53400", "Z:I"], `${rows}`);
  }
  assert.deepEqual(await converse(client, [query(series(3, "rows=3"))], 1), [
    ...["T", "D", "D", "D", "C:SELECT 3", "Z:I"],
  ]);
});

test("bytes count as they come from the server", async () => {
  await using client = await open();
  const seen = await converse(client, [query(series(100_000, "bytes=500"))], 1);
  assert.deepEqual(seen, ["T", "D", "D", "D", "D", "E:53400", "Z:I"]);
});

test("COPY TO is a result too", async () => {
  await using client = await open();
  const copy = `copy (${series(2_000_000, "rows=2")}) to stdout`;
  const seen = await converse(client, [query(copy)], 1);
  assert.deepEqual(seen, ["H", "d", "d", "E:53400", "Z:I"]);
});

test("a portal that is fetched in parts is one result", async () => {
  await using client = await open();
  const sent = [...run(series(10, "rows=5"), 2), execute("", 2), execute("", 2), sync()];
  const seen = await converse(client, [query("begin"), ...sent, query("rollback")], 3);
  assert.deepEqual(seen.slice(2, 12), ["1", "2", "T", "D", "D", "s", "D", "D", "s", "D"]);
  assert.deepEqual(seen.slice(12, 14), ["E:53400", "Z:T"]);
});

test("what follows in the pipeline is answered as the server goes on with it", async () => {
  await using client = await open();
  // The first result is complete before a cancel can reach it, so the second runs.
  const seen = await converse(client, [...run(series(4, "rows=3")), ...run("select 1"), sync()], 1);
  const full = seen.filter((word) => word !== "1" && word !== "2" && word !== "T");
  const cancelled = ["D", "D", "D", "E:53400", "Z:I"];
  const complete = ["D", "D", "D", "N:01000", "C:SELECT 4", "D", "C:SELECT 1", "Z:I"];
  assert.deepEqual(full, full.includes("E:53400") ? cancelled : complete);
  assert.deepEqual(await converse(client, [query("select 1")], 1), ["T", "D", "C:SELECT 1", "Z:I"]);
});

test("a statement that changes something is left to end, and no error says it did not", async () => {
  await using client = await open();
  const insert = "insert into t select g, '' from generate_series(1, 5) g returning a -- rows=2";
  const seen = await converse(client, [query(insert)], 1);
  assert.deepEqual(seen, ["T", "D", "D", "N:01000", "C:INSERT 0 5", "Z:I"]);
  const [row] = await postgres.query("shop", "select count(*)::int as rows from t");
  assert.equal(row?.rows, 5);
});

test("a statement that takes too long is ended by name, the next one is not hit", async () => {
  await using client = await open();
  const startedMs = performance.now();
  const slow = await converse(client, [query("select pg_sleep(20) /* ms=150 */")], 1);
  assert.deepEqual(slow, ["T", "E:57014", "Z:I"]);
  assert.ok(performance.now() - startedMs < 5_000);
  for (let round = 0; round < 20; round++)
    assert.deepEqual(
      await converse(client, [query("select pg_sleep(0.01) /* ms=10 */")], 1).then((seen) =>
        seen.filter((word) => !["T", "D", "C:SELECT 1", "E:57014"].includes(word)),
      ),
      ["Z:I"],
    );
  assert.deepEqual(await converse(client, [query("select 1")], 1), ["T", "D", "C:SELECT 1", "Z:I"]);
});

test("a time limit is each command's own: waiting for its turn does not count, nor does the client", async () => {
  await using client = await open();
  const sent = [...run("select pg_sleep(0.4)"), ...run("select 1 /* ms=200 */"), sync()];
  const seen = await converse(client, sent, 1);
  assert.equal(seen.filter((word) => word === "C:SELECT 1").length, 2);
  const parked = [...run("select 2 /* ms=100 */"), flush()];
  client.socket.write(Buffer.concat(parked));
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(await converse(client, [sync()], 1), ["1", "2", "T", "D", "C:SELECT 1", "Z:I"]);
});
