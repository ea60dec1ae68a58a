// Replication connections: what their commands are, and the streaming protocol through the real door to a real
// walsender, message by message. PostgreSQL docs, "Streaming Replication Protocol".

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import { copyData, copyDone, parse, query, sync } from "@custody/wire/postgres/frontend.ts";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { connectRaw, type RawConnection } from "../../../../fuzz/postgres/raw-connection.ts";
import {
  agent,
  createTestAccess,
  engineer,
  entry,
  policy,
  subject,
} from "../../access/access.fixture.ts";
import type { Access, Operation } from "../../access/operation.ts";
import { type RelayHarness, startRelay } from "./relay-harness.ts";
import {
  type Replicated,
  readReplicationCommand,
  startUpOperation,
} from "./replication-command.ts";

const LOGICAL: Replicated = {
  place: { target: "orders", database: "shop" },
  physical: false,
  classified: false,
  detects: false,
};

describe("a command of the replication protocol", () => {
  const effects = (text: string, replicated: Replicated = LOGICAL) => {
    const read = readReplicationCommand(text, replicated);
    return read.ok
      ? read.operation.effects.map(({ action, resource }) => `${action} ${resource.id}`)
      : read.why;
  };

  test("is of the database or of the whole server, whatever was connected to", () => {
    assert.deepEqual(effects("IDENTIFY_SYSTEM"), ["sql:replicate orders/shop"]);
    assert.deepEqual(effects("identify_system;", { ...LOGICAL, physical: true }), [
      "sql:replicate orders/*",
    ]);
    for (const text of [
      `BASE_BACKUP ( LABEL 'pg_basebackup base backup',  PROGRESS,  CHECKPOINT 'fast',  WAIT 0,  MANIFEST 'yes',  TARGET 'client')`,
      "BASE_BACKUP LABEL 'a ''target'' b' FAST NOWAIT",
      'CREATE_REPLICATION_SLOT "pg_basebackup_12" TEMPORARY PHYSICAL ( RESERVE_WAL)',
      'START_REPLICATION SLOT "s" 0/3000000 TIMELINE 1',
      "START_REPLICATION SLOT logical 0/3000000",
      'START_REPLICATION SLOT "s" PHYSICAL 0/3000000',
      "START_REPLICATION 0/3000000",
      "UPLOAD_MANIFEST",
      "TIMELINE_HISTORY 2",
      "READ_REPLICATION_SLOT s",
      "CREATE_REPLICATION_SLOT s PHYSICAL (logical pgoutput)",
    ])
      assert.deepEqual(effects(text), ["sql:replicate orders/*"], text);
  });

  test("needs the right to go past masks where a class may be in what it streams", () => {
    const classified = { ...LOGICAL, classified: true };
    const stream = `START_REPLICATION SLOT "s" LOGICAL 0/0 (proto_version '1', publication_names 'p')`;
    const both = ["sql:replicate orders/shop", "sql:replicate_past_masks orders/shop"];
    assert.deepEqual(effects("SHOW wal_segment_size", classified), ["sql:replicate orders/shop"]);
    assert.deepEqual(effects(stream), ["sql:replicate orders/shop"]);
    assert.deepEqual(effects(stream, classified), both);
    assert.deepEqual(effects(stream, { ...LOGICAL, detects: true }), both);
    assert.deepEqual(effects("BASE_BACKUP", classified), [
      "sql:replicate orders/*",
      "sql:replicate_past_masks orders/*",
    ]);
    const watched = (replicated: Replicated) => {
      const read = readReplicationCommand(stream, replicated);
      return read.ok && read.watched?.effects.map(({ action }) => action);
    };
    assert.deepEqual(watched(classified), ["sql:replicate"]);
    const named = (options: string) => {
      const read = readReplicationCommand(
        `START_REPLICATION SLOT "s" LOGICAL 0/0 (${options})`,
        classified,
      );
      return read.ok && read.publications;
    };
    assert.deepEqual(named(`proto_version '1', "publication_names" ' a ,"B c",D'`), [
      "a",
      "B c",
      "d",
    ]);
    for (const options of [
      "proto_version '1'",
      "publication_names 'a,\"é\"'",
      "publication_names a",
    ])
      assert.equal(named(options), undefined, options);
    // Nobody looks for values in a stream, and there is nothing to watch for where nothing has a class.
    assert.equal(watched({ ...classified, detects: true }), undefined);
    assert.equal(watched(LOGICAL), undefined);
  });

  test("may be what pg_basebackup, pg_receivewal and pg_recvlogical send", () => {
    for (const text of [
      "SHOW data_directory_mode",
      "SELECT pg_catalog.set_config('search_path', '', false);",
      'CREATE_REPLICATION_SLOT "s" LOGICAL "test_decoding" ( SNAPSHOT \'nothing\')',
      "CREATE_REPLICATION_SLOT s LOGICAL pgoutput NOEXPORT_SNAPSHOT",
      `START_REPLICATION SLOT "s" LOGICAL 0/0 ("include-xids" '0', "proto_version" '1')`,
      'DROP_REPLICATION_SLOT "s" WAIT',
    ])
      assert.deepEqual(effects(text), ["sql:replicate orders/shop"], text);
  });

  test("that drops or alters a slot takes what the slot is of", () => {
    const slot = (text: string, replicated: Replicated = LOGICAL) => {
      const read = readReplicationCommand(text, replicated);
      if (!read.ok) return read.why;
      const { ofOthers } = read.slot ?? {};
      return [read.slot?.name, ofOthers?.effects.map(({ resource }) => resource.id).join()];
    };
    assert.deepEqual(slot("DROP_REPLICATION_SLOT Others WAIT"), ["others", "orders/*"]);
    assert.deepEqual(slot('ALTER_REPLICATION_SLOT "s""t" (FAILOVER true)'), ['s"t', "orders/*"]);
    assert.deepEqual(slot("DROP_REPLICATION_SLOT s", { ...LOGICAL, physical: true }), [
      undefined,
      undefined,
    ]);
  });

  test("is nothing else, whatever it looks like", () => {
    for (const text of [
      "SELECT 1",
      "select pg_catalog.set_config('search_path', '', false);",
      "SELECT pg_catalog.set_config('search_path', '', false); DROP TABLE t",
      "BEGIN",
      "COPY t TO STDOUT",
      "/* x */ IDENTIFY_SYSTEM",
      "-- x\nIDENTIFY_SYSTEM",
      '"IDENTIFY_SYSTEM"',
      "IDENTIFY_SYSTEM; DROP_REPLICATION_SLOT s",
      "IDENTIFY_SYSTEM $$",
      "IDENTIFY_SYSTEM E'\\''",
      "SHOW primary_conninfo",
      "SHOW app.secret",
      "SHOW all",
      'show "All"',
      "CREATE_REPLICATION_SLOT logical LOGICAL evil",
      "BASE_BACKUP ( TARGET 'server', TARGET_DETAIL '/tmp/x')",
      "BASE_BACKUP ( \"target\" 'server')",
      "BASE_BACKUP ( TARGET client)",
      "BASE_BACKUP ( TARGET 'client', TARGET_DETAIL 'x')",
      "CREATE_REPLICATION_SLOT s LOGICAL my_own_library",
      'CREATE_REPLICATION_SLOT s LOGICAL "../evil"',
      "BASE_BACKUP LABEL 'x",
      "",
    ])
      assert.equal(typeof effects(text), "string", text);
    // Of the whole server no statement is taken, not that one either.
    const physical = { ...LOGICAL, physical: true };
    const path = "SELECT pg_catalog.set_config('search_path', '', false);";
    assert.equal(typeof effects(path, physical), "string");
  });
});

describe("policies and grants", () => {
  const CONNECT = `@id("connect") permit (principal, action == Custody::Action::"connect", resource);`;
  const everything = `@id("data") permit (principal, action in SQL::Action::"data", resource);
    @id("schema") permit (principal, action in SQL::Action::"schema", resource);
    @id("privilege") permit (principal, action in SQL::Action::"privilege", resource);`;
  const logical = `@id("logical") permit (principal, action == SQL::Action::"replicate",
    resource == SQL::Schema::"orders/shop");`;
  const server = `@id("server") permit (principal, action == SQL::Action::"replicate",
    resource == SQL::Schema::"orders/*");`;
  const target = `@id("target") permit (principal, action == SQL::Action::"replicate",
    resource in Custody::Target::"orders");`;
  const past = `@id("past") permit (principal, action == SQL::Action::"replicate_past_masks",
    resource in Custody::Target::"orders");`;
  const physical = { ...LOGICAL, physical: true };
  const classified = { ...LOGICAL, classified: true };
  const verdict = (text: string, replicated: Replicated, who = subject([engineer])) =>
    createTestAccess(policy(`${CONNECT}\n${text}`)).access.authorize(
      who,
      startUpOperation(replicated),
    ).verdict;

  test("permit it by its own name only, a database apart from the server", () => {
    for (const replicated of [LOGICAL, physical, classified])
      assert.equal(verdict(everything, replicated), "deny");
    assert.equal(verdict(logical, LOGICAL), "permit");
    assert.equal(verdict(logical, physical), "deny");
    assert.equal(verdict(server, physical), "permit");
    assert.equal(verdict(server, LOGICAL), "deny");
    for (const replicated of [LOGICAL, physical])
      assert.equal(verdict(target, replicated), "permit");
  });

  test("have to say that masks do not hold where files and log have something to mask", () => {
    assert.equal(verdict(target, { ...classified, physical: true }), "deny");
    assert.equal(verdict(past, { ...classified, physical: true }), "deny");
    assert.equal(verdict(`${target}\n${past}`, { ...classified, physical: true }), "permit");
    // Of a database that is asked when something is streamed.
    assert.equal(verdict(target, classified), "permit");
    assert.equal(verdict(past, classified), "deny");
  });

  test("of an agent name the action and the database, or all of the server", () => {
    const inherit = `@id("agents") permit (principal is Custody::Agent, action, resource);`;
    const by = (actions: string[], resources: string[]) =>
      subject([engineer, agent("backup", [entry({ actions, resources })])]);
    const text = `${target}\n${inherit}`;
    assert.equal(verdict(text, LOGICAL, by(["sql:replicate"], ["shop"])), "permit");
    // What is in a database is less than the database.
    assert.equal(verdict(text, LOGICAL, by(["sql:replicate"], ["shop/*"])), "deny");
    assert.equal(verdict(text, LOGICAL, by(["sql:data"], ["shop"])), "deny");
    assert.equal(verdict(text, physical, by(["sql:replicate"], ["shop", "shop/*"])), "deny");
    assert.equal(verdict(text, physical, by(["sql:replicate"], ["*"])), "permit");
  });
});

describe("a replication connection", () => {
  let postgres: TestPostgres;
  let relay: RelayHarness;
  const asked: Operation[] = [];
  let permits: readonly string[] = [];
  let twist: Twist = {};

  before(async () => {
    postgres = await startPostgres({ databases: ["shop"], settings: { wal_level: "logical" } });
    relay = await startRelay(postgres, {
      access: accessBy(
        () => permits,
        asked,
        () => twist,
      ),
    });
  });

  after(async () => {
    await relay?.[Symbol.asyncDispose]();
    await postgres?.[Symbol.asyncDispose]();
  });

  const connect = (replication: string): Promise<RawConnection> =>
    connectRaw(
      {
        host: "127.0.0.1",
        port: relay.listener.port,
        user: "orders",
        password: "shown",
        database: "shop",
        ssl: { ca: relay.ca, servername: "localhost" },
      },
      { cleartext: true, parameters: { replication } },
    );

  test("is refused unless a policy permits it, and no word of it reaches the target", async () => {
    permits = [];
    for (const replication of ["database", "true", "on", "1"]) {
      const before = relay.leaves.length;
      await assert.rejects(connect(replication), /Custody denied replicate \(start-up\)/);
      const leaves = relay.leaves.slice(before).map(({ event }) => event);
      assert.ok(leaves.includes("command.denied"), leaves.join());
    }
    await assert.rejects(connect("perhaps"), /truth value or database/);
  });

  test("is refused where it would be held, or cut short", async () => {
    permits = ["sql:replicate"];
    for (const [one, why] of [
      [{ hold: true }, /needs approval, which is not given to a replication/],
      [{ maxRows: 5 }, /limits results, and a replication has no end/],
      [{ maxBytes: 5 }, /limits results, and a replication has no end/],
      [{ timeoutMs: 5 }, /limits results, and a replication has no end/],
    ] as const) {
      twist = one;
      await assert.rejects(connect("database"), why);
    }
    twist = {};
    await using connection = await connect("database");
    connection.socket.write(query("IDENTIFY_SYSTEM"));
    assert.equal((await reader(connection).until("Z")).at(-1), "Z");
  });

  test("streams changes both ways, each command on record; what changes anything stays out", async () => {
    permits = ["sql:replicate"];
    const before = relay.leaves.length;
    await postgres.query("shop", "create table changes (n int)");
    await using connection = await connect("database");
    const reads = reader(connection);
    connection.socket.write(query("VACUUM"));
    assert.deepEqual(await reads.until("Z"), ["E:42501", "Z"]);
    connection.socket.write(query("IDENTIFY_SYSTEM"));
    assert.deepEqual(await reads.until("Z"), ["T", "D", "C", "Z"]);
    connection.socket.write(query("CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL pgoutput"));
    assert.equal((await reads.until("Z")).at(-2), "C");
    await postgres.query("shop", "create publication p for table changes");
    const options = "(proto_version '1', publication_names 'p')";
    connection.socket.write(query(`START_REPLICATION SLOT s LOGICAL 0/0 ${options}`));
    assert.deepEqual(await reads.until("W"), ["W"]);
    await postgres.query("shop", "insert into changes values (4711)");
    await reads.holding("4711");
    // How far the client is, and that it ends.
    connection.socket.write(Buffer.concat([copyData(standbyStatus()), copyDone()]));
    assert.equal((await reads.until("Z")).filter((word) => word !== "d").join(" "), "c C C Z");
    const commands = relay.leaves.slice(before).filter(({ event }) => event === "command.intent");
    assert.equal(commands.length, 3);
    assert.deepEqual(commands[0]?.effects, ["sql:replicate orders/shop"]);
    const outcome = relay.leaves.findLast(({ event }) => event === "command.outcome");
    assert.equal(outcome?.outcome, "ok");
    assert.ok((outcome?.bytes ?? 0) > 0);
    // After the stream it takes commands again, and an error of the target's own.
    connection.socket.write(query("DROP_REPLICATION_SLOT nothing"));
    assert.deepEqual(await reads.until("Z"), ["E:42704", "Z"]);
  });

  test("takes no extended queries, and ends with its delegation", async () => {
    permits = ["sql:replicate"];
    {
      await using connection = await connect("database");
      connection.socket.write(Buffer.concat([parse("", "select 1"), sync()]));
      assert.deepEqual(await reader(connection).until("Z"), ["E:08P01"]);
    }
    await using connection = await connect("true");
    const reads = reader(connection);
    connection.socket.write(query("IDENTIFY_SYSTEM"));
    assert.equal((await reads.until("Z")).at(-1), "Z");
    relay.revoke();
    assert.deepEqual(await reads.until("Z"), ["E:57P01"]);
  });

  test("forwards nothing more once its delegation has ended", async () => {
    permits = ["sql:replicate"];
    await postgres.query("shop", "create publication ended for all tables");
    await using connection = await connect("database");
    const reads = reader(connection);
    connection.socket.write(query("CREATE_REPLICATION_SLOT e TEMPORARY LOGICAL pgoutput"));
    assert.equal((await reads.until("Z")).at(-2), "C");
    const options = "(proto_version '1', publication_names 'ended')";
    connection.socket.write(query(`START_REPLICATION SLOT e LOGICAL 0/0 ${options}`));
    assert.deepEqual(await reads.until("W"), ["W"]);
    // Waits for the stream to end; the delegation ends first.
    const before = relay.leaves.length;
    connection.socket.write(query("CREATE_REPLICATION_SLOT late LOGICAL pgoutput"));
    await delay(100);
    relay.revoke();
    assert.equal((await reads.until("Z")).at(-1), "E:57P01");
    const intents = relay.leaves.slice(before).filter(({ event }) => event === "command.intent");
    assert.deepEqual(intents, []);
    const slots = "select slot_name from pg_replication_slots where slot_name = 'late'";
    assert.deepEqual(await postgres.query("shop", slots), []);
  });

  test("of the whole server sends a backup and its log", async () => {
    permits = ["sql:replicate"];
    await using connection = await connect("true");
    const reads = reader(connection);
    assert.equal(asked.at(-1)?.effects[0]?.resource.path, "*");
    connection.socket.write(query("BASE_BACKUP (CHECKPOINT 'fast', MANIFEST 'no')"));
    const words = await reads.until("Z");
    assert.ok(words.filter((word) => word === "d").length > 100);
    assert.equal(words.at(-1), "Z");
  });
});

/** What came, a word a message: its letter, with an error's SQLSTATE. The end of the connection ends it. */
function reader({ socket, cursor }: RawConnection) {
  const seen: Buffer[] = [];
  const chunks = socket.iterator({ destroyOnReturn: false });
  async function next(): Promise<string | undefined> {
    while (!cursor.next()) {
      const { value, done } = await chunks.next();
      if (done === true) return undefined;
      cursor.push(value);
    }
    const { type, buffer, start, end } = cursor;
    seen.push(Buffer.from(buffer.subarray(start, end)));
    const letter = String.fromCharCode(type);
    return letter === "E" ? `E:${decodeErrorFields(buffer, start, end).get("C")}` : letter;
  }
  return {
    async until(letter: string): Promise<string[]> {
      const words: string[] = [];
      for (;;) {
        const word = await next();
        if (word === undefined) return words;
        if (word !== "N" && word !== "S") words.push(word);
        if (word === letter) return words;
      }
    },
    async holding(text: string): Promise<void> {
      while ((await next()) !== undefined) if (seen.at(-1)?.includes(text)) return;
      throw new Error(`the stream ended without ${text}`);
    },
  };
}

/** "r": written, flushed and applied up to nowhere; no reply wanted. */
function standbyStatus(): Buffer {
  return Buffer.concat([Buffer.from("r"), Buffer.alloc(33)]);
}

interface Twist {
  readonly hold?: boolean;
  readonly maxRows?: number;
  readonly maxBytes?: number;
  readonly timeoutMs?: number;
}

function accessBy(
  permits: () => readonly string[],
  asked: Operation[],
  twist: () => Twist,
): Access {
  return {
    authorize(_subject, operation) {
      asked.push(operation);
      const missing = operation.effects.find(({ action }) => !permits().includes(action));
      const { hold, maxBytes, maxRows, timeoutMs } = twist();
      if (missing === undefined && hold === true)
        return { verdict: "hold", what: operation.summary, requirements: [], policyVersion: "1" };
      if (missing === undefined)
        return {
          verdict: "permit",
          permit: {
            operation,
            obligations: {
              unmask: new Set<string>(),
              maxRows,
              maxBytes,
              timeoutMs,
              record: undefined,
            },
            policyIds: ["test"],
            policyVersion: "1",
          },
        };
      const denial = {
        kind: "not_permitted",
        what: operation.summary,
        policyId: undefined,
        message: `nothing permits ${missing.action}`,
        hop: 0,
        hopLabel: undefined,
      } as const;
      return { verdict: "deny", denial, policyVersion: "1" };
    },
    authorizeApproved: () => assert.fail("nobody was asked"),
    policyVersion: "1",
    forget: () => undefined,
  };
}
