// PostgreSQL's own programs of the replication protocol, unmodified: pg_basebackup, pg_receivewal, pg_recvlogical.
// Through the gateway they give what they give directly: a backup that verifies and starts as a server, the log byte
// by byte, the same changes. Denied they say why, revoked they end, and nothing is left on the server.

import { strictEqual } from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { verifiedLeaves } from "../resilience/leaves.ts";
import { serverAccount } from "../support/postgres-binaries.ts";
import { type Case, type Client, runCases, type Tally } from "./cases.ts";
import type { Peer } from "./peers.ts";
import { debianServer, openReplicationStage, type ReplicationStage } from "./replication-stage.ts";

const NOTHING_LEFT = { senders: 0, slots: 0 };
export const REPLICATION = "replication programs";

export async function runReplication(): Promise<Tally> {
  const binaries = debianServer();
  if (binaries === undefined) {
    console.log(`skipped  ${REPLICATION} (Debian's package postgresql is not installed)`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
  await using stage = await openReplicationStage(binaries);
  const client: Client = {
    name: `${REPLICATION} of ${stage.server.version}`,
    unavailable: () => undefined,
    cases: [...backups(stage, binaries), ...streams(stage), ...refusals(stage)],
  };
  return await runCases([client], stage);
}

function backups(stage: ReplicationStage, binaries: string): Case[] {
  const backup = (
    name: string,
    args: readonly string[],
    unpack: (folder: string) => string,
  ): Case => ({
    name: `pg_basebackup, ${name}`,
    async run(peer) {
      const folder = stage.folder();
      const common = ["--pgdata", folder, "--checkpoint=fast", "--no-sync", "--label=suite"];
      const { code, stderr } = await stage.run(peer, "pg_basebackup", ...common, ...args);
      const data = unpack(folder);
      const verified = await stage.run(peer, "pg_verifybackup", "--no-parse-wal", data);
      return {
        ...{ code, stderr, verified: [verified.code, verified.stderr] },
        files: filesOf(folder),
        rows: rowsOf(binaries, data),
        left: await stage.left(),
      };
    },
  });
  const asItIs = (folder: string) => folder;
  return [
    backup("its log streamed beside it", ["-X", "stream"], asItIs),
    backup(
      "its log fetched, compressed on the server",
      ["-X", "fetch", "--compress=server-gzip"],
      asItIs,
    ),
    backup("as an archive", ["-F", "tar", "-X", "stream", "-z"], unpacked),
    backup(
      "as an archive of the server's making",
      ["-F", "tar", "-X", "fetch", "--compress=server-gzip:1"],
      unpacked,
    ),
  ];
}

/** Into a folder beside the archives, as whoever runs servers. */
function unpacked(folder: string): string {
  const data = join(folder, "data");
  const run = (command: string, ...args: string[]) =>
    spawnSync(command, args, { ...serverAccount(), cwd: folder, encoding: "utf8" });
  run("mkdir", "-m", "700", data);
  run("tar", "-xf", "base.tar.gz", "-C", data);
  const isApart = readdirSync(folder).includes("pg_wal.tar.gz");
  if (isApart) run("tar", "-xf", "pg_wal.tar.gz", "-C", join(data, "pg_wal"));
  run("cp", "backup_manifest", data);
  return data;
}

/** Names alone, and none of what counts up between two backups; what is in them the manifest says. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => !/(^|\/)(pg_wal\/|pg_stat|pg_snapshots)/.test(name))
    .sort();
}

/** Of a server that begins with it, in one process and on no port. */
function rowsOf(binaries: string, data: string): unknown {
  const args = ["--single", "-D", data, "-c", "ssl=off", "-c", "log_min_messages=fatal", "test"];
  const options = {
    ...serverAccount(),
    cwd: data,
    encoding: "utf8",
    env: { LC_ALL: "C" },
  } as const;
  const input = "select count(*) as rows, min(name) as least, max(name) as most from items\n";
  const { stdout, stderr, status } = spawnSync(join(binaries, "bin", "postgres"), args, {
    ...{ ...options, input, timeout: 60_000 },
  });
  return { status, stderr, values: stdout.match(/= "[^"]*"/g) };
}

function streams(stage: ReplicationStage): Case[] {
  return [
    {
      name: "pg_receivewal, the log of the server byte by byte",
      run: (peer) => received(stage, peer, []),
    },
    {
      name: "pg_receivewal, compressed and synchronous",
      run: (peer) => received(stage, peer, ["--compress=gzip:1", "--synchronous"]),
    },
    {
      name: "pg_recvlogical, test_decoding",
      run: (peer) =>
        changes(stage, peer, "test_decoding", ["-o", "include-xids=0"], (bytes) =>
          bytes.toString().split("\n"),
        ),
    },
    {
      name: "pg_recvlogical, pgoutput",
      run: (peer) =>
        changes(
          stage,
          peer,
          "pgoutput",
          ["-o", "proto_version=1", "-o", "publication_names=items"],
          // Without transactions' ids, places and times.
          (bytes) =>
            [...bytes.toString("latin1").matchAll(/public\0items\0|changed \d+/g)].map(String),
        ),
    },
  ];
}

async function position(stage: ReplicationStage): Promise<string> {
  const [row] = await stage.server.query("test", "select pg_current_wal_flush_lsn()::text as lsn");
  return String(row?.lsn);
}

async function received(
  stage: ReplicationStage,
  peer: Peer,
  more: readonly string[],
): Promise<unknown> {
  const folder = stage.folder();
  const slot = ["--slot=suite"];
  const made = await stage.run(peer, "pg_receivewal", "--create-slot", ...slot);
  const sql = "select pg_walfile_name(restart_lsn) as name from pg_replication_slots";
  const [before] = await stage.server.query(
    "test",
    "select pg_walfile_name(pg_current_wal_lsn()) as name",
  );
  strictEqual((await stage.server.query("test", sql)).length, 1);
  await stage.server.query(
    "test",
    "update items set name = name where id < 100; select pg_switch_wal()",
  );
  const end = await position(stage);
  // It ends behind the position, so there has to be something.
  await stage.server.query("test", "update items set name = name where id < 10");
  const args = ["-D", folder, ...slot, `--endpos=${end}`, "--no-loop", ...more];
  const ran = await stage.run(peer, "pg_receivewal", ...args);
  const name = String(before?.name);
  const found = readdirSync(folder).find(
    (one) => one.startsWith(name) && !one.endsWith(".partial"),
  );
  const bytes = found === undefined ? Buffer.alloc(0) : readFileSync(join(folder, found));
  const hash = (of: Buffer) => createHash("sha256").update(of).digest("hex");
  const own = readFileSync(join(stage.server.dataFolder, "pg_wal", name));
  const dropped = await stage.run(peer, "pg_receivewal", "--drop-slot", ...slot);
  return {
    ...{ made, code: ran.code, dropped },
    stderr: ran.stderr.replaceAll(/\b[0-9A-F]{24}\b/g, "segment"),
    equal: hash(found?.endsWith(".gz") ? gunzipSync(bytes) : bytes) === hash(own),
    left: await stage.left(),
  };
}

async function changes(
  stage: ReplicationStage,
  peer: Peer,
  plugin: string,
  options: readonly string[],
  read: (bytes: Buffer) => readonly string[],
): Promise<unknown> {
  const common = ["--slot=suite", "--dbname=test"];
  const output = join(stage.folder(), "changes");
  const made = await stage.run(peer, "pg_recvlogical", "--create-slot", "-P", plugin, ...common);
  for (const sql of [
    "update items set name = 'changed 1' where id = 1; delete from items where id = 1",
    "begin; insert into items values (1, 'item 1'); update items set name = 'changed 2' where id = 2; commit",
    "update items set name = 'item 2' where id = 2",
  ])
    await stage.server.query("test", sql);
  const args = ["--start", "-f", output, `--endpos=${await position(stage)}`, "--no-loop"];
  const ran = await stage.run(peer, "pg_recvlogical", ...common, ...args, ...options);
  const dropped = await stage.run(peer, "pg_recvlogical", "--drop-slot", ...common);
  return { made, ran, dropped, changes: read(readFileSync(output)), left: await stage.left() };
}

/** There is nothing to compare with: what must come out is said. */
function alone(name: string, expected: unknown, run: () => Promise<unknown>): Case {
  return { name, run: async (peer) => (peer.name === "direct" ? expected : await run()) };
}

/** pg_receivewal takes a folder that is there, the others make what they write to. */
function placeIn(folder: string, program: string): string {
  return program === "pg_receivewal" ? folder : join(folder, "made");
}

const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  pg_basebackup: ["--checkpoint=fast", "--no-sync", "-D"],
  pg_receivewal: ["--no-loop", "-D"],
  pg_recvlogical: ["--create-slot", "-P", "test_decoding", "--slot=suite", "--dbname=test", "-f"],
};

function refusals(stage: ReplicationStage): Case[] {
  const denied = Object.entries(PROGRAMS).map(([program, args]) =>
    alone(
      `${program}, denied, says why in one line`,
      { code: 1, said: true, lines: 1, files: [], left: NOTHING_LEFT },
      async () => {
        const { peer } = await stage.delegate("sql:read", "*");
        const folder = stage.folder();
        const { code, stderr } = await stage.run(peer, program, ...args, placeIn(folder, program));
        const said = stderr.split("\n").filter((line) => line.includes("Custody denied replicate"));
        const lines = said.length;
        const files = readdirSync(folder);
        return {
          code,
          said: /nothing|grant/.test(said[0] ?? ""),
          lines,
          files,
          left: await stage.left(),
        };
      },
    ),
  );
  return [...denied, ...revocations(stage), recordedCase(stage)];
}

/** pg_basebackup takes any error within its data for their end, and says that. */
const REVOKED = /the delegation of this session was revoked|COPY stream ended before/;

function revocations(stage: ReplicationStage): Case[] {
  const cases: Readonly<Record<string, readonly string[]>> = {
    pg_basebackup: ["--checkpoint=fast", "--no-sync", "-X", "none", "--max-rate=32"],
    pg_receivewal: ["--no-loop", "--slot=suite"],
    pg_recvlogical: ["--start", "--no-loop", "--slot=suite", "--dbname=test"],
  };
  return Object.entries(cases).map(([program, args]) =>
    alone(
      `${program}, revoked in the middle, ends`,
      { isOver: true, said: true, left: NOTHING_LEFT },
      async () => {
        const { peer, revoke } = await stage.delegate("sql:replicate,sql:read", "*");
        if (program === "pg_receivewal")
          await stage.server.query("test", "select pg_create_physical_replication_slot('suite')");
        if (program === "pg_recvlogical")
          await stage.server.query(
            "test",
            "select pg_create_logical_replication_slot('suite', 'test_decoding')",
          );
        const to = program === "pg_recvlogical" ? "-f" : "-D";
        const place = placeIn(stage.folder(), program);
        const running = stage.start(peer, program, ...args, to, place);
        await streaming(stage);
        await revoke();
        const { code, stderr } = await running.ended();
        await stage.left();
        if (program !== "pg_basebackup")
          await stage.server.query("test", "select pg_drop_replication_slot('suite')");
        return {
          isOver: code === 1,
          said: REVOKED.test(stderr) || stderr,
          left: await stage.left(),
        };
      },
    ),
  );
}

/** A walsender is in the middle of something. */
async function streaming(stage: ReplicationStage): Promise<void> {
  const sql = "select state from pg_stat_replication where state in ('backup', 'streaming')";
  for (let left = 600; left > 0; left--) {
    if ((await stage.server.query("test", sql)).length > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("nothing is streamed");
}

/** After all others: every kind of command is in the log, with its effect and its end. */
function recordedCase(stage: ReplicationStage): Case {
  const expected = {
    server: ["sql:replicate standby/*"],
    database: ["sql:replicate standby/test"],
    streamed: true,
    denied: true,
  };
  return alone("what they did is in the log", expected, async () => {
    const leaves = await verifiedLeaves(stage.process.dataFolder);
    const effects = new Set(
      leaves.flatMap((leaf) => (leaf.event === "command.intent" ? (leaf.effects ?? []) : [])),
    );
    const ends = leaves.filter(({ event }) => event === "command.outcome");
    return {
      server: [...effects].filter((one) => one.endsWith("/*")),
      database: [...effects].filter((one) => one === "sql:replicate standby/test"),
      streamed: ends.some(({ bytes, outcome }) => outcome === "ok" && (bytes ?? 0) > 16 << 20),
      denied: leaves.some(({ event }) => event === "command.denied"),
    };
  });
}
