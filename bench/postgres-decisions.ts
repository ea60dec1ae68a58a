// What deciding costs on the wire: statements never seen before, and plain reads under more and more
// policies, none of which is about them.

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { type Measured, pgbench } from "./pgbench.ts";
import { median, type Row } from "./rows.ts";
import { BENCH_DATABASE, type BenchStage, type Way } from "./stage.ts";

const COLD_STATEMENTS = 500;
const POLICIES_A_FILE = 2000;

/** Each statement has a text of its own, on known tables. */
export async function benchCold(stage: BenchStage, runs: number): Promise<Row[]> {
  const { direct, custody } = stage;
  const seen = new Map<Way, number[]>([direct, custody].map((way) => [way, []]));
  for (let run = 0; run < runs; run++)
    for (const way of [direct, custody]) seen.get(way)?.push(await coldUs(way, run));
  const of = (way: Way) => median(seen.get(way) ?? []);
  const row = (name: string, value: number, peer: number): Row => ({
    name,
    unit: "µs",
    value,
    against: `direct, ${peer.toFixed(0)} µs`,
    ratio: value / peer,
    runs,
  });
  return [row("a statement never seen before", of(custody), of(direct))];
}

async function coldUs(way: Way, run: number): Promise<number> {
  const client = new pg.Client({
    host: "localhost",
    port: way.port,
    user: way.user,
    password: way.password,
    database: BENCH_DATABASE,
    ssl: { ca: readFileSync(way.caFile, "utf8"), servername: "localhost" },
  });
  await client.connect();
  await client.query("select 1");
  const took: number[] = [];
  for (let at = 0; at < COLD_STATEMENTS; at++) {
    const startedMs = performance.now();
    await client.query(
      `select a.abalance as ${way.name}_${run}_${at} from pgbench_accounts a join pgbench_branches b
         on a.bid = b.bid where a.aid = ${at + 1}`,
    );
    took.push((performance.now() - startedMs) * 1000);
  }
  await client.end();
  return median(took);
}

export interface PoliciesOptions {
  readonly runs: number;
  readonly seconds: number;
  readonly counts: readonly number[];
}

export async function benchPolicies(stage: BenchStage, options: PoliciesOptions): Promise<Row[]> {
  const { runs, seconds, counts } = options;
  const seen = new Map<number, Measured[]>();
  for (const count of counts) {
    await loadPolicies(stage, count);
    // Until the optimiser and the caches have seen it.
    await pgbench(stage.custody, { mode: "simple", clients: 1, seconds: 1 }, BENCH_DATABASE);
    const found: Measured[] = [];
    for (let run = 0; run < runs; run++)
      found.push(
        await pgbench(stage.custody, { mode: "simple", clients: 1, seconds }, BENCH_DATABASE),
      );
    seen.set(count, found);
  }
  const cpu = (count: number) => median((seen.get(count) ?? []).map(({ cpuUs }) => cpuUs));
  const [least = 0] = counts;
  return counts.map((count) => ({
    name: `${count} policies: CPU a transaction`,
    unit: "µs",
    value: cpu(count),
    against: `${least} policies, ${cpu(least).toFixed(0)} µs`,
    ratio: cpu(count) / cpu(least),
    runs,
  }));
}

async function loadPolicies(stage: BenchStage, count: number): Promise<void> {
  const { gateway } = stage;
  const loads = () => gateway.output().split("configuration loaded").length;
  const before = loads();
  const policies = Array.from(
    { length: count },
    (_, at) => `@id("other-${count}-${at}")
permit (
  principal == Custody::User::"corp/person-${at}@example.com",
  action in [SQL::Action::"read"],
  resource == SQL::Table::"bench/other/public/t${at}"
);`,
  );
  const folder = join(dirname(gateway.configFile), "policies");
  // A file may have a megabyte at most.
  for (let at = 0; at < policies.length; at += POLICIES_A_FILE)
    writeFileSync(
      join(folder, `others-${at}.cedar`),
      `${policies.slice(at, at + POLICIES_A_FILE).join("\n")}\n`,
    );
  const refused = () => /was refused/.test(gateway.output());
  while (loads() === before && !refused()) await delay(100);
  if (refused()) throw new Error(gateway.output());
}
