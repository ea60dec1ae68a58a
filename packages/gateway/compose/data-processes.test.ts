// The gateway as it is shipped, with its data side in two processes: what one process does for its own
// sessions has to hold for those of the others, and when one of the processes is killed.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type pg from "pg";
import { Agent, request } from "undici";
import { type LiveStage, openLiveStage } from "../../../bench/live-stage.ts";
import {
  intentsWithoutEnd,
  type Leaf,
  sessionsWithoutEnd,
  verifiedLeaves,
} from "../../../conformance/resilience/leaves.ts";
import { restartGateway } from "../../../conformance/support/gateway.ts";

const WORKERS = 2;
const SESSIONS = 6;

test("two data processes share clients, policies, cancels, revocations and the log", async (t) => {
  await using stage = await openLiveStage({ sessions: 20, depth: 2, workers: WORKERS });
  const [above, below] = stage.hops;
  assert.ok(above !== undefined && below !== undefined);

  await t.test("sessions are spread over both", async () => {
    assert.equal(dataProcesses(stage).length, WORKERS);
    const before = dataProcesses(stage).map(connections);
    await using clients = await connected(stage, below.handle);
    const sizes = dataProcesses(stage).map((pid, at) => connections(pid) - (before[at] ?? 0));
    assert.ok(Math.min(...sizes) >= 2, `sockets by process: ${sizes}`);
    for (const client of clients.all)
      assert.equal((await client.query("select count(*)::int as n from counters")).rows[0].n, 20);
  });

  await t.test("a cancel finds its session in whichever process it is", async () => {
    await using clients = await connected(stage, below.handle);
    const slow = clients.all.map((client) => client.query("select pg_sleep(20)"));
    const codes = slow.map((one) =>
      one.then(
        () => "ended",
        (error) => String(error.code),
      ),
    );
    await delay(300);
    for (const client of clients.all) cancel(stage, client, below.handle);
    assert.deepEqual(
      await Promise.all(codes),
      clients.all.map(() => "57014"),
    );
  });

  await t.test("a changed policy holds for open sessions of both", async () => {
    await using clients = await connected(stage, below.handle);
    for (const client of clients.all) await client.query("select value from counters where id = 1");
    const policies = join(dirname(stage.gateway.configFile), "policies");
    writeFileSync(
      join(policies, "frozen.cedar"),
      `@id("frozen") @message("frozen for now")
       forbid (principal, action in SQL::Action::"read", resource == SQL::Table::"bench/bench/public/counters");`,
    );
    await until(async () => /policies version/.test(stage.gateway.output()));
    for (const client of clients.all)
      await assert.rejects(client.query("select value from counters where id = 1"), {
        code: "42501",
      });
    writeFileSync(
      join(policies, "frozen.cedar"),
      `@id("frozen") forbid (principal, action in SQL::Action::"read", resource == SQL::Table::"bench/bench/public/other");`,
    );
    for (const client of clients.all)
      await until(() =>
        client.query("select value from counters where id = 1").then(
          () => true,
          () => false,
        ),
      );
  });

  await t.test("metrics and readiness are of all of them", async () => {
    const agent = new Agent({ connect: { ca: readFileSync(stage.gateway.caFile, "utf8") } });
    const page = async (path: string) => {
      const url = `${stage.gateway.adminUrl}${path}`;
      return await (await request(url, { dispatcher: agent })).body.text();
    };
    assert.equal(JSON.parse(await page("/readyz")).checks.listeners, true);
    const permitted = async () =>
      Number(/custody_commands_total\{verdict="permit"\} (\d+)/.exec(await page("/metrics"))?.[1]);
    const before = await permitted();
    await using clients = await connected(stage, below.handle);
    for (const client of clients.all) await client.query("select 1");
    await until(async () => (await permitted()) >= before + SESSIONS);
    await agent.close();
  });

  await t.test(
    "a killed one takes its sessions, not the others', and is started again",
    async () => {
      await using clients = await connected(stage, below.handle);
      const [killed] = dataProcesses(stage);
      assert.ok(killed !== undefined);
      const lost: pg.Client[] = [];
      for (const client of clients.all) client.on("end", () => lost.push(client));
      const writes = clients.all.map((client, index) =>
        client
          .query(
            `update counters set value = value + 1, id = id where id = ${index + 1} and pg_sleep(1.5) is not null`,
          )
          .then(
            () => "done",
            () => "lost",
          ),
      );
      await delay(400);
      process.kill(killed, "SIGKILL");
      const ends = await Promise.all(writes);
      const lostWrites = ends.filter((end) => end === "lost").length;
      assert.ok(lostWrites > 0 && lostWrites < SESSIONS, `${lostWrites} of ${SESSIONS} were lost`);
      await until(async () => lost.length === lostWrites);
      const left = clients.all.filter((client) => !lost.includes(client));
      for (const client of left) assert.equal((await client.query("select 1 as n")).rows[0].n, 1);
      await until(async () => dataProcesses(stage).length === WORKERS);
      await until(async () => /was started again/.test(stage.gateway.output()));
      // Said at once, while the gateway runs: nobody waits for the next start.
      await until(async () => (await named(stage, "command.indeterminate")).length === lostWrites);
      await using others = await connected(stage, below.handle);
      for (const client of others.all) await client.query("select 1");
    },
  );

  await t.test("a revocation ends sessions in both, and what they run", async () => {
    await using clients = await connected(stage, below.handle);
    const running = clients.all.map((client) =>
      client.query("select pg_sleep(120)").then(
        () => "ended",
        (error) => String(error.code ?? "closed"),
      ),
    );
    await delay(300);
    await stage.custody("revoke", above.id);
    const codes = await Promise.all(running);
    assert.ok(!codes.includes("ended"), String(codes));
    await until(async () => {
      const [row] = await stage.postgres.query(
        "bench",
        "select count(*)::int as n from pg_stat_activity where usename like 'custody%' and state = 'active'",
      );
      return Number(row?.n) === 0;
    });
  });

  await t.test(
    "the log is whole, and each session's records are between its beginning and end",
    async () => {
      await stage.gateway.process.stop();
      const leaves = await verifiedLeaves(stage.gateway.dataFolder);
      assert.deepEqual(intentsWithoutEnd(leaves), []);
      assert.deepEqual(sessionsWithoutEnd(leaves), []);
      const workers = new Set(
        leaves.filter(({ event }) => event === "command.intent").map(({ worker }) => worker),
      );
      assert.deepEqual([...workers].sort(), [1, 2]);
    },
  );
});

test("without its control process a data process ends its sessions and itself", async () => {
  await using stage = await openLiveStage({ sessions: 20, depth: 1, workers: WORKERS });
  const handle = stage.hops[0]?.handle ?? "";
  await using clients = await connected(stage, handle);
  const processes = dataProcesses(stage);
  const told = clients.all.map((client) =>
    client.query("update counters set value = 2 where id = 1 and pg_sleep(30) is not null").then(
      () => "ended",
      (error) => String(error.message),
    ),
  );
  await delay(400);
  process.kill(stage.gateway.pid, "SIGKILL");
  const messages = await Promise.all(told);
  assert.ok(
    messages.every((message) => /gateway is stopping|terminated/.test(message)),
    String(messages),
  );
  await until(async () => processes.every((pid) => !isAlive(pid)));

  // One process the next time: what the two left in their journals is ended, and in the log.
  await using again = await restartGateway(dirname(stage.gateway.configFile));
  await again.process.stop();
  const leaves = await verifiedLeaves(stage.gateway.dataFolder);
  assert.deepEqual(intentsWithoutEnd(leaves), []);
  assert.deepEqual(sessionsWithoutEnd(leaves), []);
  const ended = leaves.filter(
    ({ event, outcome }) =>
      event === "command.indeterminate" ||
      (event === "command.outcome" && outcome === "disconnected"),
  );
  assert.equal(ended.length, SESSIONS);
});

async function connected(stage: LiveStage, handle: string) {
  const all: pg.Client[] = [];
  for (let at = 0; at < SESSIONS; at++) {
    const client = stage.client(handle);
    client.on("error", () => undefined);
    await client.connect();
    all.push(client);
  }
  return {
    all,
    async [Symbol.asyncDispose]() {
      await Promise.allSettled(all.map((client) => client.end()));
    },
  };
}

/** As node-postgres sends it: on a connection of its own, to the port all processes share. */
function cancel(stage: LiveStage, client: pg.Client, handle: string): void {
  const canceller = stage.client(handle) as pg.Client & {
    cancel(client: pg.Client, query: unknown): void;
  };
  const { _activeQuery } = client as unknown as { readonly _activeQuery: unknown };
  canceller.cancel(client, _activeQuery);
}

function dataProcesses(stage: LiveStage): readonly number[] {
  const { pid } = stage.gateway;
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .split(" ")
    .map(Number)
    .filter((child) => child > 0 && command(child).includes("data-process"));
}

function command(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

function isAlive(pid: number): boolean {
  return command(pid) !== "";
}

/** Established connections a process holds, to clients and to the target. */
function connections(pid: number): number {
  const own = new Set(socketsOf(pid));
  return readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === "01" && own.has(inode ?? "")).length;
}

function socketsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
    } catch {
      return [];
    }
  });
}

async function named(stage: LiveStage, event: Leaf["event"]): Promise<readonly Leaf[]> {
  const leaves = await verifiedLeaves(stage.gateway.dataFolder).catch(() => []);
  return leaves.filter((leaf) => leaf.event === event);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadlineMs, "it took too long");
    await delay(50);
  }
}
