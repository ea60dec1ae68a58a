// Random pipelines through the relay and to the server alone: the answers are the same, message by message,
// and so is what the database holds afterwards. Denials, holds and cancels stand anywhere in them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import {
  startPostgres,
  type TestPostgres,
} from "../../../../conformance/support/postgres-server.ts";
import { seededRandom } from "../../../../fuzz/postgres/random.ts";
import { connectRaw, type RawConnection } from "../../../../fuzz/postgres/raw-connection.ts";
import {
  ALONE,
  LAST,
  randomPipeline,
  THROUGH_RELAY,
} from "../../../../fuzz/postgres/relay-pipelines.ts";
import { type RelayHarness, startRelay, throughRelay } from "./relay-harness.ts";

const PIPELINES = Number(process.env.CUSTODY_RELAY_PIPELINES ?? 250);
const SEED = Number(process.env.CUSTODY_RELAY_SEED ?? 1);

let postgres: TestPostgres;
let relay: RelayHarness;

before(async () => {
  postgres = await startPostgres({ databases: ["shop", "alone"] });
  for (const database of ["shop", "alone"])
    await postgres.query(
      database,
      "create table t (a int primary key, b text); insert into t values (1)",
    );
  relay = await startRelay(postgres);
});

after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

function through(): Promise<RawConnection> {
  return connectRaw(throughRelay(relay), { cleartext: true });
}

/** Everything up to the row of the last query; settles what is held on the way. */
async function answers(connection: RawConnection, sent: Buffer): Promise<string[]> {
  const { socket, cursor } = connection;
  const seen: string[] = [];
  const chunks = socket.iterator({ destroyOnReturn: false });
  socket.write(sent);
  let atEnd = false;
  for (;;) {
    while (cursor.next()) {
      const { type, buffer, start, end } = cursor;
      const letter = String.fromCharCode(type);
      const body = buffer.toString("latin1", start + 5, end).replaceAll(/[^ -~]/g, ".");
      if (letter === "E") {
        const state = decodeErrorFields(buffer, start, end).get("C") ?? "";
        // Denied, at once or after it waited; and what stands for both at the server, which answers a Query
        // it cannot parse behind an Execute without its Sync with XX000.
        seen.push(
          ["42501", "42601", "2201F", "XX000"].includes(state) ? "E:refused" : `E:${state}`,
        );
      } else if (letter === "N") settleHolds();
      else if (letter !== "S") seen.push(`${letter}:${body}`);
      atEnd ||= letter === "D" && body.includes(LAST);
      if (atEnd && letter === "Z") {
        await chunks.return?.();
        return seen;
      }
    }
    const { value, done } = await chunks.next();
    if (done === true) throw new Error(`closed after ${seen.join(" ")}`);
    cursor.push(value);
  }
}

function settleHolds(): void {
  for (const { request, settle } of relay.holds.splice(0)) {
    const isRefused = request.command.includes("refuse");
    const by = "corp/dba@example.com";
    setImmediate(() =>
      settle(
        isRefused
          ? { state: "denied", by, reason: undefined }
          : { state: "approved", met: ["marks-wait"], approvers: [by] },
      ),
    );
  }
}

test(`${PIPELINES} random pipelines are answered as the server alone answers them`, async () => {
  let direct = await connectRaw(postgres.connection("alone"));
  let gateway = await through();
  let next = 10;
  const key = () => next++;
  const denied: number[] = [];
  for (let round = 0; round < PIPELINES; round++) {
    const pipeline = randomPipeline(seededRandom(SEED * 1_000_000 + round), key);
    const [expected, seen] = await Promise.all([
      answers(direct, Buffer.concat(pipeline(ALONE))),
      answers(gateway, Buffer.concat(pipeline(THROUGH_RELAY))),
    ]);
    assert.deepEqual(seen, expected, `seed ${SEED}, pipeline ${round}`);
    if (expected.includes("E:refused")) denied.push(round);
    if (round % 50 !== 49) continue;
    const [alone] = await postgres.query(
      "alone",
      "select array_agg(a order by a)::text as rows from t",
    );
    const [shop] = await postgres.query(
      "shop",
      "select array_agg(a order by a)::text as rows from t",
    );
    assert.equal(shop?.rows, alone?.rows, `rows after pipeline ${round}`);
    // Sessions of every age: some with much behind them, some new.
    await direct[Symbol.asyncDispose]();
    await gateway[Symbol.asyncDispose]();
    direct = await connectRaw(postgres.connection("alone"));
    gateway = await through();
  }
  assert.ok(denied.length > PIPELINES / 10, "the pipelines had something to refuse");
  await direct[Symbol.asyncDispose]();
  await gateway[Symbol.asyncDispose]();
});
