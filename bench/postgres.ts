// pgbench -S direct, through PgBouncer and through Custody, interleaved; medians and ratios.
// CPU time a transaction is what a shared machine measures best: it is there for each gateway process.
//   node bench/postgres.ts [--json] [--runs N] [--seconds N] [--clients 1,8] [--modes simple,prepared]
//     [--profile FOLDER]

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { median, printRows, type Row } from "./rows.ts";
import { BENCH_DATABASE, openBenchStage, type Way } from "./stage.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "5" },
    clients: { type: "string", default: "1,8,32" },
    profile: { type: "string" },
    modes: { type: "string", default: "simple,prepared" },
  },
});
const runs = Number(values.runs);
const seconds = Number(values.seconds);

interface Measured {
  readonly tps: number;
  readonly latencyUs: number;
  /** Of the process in between; NaN when there is none. */
  readonly cpuUs: number;
}

const US_A_TICK = 10_000;

await using stage = await openBenchStage({ scale: 1, profileFolder: values.profile });
const { direct, pgbouncer, custody } = stage;
const ways = pgbouncer === undefined ? [direct, custody] : [direct, pgbouncer, custody];
const rows: Row[] = [];
for (const mode of values.modes.split(","))
  for (const clients of values.clients.split(",").map(Number)) {
    const seen = new Map<Way, Measured[]>(ways.map((way) => [way, []]));
    for (let run = 0; run < runs; run++)
      for (const way of ways) seen.get(way)?.push(await pgbench(way, mode, clients));
    const name = `select ${mode}, ${clients} client${clients === 1 ? "" : "s"}`;
    const tps = (way: Way) => median((seen.get(way) ?? []).map((one) => one.tps));
    const latencyUs = (way: Way) => median((seen.get(way) ?? []).map((one) => one.latencyUs));
    for (const peer of ways.filter((way) => way !== custody))
      rows.push({
        name,
        unit: "tps",
        value: tps(custody),
        against: peer.name,
        ratio: tps(custody) / tps(peer),
        runs,
      });
    const cpuUs = (way: Way) => median((seen.get(way) ?? []).map((one) => one.cpuUs));
    if (pgbouncer !== undefined)
      rows.push({
        name: `${name}: CPU a transaction`,
        unit: "µs",
        value: cpuUs(custody),
        against: `pgbouncer, which takes ${cpuUs(pgbouncer).toFixed(0)} µs`,
        ratio: cpuUs(custody) / cpuUs(pgbouncer),
        runs,
      });
    if (clients === 1 && pgbouncer !== undefined) {
      const added = latencyUs(custody) - latencyUs(direct);
      const peerAdded = latencyUs(pgbouncer) - latencyUs(direct);
      rows.push({
        name: `${name}: latency added to direct`,
        unit: "µs",
        value: added,
        against: `pgbouncer, which adds ${peerAdded.toFixed(0)} µs`,
        ratio: added / peerAdded,
        runs,
      });
    }
  }
printRows(rows, values.json);

async function pgbench(way: Way, mode: string, clients: number): Promise<Measured> {
  const cpuBefore = cpuTicks(way.pid);
  const child = spawn(
    "pgbench",
    ["-S", "-n", "-M", mode, "-c", String(clients), "-j", "1", "-T", String(seconds)].concat([
      "-h",
      "localhost",
      "-p",
      String(way.port),
      "-U",
      way.user,
      BENCH_DATABASE,
    ]),
    {
      env: {
        ...process.env,
        PGPASSWORD: way.password,
        PGSSLMODE: "verify-full",
        PGSSLROOTCERT: way.caFile,
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  child.stderr.on("data", (chunk) => {
    output += chunk;
  });
  await new Promise((resolve) => child.on("close", resolve));
  const tps = /tps = ([0-9.]+)/.exec(output)?.[1];
  const latency = /latency average = ([0-9.]+) ms/.exec(output)?.[1];
  if (tps === undefined || latency === undefined)
    throw new Error(`pgbench through ${way.name} failed:\n${output}`);
  const done = Number(/actually processed: ([0-9]+)/.exec(output)?.[1]);
  const cpuUs = ((cpuTicks(way.pid) - cpuBefore) * US_A_TICK) / done;
  return { tps: Number(tps), latencyUs: Number(latency) * 1000, cpuUs };
}

/** User and system time of a process, all its threads, in clock ticks (proc(5)). */
function cpuTicks(pid: number | undefined): number {
  if (pid === undefined) return Number.NaN;
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return Number(fields[11]) + Number(fields[12]);
}
