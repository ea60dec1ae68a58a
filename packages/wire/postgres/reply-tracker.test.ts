import assert from "node:assert/strict";
import { once } from "node:events";
import test from "node:test";
import { startPostgres, type TestPostgres } from "../../../conformance/support/postgres-server.ts";
import { connectRaw, type RawConnection } from "../../../fuzz/postgres/raw-connection.ts";
import * as frontend from "./frontend.ts";
import { ReplyTracker, type RequestKind } from "./reply-tracker.ts";

/** Requests are named by their place; replies are written as PostgreSQL's letters. */
function tracked(...kinds: RequestKind[]): ReplyTracker<number> {
  const tracker = new ReplyTracker<number>({ maxOutstanding: 100 });
  for (const [index, kind] of kinds.entries()) tracker.sent(kind, index);
  return tracker;
}

/** `0` a message of request 0, `0.` its last, `-` of none, `!` unexpected, `~1,2` skipped. */
function follow(tracker: ReplyTracker<number>, letters: string): string {
  return [...letters]
    .map((letter) => {
      const { owner, ends, skipped, unexpected } = tracker.received(letter.charCodeAt(0));
      if (unexpected) return "!";
      const tags = skipped.map((one) => one.tag);
      return `${owner?.tag ?? "-"}${ends ? "." : ""}${tags.length > 0 ? `~${tags}` : ""}`;
    })
    .join(" ");
}

const cases: [name: string, kinds: RequestKind[], letters: string, expected: string][] = [
  ["a Query of two statements", ["query"], "TDDCTDCZ", "0 0 0 0 0 0 0 0."],
  ["an empty Query", ["query"], "IZ", "0 0."],
  ["a Query that fails after rows", ["query"], "TDEZ", "0 0 0 0."],
  ["a Query that fails skips nothing", ["query", "parse", "sync"], "EZ1Z", "0 0. 1. 2."],
  [
    "the extended protocol",
    ["parse", "describe-statement", "bind", "describe-portal", "execute", "close", "sync"],
    "1tT2TDDC3Z",
    "0. 1 1. 2. 3. 4 4 4. 5. 6.",
  ],
  ["no rows to describe", ["describe-statement", "describe-portal"], "tnn", "0 0. 1."],
  ["a portal read in pieces", ["execute", "execute", "execute"], "DsDsC", "0 0. 1 1. 2."],
  ["an error skips to Sync", ["parse", "bind", "execute", "sync"], "EZ", "0.~1,2 3."],
  ["Query and FunctionCall too", ["bind", "query", "function", "sync"], "EZ", "0.~1,2 3."],
  ["no further than the Sync", ["parse", "sync", "parse", "sync"], "EZ1Z", "0. 1. 2. 3."],
  ["an error after the first half", ["describe-statement", "sync"], "tEZ", "0 0. 1."],
  ["a commit that fails", ["execute", "sync", "parse"], "CEZ1", "0. 1 1. 2."],
  ["a function", ["function", "function"], "VZEZ", "0 0. 1 1."],
  ["what belongs to nothing, at any time", ["query"], "NSATNDSACAZN", "- - - 0 - 0 - - 0 - 0. -"],
  ["COPY out", ["query", "execute"], "HddcCZHdcC", "0 0 0 0 0 0. 1 1 1 1."],
  ["COPY out that fails", ["execute", "sync"], "HdEZ", "0 0 0. 1."],
];

for (const [name, kinds, letters, expected] of cases) {
  test(`in step: ${name}`, () => {
    const tracker = tracked(...kinds);
    assert.equal(follow(tracker, letters), expected);
    assert.equal(tracker.depth, 0);
  });
}

const refusals: [name: string, kinds: RequestKind[], letters: string][] = [
  ["an answer to nothing", [], "Z"],
  ["an error out of nothing", [], "E"],
  ["rows of a Query before their description", ["query"], "D"],
  ["ReadyForQuery of a Query before its end", ["query"], "Z"],
  ["rows after the end of a statement", ["query"], "TDCD"],
  ["anything but ReadyForQuery after an error", ["query"], "EC"],
  ["a second error", ["query"], "EE"],
  ["a second error of a Sync", ["sync"], "EE"],
  ["another request's reply", ["parse", "bind"], "2"],
  ["a description for a Parse", ["parse"], "T"],
  ["rows of a statement without its parameters", ["describe-statement"], "T"],
  ["an early end of COPY out", ["query"], "HdC"],
  ["data after the end of COPY out", ["query"], "Hcd"],
  ["a function's answer twice", ["function"], "VV"],
  ["COPY both, which is replication's", ["query"], "W"],
  ["sign-in messages", ["query"], "R"],
  ["an end of COPY in that we did not send", ["query"], "GC"],
];

for (const [name, kinds, letters] of refusals) {
  test(`unexpected, from there on: ${name}`, () => {
    const tracker = tracked(...kinds);
    assert.match(follow(tracker, letters), /(^| )!$/);
    assert.equal(follow(tracker, "NZ"), "! !");
  });
}

test("what is sent between an error and the next Sync gets no reply", () => {
  const tracker = tracked("parse", "bind");
  assert.equal(follow(tracker, "E"), "0.~1");
  tracker.sent("execute", 2);
  tracker.sent("query", 3);
  assert.equal(tracker.depth, 0);
  tracker.sent("sync", 4);
  tracker.sent("parse", 5);
  assert.equal(follow(tracker, "Z1"), "4.~2,3 5.");
  assert.equal(tracker.segment, 1);
});

test("the queue is bounded, skipped requests included", () => {
  const tracker = new ReplyTracker<number>({ maxOutstanding: 2 });
  tracker.sent("parse", 0);
  tracker.sent("bind", 1);
  assert.throws(() => tracker.sent("sync", 2), { code: "limit" });
  assert.equal(follow(tracker, "E"), "0.~1");
  tracker.sent("bind", 2);
  tracker.sent("bind", 3);
  assert.throws(() => tracker.sent("bind", 4), { code: "limit" });
});

test("a long pipeline", () => {
  const tracker = new ReplyTracker<number>({ maxOutstanding: 100_000 });
  for (let index = 0; index < 100_000; index++) tracker.sent("parse", index);
  for (let index = 0; index < 100_000; index++) {
    const { owner, ends } = tracker.received(0x31);
    assert.ok(owner?.tag === index && ends);
  }
  assert.equal(tracker.depth, 0);
});

test("what is left at the end, in order", () => {
  const tracker = tracked("parse", "bind");
  follow(tracker, "E");
  tracker.sent("bind", 2);
  tracker.sent("sync", 3, true);
  tracker.sent("query", 4);
  const left = tracker.drain().map(({ tag, swallow }) => [tag, swallow]);
  assert.deepEqual(left, [
    [2, false],
    [3, true],
    [4, false],
  ]);
  assert.equal(tracker.head, undefined);
  assert.equal(follow(tracker, "Z"), "!");
});

test("COPY in: nothing may be sent before it is known, and data only while it runs", () => {
  const tracker = tracked();
  tracker.sent("execute", 0, false, true);
  assert.equal(tracker.waiting, true);
  assert.throws(() => tracker.sent("sync", 1), { code: "state" });
  assert.equal(follow(tracker, "G"), "0");
  assert.deepEqual([tracker.waiting, tracker.copyIn, tracker.syncIgnored()], [false, true, true]);
  tracker.clientEndedCopy();
  assert.deepEqual([tracker.waiting, tracker.copyIn], [false, false]);
  tracker.sent("sync", 1);
  assert.equal(follow(tracker, "CZ"), "0. 1.");
});

test("COPY in of a Query: after the first end the next may begin", () => {
  const tracker = tracked();
  tracker.sent("query", 0, false, true);
  assert.equal(follow(tracker, "G"), "0");
  tracker.clientEndedCopy();
  assert.equal(tracker.waiting, true);
  assert.equal(follow(tracker, "CG"), "0 0");
  assert.deepEqual([tracker.waiting, tracker.copyIn], [false, true]);
  assert.equal(follow(tracker, "E"), "0");
  assert.deepEqual([tracker.waiting, tracker.copyIn], [false, false]);
  assert.equal(follow(tracker, "Z"), "0.");
});

test("an unannounced COPY in: its Syncs were dropped if it ends well, and cannot be told if not", () => {
  const well = tracked("execute", "sync", "sync", "parse");
  assert.equal(follow(well, "G"), "0");
  well.clientEndedCopy();
  assert.equal(follow(well, "C1"), "0.~1,2 3.");
  assert.equal(follow(tracked("execute", "sync"), "GE"), "0 !");
});

test("COPY in against PostgreSQL: which Syncs count", async (t) => {
  await using server = await startPostgres({ tls: false });
  await server.query(
    "postgres",
    `create table t (n int); create view v as select n from t; create table slow (n int);
    create function fail() returns trigger language plpgsql as
      $$ begin perform pg_sleep(0.2); raise 'too late'; end $$;
    create trigger t before insert on slow for each statement execute function fail()`,
  );
  await t.test("a view fails before a byte is read: the Sync counts", async () => {
    await using connection = await begun(server, "copy v from stdin");
    connection.socket.write(frontend.sync());
    assert.equal(await letters(connection, "Z"), "12GEZ");
  });
  await t.test("a trigger fails it later: a Sync that was withheld is due after all", async () => {
    await using connection = await begun(server, "copy slow from stdin");
    assert.equal(await letters(connection, "G"), "12G");
    assert.equal(await letters(connection, "E"), "E");
    connection.socket.write(frontend.sync());
    assert.equal(await letters(connection, "Z"), "Z");
    // And so it is when it is sent at once.
    await using other = await begun(server, "copy slow from stdin");
    other.socket.write(frontend.sync());
    assert.equal(await letters(other, "Z"), "12GEZ");
  });
  await t.test("one inside is dropped: only the one behind the data counts", async () => {
    await using connection = await begun(server, "copy t from stdin");
    connection.socket.write(frontend.sync());
    assert.equal(await letters(connection, "G"), "12G");
    const line = frontend.copyData(Buffer.from("1\n"));
    const end = [frontend.copyDone(), frontend.sync(), frontend.query("")];
    connection.socket.write(Buffer.concat([line, ...end]));
    assert.equal(await letters(connection, "I"), "CZI");
  });
});

async function begun(server: TestPostgres, text: string): Promise<RawConnection> {
  const connection = await connectRaw(server.connection());
  const bind = { portal: "", statement: "", parameterFormats: [], parameters: [] };
  connection.socket.write(
    Buffer.concat([
      frontend.parse("", text),
      frontend.bind({ ...bind, resultFormats: [] }),
      frontend.execute("", 0),
    ]),
  );
  return connection;
}

/** Types of what the server says, up to and including `last`. */
async function letters({ socket, cursor }: RawConnection, last: string): Promise<string> {
  let seen = "";
  while (!seen.endsWith(last)) {
    if (cursor.next()) {
      seen += String.fromCharCode(cursor.type);
      continue;
    }
    const chunk: Buffer | null = socket.read();
    if (chunk === null) await once(socket, "readable");
    else cursor.push(chunk);
  }
  return seen;
}
