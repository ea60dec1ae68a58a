// pgbench against one way to the database: throughput, latency, and the CPU time of whatever is in between.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Way } from "./stage.ts";

export interface Measured {
  readonly tps: number;
  readonly latencyUs: number;
  /** Of the processes in between; NaN when there is none. */
  readonly cpuUs: number;
}

export interface Load {
  readonly mode: string;
  readonly clients: number;
  /** For so long, or so many transactions of each client. */
  readonly seconds?: number;
  readonly transactions?: number;
  /** A file with the script; undefined: pgbench's own `-S`. */
  readonly script?: string;
  /** A connection for each transaction. */
  readonly reconnects?: boolean;
}

const US_A_TICK = 10_000;

export async function pgbench(way: Way, load: Load, database: string): Promise<Measured> {
  const { clients, mode, reconnects = false, script, seconds, transactions } = load;
  const amount =
    seconds === undefined ? ["-t", String(transactions ?? 1)] : ["-T", String(seconds)];
  const what = script === undefined ? ["-S"] : ["-f", script];
  const cpuBefore = cpuTicks(way.pid);
  const child = spawn(
    "pgbench",
    ["-n", "-M", mode, "-c", String(clients), "-j", "1", ...what, ...amount].concat([
      ...(reconnects ? ["-C"] : []),
      ...["-h", "localhost", "-p", String(way.port), "-U", way.user, database],
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
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
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

/** User and system time of a process and its children, all their threads, in clock ticks (proc(5)). */
function cpuTicks(pid: number | undefined): number {
  if (pid === undefined) return Number.NaN;
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  const children = childrenOf(pid).reduce((sum, child) => sum + cpuTicks(child), 0);
  return Number(fields[11]) + Number(fields[12]) + children;
}

/** Resident memory of a process and its children. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return childrenOf(pid).reduce((sum, child) => sum + residentBytes(child), Number(kib) * 1024);
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}
