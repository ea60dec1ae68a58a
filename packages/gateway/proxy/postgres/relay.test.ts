// The relay before a real PostgreSQL: what a client sees with a statement denied in the middle must be,
// message by message, what PostgreSQL itself says when that statement fails there.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import {
  bind,
  close,
  copyData,
  copyDone,
  describePortal,
  execute,
  flush,
  parse,
  query,
  sync,
} from "@custody/wire/postgres/frontend.ts";
import { encodeCancelRequest } from "@custody/wire/postgres/startup.ts";
import pg from "pg";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { connectRaw } from "../../../../fuzz/postgres/raw-connection.ts";
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

const run = (text: string) => [
  parse("", text),
  bind({ portal: "", statement: "", parameterFormats: [], parameters: [], resultFormats: [] }),
  describePortal(""),
  execute("", 0),
];

/** `%` is the statement at issue: denied through Custody, one that fails to parse for PostgreSQL. */
const CASES: Record<string, { sent: (bad: string) => Buffer[]; readies: number }> = {
  "simple, alone": { sent: (bad) => [query(bad), query("select 1")], readies: 2 },
  "simple, in a transaction": {
    sent: (bad) => [
      query("begin"),
      query("insert into t values (100)"),
      query(bad),
      query("select 1"),
      query("rollback"),
      query("select count(*) from t where a = 100"),
    ],
    readies: 6,
  },
  "extended, alone": { sent: (bad) => [...run(bad), sync(), query("select 1")], readies: 2 },
  "pipeline: what came before in the implicit transaction does not commit": {
    sent: (bad) => [
      ...run("insert into t values (200)"),
      ...run(bad),
      ...run("insert into t values (201)"),
      sync(),
      query("select a from t where a in (200, 201)"),
    ],
    readies: 2,
  },
  "pipeline: the next segment runs": {
    sent: (bad) => [...run(bad), sync(), ...run("select 1"), sync(), ...run(bad), sync()],
    readies: 3,
  },
  "pipeline in an explicit transaction": {
    sent: (bad) => [
      ...run("begin"),
      sync(),
      ...run("insert into t values (300)"),
      ...run(bad),
      sync(),
      ...run("select 1"),
      sync(),
      ...run("rollback"),
      sync(),
    ],
    readies: 4,
  },
  "a query behind a failed message is skipped": {
    sent: (bad) => [parse("x", bad), query("select 1"), sync(), query("select 2")],
    readies: 2,
  },
  savepoint: {
    sent: (bad) => [
      query("begin"),
      query("savepoint a"),
      query(bad),
      query("rollback to a"),
      query("select 1"),
      query("commit"),
    ],
    readies: 6,
  },
};

for (const [name, { sent, readies }] of Object.entries(CASES))
  test(`denied as PostgreSQL fails: ${name}`, async () => {
    await using direct = await connectRaw(postgres.connection("shop"));
    await using gateway = await connectRaw(throughRelay(relay), { cleartext: true });
    const expected = await converse(direct, sent("selec 1"), readies);
    assert.ok(expected.includes("E:42601"), "PostgreSQL refuses the statement that stands for it");
    const seen = await converse(gateway, sent("select 1 /* deny */"), readies);
    assert.deepEqual(
      seen,
      expected.map((word) => (word === "E:42601" ? "E:42501" : word)),
    );
  });

test("a statement is not run over by one of the same name that was skipped", async () => {
  await using gateway = await connectRaw(throughRelay(relay), { cleartext: true });
  const runNamed = [
    bind({ portal: "", statement: "n", parameterFormats: [], parameters: [], resultFormats: [] }),
    execute("", 0),
    sync(),
  ];
  const first = await converse(
    gateway,
    [parse("n", "insert into t values (400)"), sync(), close("portal", "p"), sync()],
    2,
  );
  assert.deepEqual(first, ["1", "Z:I", "3", "Z:I"]);
  // Close and Parse are skipped behind the error; what runs is the INSERT, and it is that one which
  // is judged and journalled.
  const before = relay.leaves.length;
  const seen = await converse(
    gateway,
    [...run("selec"), close("statement", "n"), parse("n", "select 1"), sync(), ...runNamed],
    2,
  );
  assert.deepEqual(seen, ["E:42601", "Z:I", "2", "C:INSERT 0 1", "Z:I"]);
  const intent = relay.leaves.slice(before).findLast(({ event }) => event === "command.intent");
  assert.equal(intent?.command, commandDigest("insert into t values (400)"));
});

test("COPY in both directions, and one that fails before it reads", async () => {
  await using gateway = await connectRaw(throughRelay(relay), { cleartext: true });
  await using direct = await connectRaw(postgres.connection("shop"));
  await postgres.query("shop", "create or replace view v as select 1 as a");
  const simple = [query("copy t from stdin"), copyData(Buffer.from("500\tx\n")), copyDone()];
  assert.deepEqual(await converse(gateway, simple, 1), ["G", "C:COPY 1", "Z:I"]);
  const out = await converse(gateway, [query("copy t to stdout")], 1);
  assert.equal(out[0], "H");
  const extended = [...run("copy v from stdin"), sync(), query("select 1")];
  assert.deepEqual(await converse(gateway, extended, 2), await converse(direct, extended, 2));
});

test("a command, its rows and its COPY data are recorded at the level of its permit", async () => {
  await using gateway = await connectRaw(throughRelay(relay), { cleartext: true });
  const since = () => relay.recorded.splice(0);
  since();
  await converse(gateway, [query("select 1"), query("select 2 /* quiet */")], 2);
  assert.deepEqual(since(), [
    "command full select 1",
    "command commands select 2 /* quiet */",
    "response full",
    "response commands",
  ]);
  const rows = [copyData(Buffer.from("501\tx\n")), copyDone()];
  await converse(gateway, [query("copy t from stdin /* quiet */"), ...rows], 1);
  assert.deepEqual(
    since().filter((one) => one.startsWith("upload")),
    ["upload commands 501\tx\n"],
  );
});

test("a hold waits, tells so, and runs once approved; a cancel ends it", async () => {
  const client = new pg.Client(throughRelay(relay));
  const notices: string[] = [];
  client.on("notice", ({ message }) => notices.push(String(message)));
  await client.connect();
  const held = client.query("select 7 as seven /* hold */");
  while (relay.holds.length === 0 || notices.length === 0) await delay(5);
  assert.match(notices[0] ?? "", /waits for approval by corp\/dba/);
  relay.holds[0]?.settle({ state: "approved", met: ["marks-wait"], approvers: ["corp/dba1"] });
  assert.deepEqual((await held).rows, [{ seven: 7 }]);

  const cancelled = client.query("select 8 /* hold */");
  while (relay.holds.length < 2) await delay(5);
  await cancel(client);
  await assert.rejects(cancelled, { code: "57014" });
  assert.deepEqual((await client.query("select 9 as nine")).rows, [{ nine: 9 }]);
  await client.end();
});

test("a cancel reaches the statement that runs, and only with this session's key", async () => {
  const client = new pg.Client(throughRelay(relay));
  await client.connect();
  const sleeping = client.query("select pg_sleep(20)");
  await delay(100);
  const { processID, secretKey } = keyOf(client);
  await cancelWith(processID, secretKey ^ 1);
  await delay(100);
  await cancelWith(processID, secretKey);
  await assert.rejects(sleeping, { code: "57014" });
  await client.end();
});

test("revocation ends the session with 57P01 while a statement runs", async () => {
  const client = new pg.Client(throughRelay(relay));
  client.on("error", () => undefined);
  await client.connect();
  const sleeping = client.query("select pg_sleep(20)");
  await delay(50);
  relay.revoke();
  await assert.rejects(sleeping, { code: "57P01", message: /revoked/ });
});

test("a message that is none ends the session with 08P01, and nothing of it is forwarded", async () => {
  await using gateway = await connectRaw(throughRelay(relay), { cleartext: true });
  const { socket, cursor } = gateway;
  socket.write(
    Buffer.concat([Buffer.from([0x51, 0, 0, 0, 3]), query("insert into t values (600)")]),
  );
  const [chunk] = (await once(socket, "data")) as [Buffer];
  cursor.push(chunk);
  assert.equal(cursor.next(), true);
  assert.equal(decodeErrorFields(cursor.buffer, cursor.start, cursor.end).get("C"), "08P01");
  assert.deepEqual(await postgres.query("shop", "select a from t where a = 600"), []);
});

test("a Flush without a Sync brings the replies so far", async () => {
  await using gateway = await connectRaw(throughRelay(relay), { cleartext: true });
  const { socket, cursor } = gateway;
  socket.write(Buffer.concat([...run("select 1"), flush()]));
  const types: string[] = [];
  while (types.at(-1) !== "C") {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    cursor.push(chunk);
    while (cursor.next()) types.push(String.fromCharCode(cursor.type));
  }
  assert.deepEqual(types, ["1", "2", "T", "D", "C"]);
});

test("every intent has an outcome, skipped ones too", () => {
  const intents = relay.leaves.filter(({ event }) => event === "command.intent");
  const outcomes = new Set(
    relay.leaves.filter(({ event }) => event === "command.outcome").map(({ request }) => request),
  );
  assert.ok(intents.length > 20);
  assert.deepEqual(
    intents.filter(({ request }) => !outcomes.has(request)),
    [],
  );
});

interface KeyedClient {
  readonly processID: number;
  readonly secretKey: number;
}

function keyOf(client: pg.Client): KeyedClient {
  return client as unknown as KeyedClient;
}

async function cancel(client: pg.Client): Promise<void> {
  const { processID, secretKey } = keyOf(client);
  await cancelWith(processID, secretKey);
}

async function cancelWith(processId: number, secretKey: number): Promise<void> {
  const key = Buffer.alloc(4);
  key.writeInt32BE(secretKey);
  const socket = connect(relay.listener.port, "127.0.0.1");
  await once(socket, "connect");
  socket.end(encodeCancelRequest(processId, key));
  await once(socket.resume(), "close");
}
