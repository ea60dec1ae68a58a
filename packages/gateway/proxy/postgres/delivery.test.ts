// What a client is given while the disk does not take its recording, before a real PostgreSQL and with a
// real journal whose flushes wait from the moment the first bytes of an answer are recorded.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { query } from "@custody/wire/postgres/frontend.ts";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { connectRaw, type RawConnection } from "../../../../fuzz/postgres/raw-connection.ts";
import { type StallingEvidence, stallingEvidence } from "../../recording/stalling-disk.fixture.ts";
import { type RelayHarness, startRelay, throughRelay } from "./relay-harness.ts";

let postgres: TestPostgres;

before(async () => {
  postgres = await startPostgres({ databases: ["shop"] });
});

after(() => postgres?.[Symbol.asyncDispose]());

interface Stage extends AsyncDisposable {
  readonly evidence: StallingEvidence;
  open(): Promise<RawConnection>;
}

async function stage(): Promise<Stage> {
  await using parts = new AsyncDisposableStack();
  const evidence = parts.use(await stallingEvidence());
  const { journal, openRecorder } = evidence;
  const relay: RelayHarness = parts.use(await startRelay(postgres, { journal, openRecorder }));
  // A session writes how it ended.
  parts.defer(evidence.disk.release);
  const all = parts.move();
  return {
    evidence,
    open: () => connectRaw(throughRelay(relay), { cleartext: true }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

interface Answers {
  /** Types of the messages so far; of errors `E:` and the SQLSTATE. */
  readonly seen: string[];
  readonly rows: () => number;
  /** Settles when this has come. */
  until(message: string): Promise<void>;
}

function answersOf({ socket }: RawConnection): Answers {
  const seen: string[] = [];
  let rows = 0;
  const cursor = new FrameCursor({ maxFrameBytes: 1 << 24 });
  socket.on("data", (chunk: Buffer) => {
    cursor.push(chunk);
    while (cursor.next()) {
      const letter = String.fromCharCode(cursor.type);
      if (letter === "D") rows++;
      else if (letter === "E")
        seen.push(`E:${decodeErrorFields(cursor.buffer, cursor.start, cursor.end).get("C") ?? ""}`);
      else seen.push(letter);
    }
    socket.emit("seen");
  });
  return {
    ...{ seen, rows: () => rows },
    async until(message) {
      while (!seen.includes(message)) await once(socket, "seen");
    },
  };
}

/** Whatever was given to a client by now has come there when another has signed in. */
async function roundTrip({ open }: Stage): Promise<void> {
  await using _ = await open();
}

test("a strict answer is not given before what was recorded of it is on disk", async () => {
  await using on = await stage();
  await using client = await on.open();
  const answers = answersOf(client);
  client.socket.write(query("select 'strict'"));
  await on.evidence.disk.waits;
  await roundTrip(on);
  assert.deepEqual([answers.seen, answers.rows()], [[], 0]);
  on.evidence.disk.release();
  await answers.until("Z");
  assert.deepEqual([answers.seen, answers.rows()], [["T", "C", "Z"], 1]);
});

test("an answer of no mode is given while the disk stalls", async () => {
  await using on = await stage();
  await using client = await on.open();
  const answers = answersOf(client);
  client.socket.write(query("select 'plain'"));
  await answers.until("Z");
  assert.deepEqual([answers.seen, answers.rows()], [["T", "C", "Z"], 1]);
});

test("a bounded session is closed when the disk is later than its bound, as PostgreSQL closes one", async () => {
  await using on = await stage();
  await using client = await on.open();
  const answers = answersOf(client);
  const closed = once(client.socket, "close");
  client.socket.write(query("select 'ahead=300'"));
  await answers.until("Z");
  await answers.until("E:58030");
  await closed;
  assert.deepEqual(answers.seen, ["T", "C", "Z", "E:58030"]);
});

test("a target is not read on while the disk does not take what it answered", async () => {
  await using on = await stage();
  await using client = await on.open();
  const answers = answersOf(client);
  client.socket.write(query("select repeat('x', 1000) from generate_series(1, 30000)"));
  await on.evidence.disk.waits;
  for (let at = 0; at < 3; at++) await roundTrip(on);
  assert.ok(
    on.evidence.answerBytes() < 4 << 20,
    `${on.evidence.answerBytes()} bytes are ahead of the disk`,
  );
  on.evidence.disk.release();
  await answers.until("Z");
  assert.equal(answers.rows(), 30_000);
});
