// What a gateway keeps when clients come, go, stall and flood: nothing, and never more than a bound.

import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { query } from "@custody/wire/postgres/frontend.ts";
import type { Group } from "./checks.ts";
import { openPlain, openSession } from "./raw-client.ts";
import { hangUp, type Subject, until, usageOf } from "./world.ts";

const MIB = 1 << 20;
const CYCLES = 500;
const LANES = 5;
const WARM_UP = 100;
/** Of both: caches that fill and the collector's leisure included. */
const MAX_GROWTH_BYTES = 48 * MIB;
const MAX_STALLED_BYTES = 120 * MIB;
const MAX_FLOODED_BYTES = 256 * MIB;
const MAX_EXTRA_FILES = 8;

async function cycle(subject: Subject, count: number): Promise<void> {
  const lane = async (own: number) => {
    for (let index = 0; index < own; index++) {
      // Three ways to come and go: as one should, without a word, without signing in.
      if (index % 3 === 0) {
        const client = await subject.connect();
        await client.query("select count(*) from items");
        await hangUp(client);
      } else if (index % 3 === 1) {
        const raw = await openSession(subject);
        raw.socket.destroy();
      } else {
        const plain = await openPlain(subject.gateway.postgres);
        plain.socket.resetAndDestroy();
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, () => lane(Math.ceil(count / LANES))));
}

/** See PUBLISH_EVERY_MS in the gateway's composition. */
const PUBLISHED_EVERY_MS = 1_000;

/** Nothing of the sessions is under way any more, the moving of their content to its files included. */
async function quiet(subject: Subject): Promise<void> {
  await until("no role is left", async () => (await subject.roles()).length === 0, 20_000);
  await delay(2 * PUBLISHED_EVERY_MS);
}

/** Others work while this one misbehaves. */
async function lively(subject: Subject): Promise<void> {
  const client = await subject.connect();
  const startedMs = Date.now();
  for (let count = 0; count < 20; count++) await client.query("select count(*) from items");
  assert.ok(Date.now() - startedMs < 5000, "others are kept waiting");
  await hangUp(client);
}

export const leaks: Group = {
  name: "leaks",
  checks: [
    {
      name: `${CYCLES} sessions that come and go leave no socket, no role and no memory`,
      async run(world) {
        await using subject = await world.subject();
        await cycle(subject, WARM_UP);
        await quiet(subject);
        const before = usageOf(subject.gateway.pid);
        await cycle(subject, CYCLES);
        await quiet(subject);
        await until(
          "the sockets are closed",
          () => usageOf(subject.gateway.pid).files <= before.files + MAX_EXTRA_FILES,
        );
        const grown = usageOf(subject.gateway.pid).residentBytes - before.residentBytes;
        console.log(`         memory: ${Math.round(grown / MIB)} MiB more`);
        assert.ok(grown < MAX_GROWTH_BYTES, `${Math.round(grown / MIB)} MiB more than before`);
      },
    },
    {
      name: "readers that stall on 100 MB keep the gateway's memory bounded and others lively",
      async run(world) {
        await using subject = await world.subject();
        await lively(subject);
        const before = usageOf(subject.gateway.pid);
        const stalled = await Promise.all([1, 2, 3].map(() => openSession(subject)));
        for (const { socket } of stalled) {
          socket.write(query("select payload from large"));
          socket.pause();
        }
        await delay(1500);
        await lively(subject);
        const held = usageOf(subject.gateway.pid).residentBytes - before.residentBytes;
        console.log(`         memory: ${Math.round(held / MIB)} MiB more`);
        assert.ok(held < MAX_STALLED_BYTES, `${Math.round(held / MIB)} MiB more than before`);
        for (const { socket } of stalled) socket.destroy();
        await quiet(subject);
      },
    },
    {
      name: "a client that floods and reads nothing is made to wait",
      async run(world) {
        await using subject = await world.subject({
          // Garbage is left lying while there is room; what a session keeps must fit into little.
          env: { NODE_OPTIONS: "--max-old-space-size=160 --max-semi-space-size=8" },
        });
        await lively(subject);
        const before = usageOf(subject.gateway.pid);
        const { socket } = await openSession(subject);
        socket.pause();
        const block = Buffer.concat(Array.from({ length: 5000 }, () => query("select 1 as one")));
        socket.on("drain", () => socket.write(block));
        socket.write(block);
        await until(
          "the flood stands still",
          async () => {
            const taken = world.executed().length;
            await delay(1000);
            return world.executed().length === taken;
          },
          30_000,
        );
        await lively(subject);
        const held = usageOf(subject.gateway.pid).residentBytes - before.residentBytes;
        console.log(`         memory: ${Math.round(held / MIB)} MiB more`);
        assert.ok(held < MAX_FLOODED_BYTES, `${Math.round(held / MIB)} MiB more than before`);
        // It was made to wait, not ended: when it reads, it has every answer up to where it is.
        assert.ok(!socket.destroyed && socket.writableLength > 0, "the session was ended");
        socket.destroy();
        await quiet(subject);
      },
    },
  ],
};
