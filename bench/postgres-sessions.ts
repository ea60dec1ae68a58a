// What sessions cost: the memory of those that idle, and a plain read as chains get longer.

import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type pg from "pg";
import { openLiveStage } from "./live-stage.ts";
import { type Measured, pgbench, residentBytes } from "./pgbench.ts";
import { median, type Row } from "./rows.ts";
import { BENCH_DATABASE } from "./stage.ts";

/** Connections at once while sessions are opened. */
const OPENING = 16;
/** Until the collector has been, and what sign-in needed is gone. */
const SETTLE_MS = 10_000;
const WARM_UP = 200;

/** The statement each has run is the one that fills its caches; then all are still. */
export async function benchIdle(options: {
  readonly sessions: number;
  readonly workers: number;
}): Promise<Row[]> {
  const { sessions, workers } = options;
  await using stage = await openLiveStage({ sessions: sessions + WARM_UP, depth: 2, workers });
  const handle = stage.hops[1]?.handle ?? "";
  const { pid } = stage.gateway;
  const warm = await openAll(WARM_UP, () => stage.client(handle));
  await Promise.all(warm.map((client) => client.end()));
  await delay(SETTLE_MS);
  const before = residentBytes(pid);
  const clients = await openAll(sessions, () => stage.client(handle));
  const opened = residentBytes(pid);
  await delay(SETTLE_MS);
  const after = residentBytes(pid);
  await Promise.all(clients.map((client) => client.end()));
  const row = (name: string, bytes: number): Row => ({
    name: `${sessions} sessions: ${name}`,
    unit: "KiB",
    value: bytes / 1024 / sessions,
    against: `a gateway without any, ${(before / 2 ** 20).toFixed(0)} MiB`,
    ratio: (before + bytes) / before,
    runs: 1,
  });
  return [
    row("memory of one that idles", after - before),
    row("memory of one just opened", opened - before),
  ];
}

async function openAll(count: number, make: () => pg.Client): Promise<readonly pg.Client[]> {
  const clients = Array.from({ length: count }, make);
  const waiting = [...clients];
  const open = async (): Promise<void> => {
    for (let client = waiting.pop(); client !== undefined; client = waiting.pop()) {
      client.on("error", () => undefined);
      await client.connect();
      await client.query("select value from counters where id = 1");
    }
  };
  await Promise.all(Array.from({ length: OPENING }, open));
  return clients;
}

export interface DepthOptions {
  readonly runs: number;
  readonly seconds: number;
  readonly workers: number;
  /** Delegations below the person. */
  readonly depths: readonly number[];
}

export async function benchDepth(options: DepthOptions): Promise<Row[]> {
  const { runs, seconds, workers, depths } = options;
  await using stage = await openLiveStage({ sessions: 50, depth: Math.max(...depths), workers });
  const { gateway } = stage;
  const script = join(dirname(gateway.configFile), "read.sql");
  writeFileSync(script, "\\set id random(1, 50)\nselect value from counters where id = :id;\n");
  const seen = new Map<number, Measured[]>(depths.map((depth) => [depth, []]));
  for (let run = 0; run <= runs; run++)
    for (const depth of depths) {
      const way = {
        name: `depth ${depth}`,
        port: gateway.postgres.port,
        user: "bench",
        password: stage.hops[depth - 1]?.handle ?? "",
        caFile: gateway.caFile,
        pid: gateway.pid,
      };
      const load = { mode: "simple", clients: 1, seconds, script };
      const measured = await pgbench(way, load, BENCH_DATABASE);
      // The first warms up.
      if (run > 0) seen.get(depth)?.push(measured);
    }
  const cpu = (depth: number) => median((seen.get(depth) ?? []).map(({ cpuUs }) => cpuUs));
  const [least = 1] = depths;
  return depths.map((depth) => ({
    name: `chain of ${depth} below the person: CPU a transaction`,
    unit: "µs",
    value: cpu(depth),
    against: `${least}, ${cpu(least).toFixed(0)} µs`,
    ratio: cpu(depth) / cpu(least),
    runs,
  }));
}
