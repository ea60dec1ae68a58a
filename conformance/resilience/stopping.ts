// How a gateway ends and begins: in order, with grace, beside another one, and what it does with sessions
// that are idle or outlive the time-outs of their beginning.

import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import type pg from "pg";
import type { Group } from "./checks.ts";
import { intentsWithoutEnd, sessionsWithoutEnd } from "./leaves.ts";
import { hangUp, type Subject, until } from "./world.ts";

/** The SQLSTATE a session ends with. */
function endOf(client: pg.Client): Promise<string | undefined> {
  return new Promise((resolve) => {
    client.once("error", (error) => resolve((error as { code?: string }).code));
  });
}

async function stop(subject: Subject): Promise<number> {
  process.kill(subject.gateway.pid, "SIGTERM");
  return await subject.gateway.process.exited;
}

/** Something that runs for about this long, without a function that a policy would ask about. */
function longQuery(seconds: number): string {
  return `select pg_sleep(${seconds})`;
}

async function assertClean(subject: Subject): Promise<void> {
  const leaves = await subject.verify();
  assert.deepEqual(intentsWithoutEnd(leaves), []);
  assert.deepEqual(sessionsWithoutEnd(leaves), []);
  assert.deepEqual(await subject.roles(), []);
}

export const stopping: Group = {
  name: "stopping",
  checks: [
    {
      name: "SIGTERM: idle sessions get 57P01, exit code 0, nothing is left, it starts again",
      async run(world) {
        await using subject = await world.subject();
        const clients = await Promise.all([1, 2, 3, 4].map(() => subject.connect()));
        for (const client of clients) await client.query("select count(*) from items");
        const ends = clients.map(endOf);
        assert.equal(await stop(subject), 0);
        assert.deepEqual(await Promise.all(ends), ["57P01", "57P01", "57P01", "57P01"]);
        await assertClean(subject);
        const leaves = await subject.verify();
        assert.equal(leaves.at(-1)?.event, "gateway.stopped");
        await subject.restart();
        const again = await subject.connect();
        assert.equal((await again.query("select 1 as one")).rows[0].one, 1);
        await hangUp(again);
      },
    },
    {
      name: "SIGTERM: what runs may finish within the grace",
      async run(world) {
        await using subject = await world.subject({ limits: { shutdownGrace: "8s" } });
        const client = await subject.connect();
        const end = endOf(client);
        const running = client.query(longQuery(1));
        await delay(300);
        const stopped = stop(subject);
        assert.equal((await running).rows.length, 1);
        assert.equal(await end, "57P01");
        assert.equal(await stopped, 0);
        const outcome = (await subject.verify()).find(({ event }) => event === "command.outcome");
        assert.equal(outcome?.outcome, "ok");
      },
    },
    {
      name: "SIGTERM: what does not finish within the grace is ended, on the target too",
      async run(world) {
        await using subject = await world.subject({ limits: { shutdownGrace: "1s" } });
        const client = await subject.connect();
        const running = client.query(longQuery(60)).then(
          () => undefined,
          (error: { code?: string }) => error.code,
        );
        await delay(300);
        const startedMs = Date.now();
        assert.equal(await stop(subject), 0);
        assert.ok(Date.now() - startedMs < 8000, "it took longer than the grace");
        assert.equal(await running, "57P01");
        await until("the target's backend is gone", async () => {
          const [row] = await world.server.query(
            "test",
            "select count(*)::int as n from pg_stat_activity where usename like 'custody\\_______\\_%'",
          );
          return row?.n === 0;
        });
        await assertClean(subject);
      },
    },
    {
      name: "SIGTERM in the middle of signing in ends the sign-in and leaves no role",
      async run(world) {
        await using subject = await world.subject({ limits: { startupTimeout: "60s" } });
        const silent = Array.from({ length: 20 }, () => subject.connect().catch(() => undefined));
        await delay(60);
        const startedMs = Date.now();
        assert.equal(await stop(subject), 0);
        assert.ok(Date.now() - startedMs < 10_000, "it waited for sign-ins");
        await Promise.all(silent);
        await assertClean(subject);
      },
    },
    {
      name: "two gateways on one target leave each other's roles alone",
      async run(world) {
        await using one = await world.subject();
        const client = await one.connect();
        const before = await one.roles();
        assert.equal(before.length, 1);
        await using other = await world.subject();
        await other.kill();
        await other.restart();
        assert.deepEqual(await one.roles(), before);
        assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
        await hangUp(client);
      },
    },
    {
      name: "an idle session ends with 57P05, one that waits for an answer does not",
      async run(world) {
        await using subject = await world.subject({ limits: { sessionIdle: "1s" } });
        const idle = await subject.connect();
        const busy = await subject.connect();
        const end = endOf(idle);
        const running = busy.query(longQuery(4));
        assert.equal(await end, "57P05");
        assert.equal((await running).rows.length, 1);
        await hangUp(busy);
      },
    },
    {
      name: "a session outlives the time-outs of its beginning",
      async run(world) {
        await using subject = await world.subject({
          limits: { startupTimeout: "1s", targetConnectTimeout: "1s" },
        });
        const clients = await Promise.all(Array.from({ length: 8 }, () => subject.connect()));
        await delay(2500);
        for (const client of clients) {
          assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
          await hangUp(client);
        }
      },
    },
  ],
};
