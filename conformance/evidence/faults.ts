// EIO, ENOSPC and SIGKILL at each system call that keeps something: strace makes the N-th of them fail, or
// kills at it. Afterwards the journal and the log are opened again, and a checker of everything says whether
// what was acknowledged is there. Every N in full; so many at random with CUSTODY_RUNS.

import { spawn, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkEvidence } from "../support/evidence-checker.ts";
import { has, report, skip } from "./report.ts";

const LOAD = fileURLToPath(new URL("fault-load.ts", import.meta.url));
const CALLS = ["pwrite64", "write", "fdatasync", "fsync", "rename", "ftruncate", "fallocate"];
const FAULTS = ["error=EIO", "error=ENOSPC", "signal=KILL"];
const DEFAULT_RUNS = 21;
/** Beyond it the load has no more of any of these calls. */
const MAX_PLACE = 400;

interface Fault {
  readonly call: string;
  readonly fault: string;
  readonly place: number;
}

export async function injectFaults(): Promise<void> {
  if (!has("strace", "--version")) return skip("faults at system calls", "no strace on the path");
  if (spawnSync("strace", ["-o", "/dev/null", "true"]).status !== 0)
    return skip("faults at system calls", "this machine does not let strace trace");
  const isFull = process.env.CUSTODY_CI_SIZE === "full";
  const runs = Number(process.env.CUSTODY_RUNS ?? DEFAULT_RUNS);
  const problems: string[] = [];
  let hits = 0;
  let acknowledged = 0;
  let count = 0;
  for (const fault of isFull ? every() : some(runs)) {
    const result = await injectOne(fault);
    count++;
    if (result.hit) hits++;
    acknowledged += result.acknowledged;
    problems.push(...result.problems.map((one) => `${describe(fault)}: ${one}`));
    if (!result.hit && "exhaust" in fault) fault.exhaust();
  }
  const what = `${count} runs, ${hits} with a fault, ${acknowledged} commands acknowledged`;
  report(`faults at system calls: ${what}`, problems.length === 0, problems.join("\n"));
  report("faults met the load", hits > 0);
}

function describe({ call, fault, place }: Fault): string {
  return `${fault} at ${call} number ${place}`;
}

function some(runs: number): Fault[] {
  return Array.from({ length: runs }, (_, at) => ({
    call: CALLS[at % CALLS.length]!,
    fault: FAULTS[Math.floor(at / CALLS.length) % FAULTS.length]!,
    place: 1 + randomInt(at % 2 === 0 ? 8 : 40),
  }));
}

/** Each place of each call, until the load has no more of them. */
function* every(): Generator<Fault & { exhaust(): void }> {
  for (const call of CALLS) {
    for (const fault of FAULTS) {
      let isExhausted = false;
      for (let place = 1; place <= MAX_PLACE && !isExhausted; place++) {
        yield {
          ...{ call, fault, place },
          exhaust: () => {
            isExhausted = true;
          },
        };
      }
    }
  }
}

interface Result {
  readonly hit: boolean;
  readonly acknowledged: number;
  readonly problems: readonly string[];
}

async function injectOne({ call, fault, place }: Fault): Promise<Result> {
  const directory = mkdtempSync(join(tmpdir(), "custody-faults-"));
  try {
    const trace = join(directory, "trace");
    const data = join(directory, "data");
    const inject = `inject=${call}:${fault}:when=${place}`;
    const strace = ["strace", "-f", "-qq", "-o", trace, "-e", `trace=${call}`, "-e", inject];
    const first = await load([...strace, process.execPath, LOAD, data, "a"]);
    const traced = existsSync(trace) ? readFileSync(trace, "utf8") : "";
    const hit = traced.includes("(INJECTED)") || traced.includes("killed by SIGKILL");
    const problems: string[] = [];
    // What it wrote after the fault it must be able to go on with.
    const second = await load([process.execPath, LOAD, data, "b"]);
    if (second.code !== 0) problems.push(`it does not start again: ${second.output.slice(-400)}`);
    if (problems.length > 0) return { hit, acknowledged: first.acknowledged.length, problems };
    const all = [...first.acknowledged, ...second.acknowledged];
    const checked = await checkEvidence(data, all);
    return { hit, acknowledged: all.length, problems: checked.problems };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function load(
  command: readonly string[],
): Promise<{ code: number | null; acknowledged: string[]; output: string }> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
    // One thread for files: the N-th call is then the N-th of the journal or of the log.
    env: { ...process.env, UV_THREADPOOL_SIZE: "1", NODE_NO_WARNINGS: "1" },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      output += chunk;
    });
  }
  const [code] = (await once(child, "close")) as [number | null];
  const acknowledged = [...output.matchAll(/^ack (r-\S+)$/gm)].map(([, request]) => request ?? "");
  return { code, acknowledged, output };
}
