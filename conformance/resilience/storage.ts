// What the gateway writes to: a store that somebody locks, a disk that is full or cannot be written. It
// says so, goes on where it may, and stops rather than forward what it cannot record (I7).

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import type { Group } from "./checks.ts";
import { ask, askAt } from "./https-client.ts";
import { intentsWithoutEnd, sessionsWithoutEnd } from "./leaves.ts";
import { assertNoInsides } from "./raw-client.ts";
import { hangUp, type Subject, until, type World } from "./world.ts";

const EXIT_NOTHING_MAY_GO_ON = 70;

interface SmallDisk extends Disposable {
  readonly folder: string;
  /** Leaves so many bytes free. */
  fill(free: number): void;
  empty(): void;
  readOnly(is: boolean): void;
}

/** A file system of its own; a text when this machine does not let us have one. */
function mountSmallDisk(world: World, name: string, mebibytes: number): SmallDisk | string {
  if (process.getuid?.() !== 0) return "a small file system needs root";
  const folder = join(world.folder, name);
  mkdirSync(folder);
  const mount = (...args: string[]) => spawnSync("mount", args, { encoding: "utf8" });
  const done = mount("-t", "tmpfs", "-o", `size=${mebibytes}m`, "custody-test", folder);
  if (done.status !== 0) return `mount: ${done.stderr.trim()}`;
  const filler = join(folder, "filler");
  return {
    folder,
    fill(free) {
      const left = spawnSync("df", ["--output=avail", "-B1", folder], { encoding: "utf8" });
      const bytes = Number(left.stdout.trim().split("\n").at(-1));
      writeFileSync(filler, Buffer.alloc(Math.max(0, bytes - free)));
    },
    empty: () => rmSync(filler, { force: true }),
    readOnly(is) {
      const set = mount("-o", `remount,${is ? "ro" : "rw"}`, folder);
      if (set.status !== 0) throw new Error(set.stderr);
    },
    [Symbol.dispose]() {
      spawnSync("umount", ["-l", folder]);
    },
  };
}

/** Inserts until the session ends; gives what was acknowledged. */
async function insertUntilEnd(subject: Subject, name: string): Promise<string[]> {
  const acknowledged: string[] = [];
  try {
    const client = await subject.connect();
    for (;;) {
      const id = `${name}-${acknowledged.length}`;
      await client.query(insertOf(id));
      acknowledged.push(id);
    }
  } catch {
    return acknowledged;
  }
}

function insertOf(id: string): string {
  return `insert into marks (id, round) values ('${id}', -1) /* ${"x".repeat(2000)} */`;
}

async function refusedBy(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await work;
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error("it was not refused");
}

export const storage: Group = {
  name: "storage",
  checks: [
    {
      name: "a locked store: live sessions go on, what needs it is refused and works again later",
      async run(world) {
        await using subject = await world.subject();
        const client = await subject.connect();
        const leaving = await subject.connect();
        const other = new DatabaseSync(join(subject.gateway.dataFolder, "custody.db"));
        other.exec("PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE");
        const roles = await subject.roles();
        const refused = await refusedBy(subject.connect());
        assert.equal(refused.code, "58000", refused.message);
        assert.match(refused.message, /store is locked/);
        assertNoInsides(refused.message);
        assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
        await hangUp(leaving);
        const { adminUrl, caFile } = subject.gateway;
        const get = { method: "GET", headers: {}, body: undefined };
        assert.equal((await askAt(`${adminUrl}/healthz`, caFile, get)).status, 200);
        other.exec("ROLLBACK");
        other.close();
        await hangUp(await subject.connect());
        await hangUp(client);
        assert.equal(roles.length, 2);
        await until("no role is left", async () => (await subject.roles()).length === 0);
        await until("no session is listed as live", async () => {
          const { body } = await ask(subject, "/v1/sessions?state=live");
          return (body as { sessions: unknown[] }).sessions.length === 0;
        });
      },
    },
    {
      name: "a data folder that cannot be written: it does not start and says why",
      async run(world) {
        const disk = mountSmallDisk(world, "disk-read-only", 64);
        if (typeof disk === "string") return disk;
        using _mounted = disk;
        await using subject = await world.subject({
          folder: join(disk.folder, "gateway"),
          limits: { journalSegmentBytes: "1MiB" },
        });
        await subject.gateway.process.stop();
        disk.readOnly(true);
        const failed = await refusedBy(subject.restart());
        assert.match(failed.message, /it ended with [1-9]/);
        assert.match(failed.message, /cannot be (written|opened|made)|read-only/i);
        assert.doesNotMatch(failed.message, /node:internal/);
        disk.readOnly(false);
        await subject.restart();
        await hangUp(await subject.connect());
        return undefined;
      },
    },
    {
      name: "a disk that fills under load: the gateway stops, nothing ran without its intent",
      async run(world) {
        const disk = mountSmallDisk(world, "disk-full", 64);
        if (typeof disk === "string") return disk;
        using _mounted = disk;
        await using subject = await world.subject({
          folder: join(disk.folder, "gateway"),
          limits: { journalSegmentBytes: "1MiB" },
        });
        const work = ["full-a", "full-b", "full-c"].map((name) => insertUntilEnd(subject, name));
        await delay(300);
        disk.fill(1_300_000);
        const acknowledged = (await Promise.all(work)).flat();
        assert.equal(await subject.gateway.process.exited, EXIT_NOTHING_MAY_GO_ON);
        assert.match(subject.gateway.output(), /journal|disk|log/);
        disk.empty();
        await subject.restart();
        const leaves = await subject.verify();
        const intents = new Set(
          leaves.filter(({ event }) => event === "command.intent").map(({ command }) => command),
        );
        const rows = await world.server.query("test", "select id from marks where round = -1");
        const written = new Set(rows.map(({ id }) => String(id)));
        for (const id of written)
          assert.ok(intents.has(commandDigest(insertOf(id))), `${id} has no intent`);
        assert.deepEqual(
          acknowledged.filter((id) => !written.has(id)),
          [],
        );
        assert.deepEqual(intentsWithoutEnd(leaves), []);
        assert.deepEqual(sessionsWithoutEnd(leaves), []);
        await hangUp(await subject.connect());
        return undefined;
      },
    },
  ],
};
