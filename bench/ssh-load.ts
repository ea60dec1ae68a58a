// What bench/ssh.ts measures beside one stream and one command: many sessions at once, and what readers
// that stop reading cost the gateway. OpenSSH's own clients, the same for every way there.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { SshStage } from "../conformance/ssh/stage.ts";
import { median, type Row } from "./rows.ts";

export interface Way {
  readonly name: "direct" | "ProxyJump" | "gateway";
  /** `-o` options that ssh and sftp both take. */
  readonly options: readonly string[];
  readonly secret: string;
}

const HOST = "127.0.0.1";
/** Logins at a time; sshd drops connections when too many are on their way in. */
const AT_A_TIME = 10;
/** Longer than that no way is given to open its sessions: what there is then is measured. */
const OPENING_MS = 180_000;
/** A gateway that has only begun runs slower than one that has run for a while. */
const WARMING_ROUNDS = 5;
const ROUNDS = 15;
const STALLED = 8;
const STALL_MS = 3000;

interface Many {
  readonly sessions: number;
  readonly loginsPerS: number;
  /** A byte to and fro through all of them at once. */
  readonly roundMs: number;
  /** The gateway's: what it grew by, and its processor's time. */
  readonly grownMiB: number;
  readonly loginCpuMs: number;
  readonly echoCpuMs: number;
}

/** So many connections with a command each, and a byte to and fro through all of them at once. */
export async function manySessions(
  stage: SshStage,
  ways: readonly [Way, Way, Way],
  count: number,
): Promise<readonly Row[]> {
  const [direct, jump, gateway] = [
    await openMany(stage, ways[0], count),
    await openMany(stage, ways[1], count),
    await openMany(stage, ways[2], count),
  ];
  const own = (name: string, unit: string, value: number, against: string): Row => ({
    ...{ name, unit, value, against, ratio: undefined, runs: 1 },
  });
  const rows = [
    own("sessions at once", "sessions", gateway.sessions, `${count} wanted`),
    own("memory a session", "KiB", (gateway.grownMiB * 1024) / gateway.sessions, "none"),
    own("processor a login", "ms", gateway.loginCpuMs, "none"),
    own("processor a byte to and fro", "ms", gateway.echoCpuMs, "none"),
  ];
  for (const [name, many] of [
    ["direct", direct],
    ["ProxyJump", jump],
  ] as const) {
    // Where fewer were opened than wanted it is not the same that is compared.
    const against = many.sessions === count ? name : `${name} with ${many.sessions} sessions`;
    rows.push(
      {
        ...{ name: `logins, ${AT_A_TIME} at a time`, unit: "/s", runs: gateway.sessions, against },
        ...{ value: gateway.loginsPerS, ratio: gateway.loginsPerS / many.loginsPerS },
      },
      {
        ...{ name: "a byte through all sessions", unit: "ms", runs: ROUNDS, against },
        ...{ value: gateway.roundMs, ratio: gateway.roundMs / many.roundMs },
      },
    );
  }
  return rows;
}

/** How much the gateway grows while clients ask for gigabytes and read nothing. */
export async function stalledReaders(stage: SshStage, way: Way): Promise<Row> {
  const before = residentMiB(stage.gateway.pid);
  const clients = Array.from({ length: STALLED }, () =>
    startClient(stage, way, "head -c 2000000000 /dev/zero"),
  );
  try {
    await Promise.all(clients.map((client) => once(client.stdout!, "readable")));
    let most = 0;
    for (let waitedMs = 0; waitedMs < STALL_MS; waitedMs += 100) {
      await delay(100);
      most = Math.max(most, residentMiB(stage.gateway.pid) - before);
    }
    return {
      ...{ name: "memory a stalled reader", unit: "MiB", value: most / STALLED },
      ...{ against: `none, ${STALLED} readers`, ratio: undefined, runs: 1 },
    };
  } finally {
    await Promise.all(clients.map(end));
  }
}

/** What OpenSSH's client needs to sign in by itself. */
export function clientEnvironment(stage: SshStage, way: Way): NodeJS.ProcessEnv {
  return {
    ...{ PATH: process.env.PATH ?? "", HOME: stage.folder, SSH_ASKPASS_REQUIRE: "force" },
    ...{ SSH_ASKPASS: join(stage.folder, "ask"), CUSTODY_TEST_SECRET: way.secret },
  };
}

async function openMany(stage: SshStage, way: Way, count: number): Promise<Many> {
  const { pid } = stage.gateway;
  const memoryBefore = residentMiB(pid);
  const clients: ChildProcess[] = [];
  try {
    const started = performance.now();
    let cpuBefore = processorMs(pid);
    while (clients.length < count && performance.now() - started < OPENING_MS) {
      const some = Array.from({ length: Math.min(AT_A_TIME, count - clients.length) }, () =>
        startClient(stage, way, "cat"),
      );
      clients.push(...some);
      await Promise.all(some.map(echo));
    }
    const openedMs = performance.now() - started;
    const loginCpuMs = (processorMs(pid) - cpuBefore) / clients.length;
    for (let round = 0; round < WARMING_ROUNDS; round += 1) await Promise.all(clients.map(echo));
    cpuBefore = processorMs(pid);
    const rounds: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const from = performance.now();
      await Promise.all(clients.map(echo));
      rounds.push(performance.now() - from);
    }
    return {
      sessions: clients.length,
      loginsPerS: (clients.length * 1000) / openedMs,
      roundMs: median(rounds),
      grownMiB: residentMiB(pid) - memoryBefore,
      loginCpuMs,
      echoCpuMs: (processorMs(pid) - cpuBefore) / (ROUNDS * clients.length),
    };
  } finally {
    await Promise.all(clients.map(end));
  }
}

function residentMiB(pid: number): number {
  const [, kib = "0"] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) / 1024;
}

/** In user and system mode so far, of all its threads (proc(5): fields 14 and 15, in hundredths of seconds). */
function processorMs(pid: number): number {
  const [, fields = ""] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
  const [user, system] = fields.split(" ").slice(11, 13);
  return (Number(user) + Number(system)) * 10;
}

function startClient(stage: SshStage, way: Way, line: string): ChildProcess {
  const child = spawn("ssh", ["-T", ...way.options, HOST, line], {
    env: clientEnvironment(stage, way),
    stdio: ["pipe", "pipe", "ignore"],
  });
  child.stdin?.on("error", () => undefined);
  return child;
}

async function echo(client: ChildProcess): Promise<void> {
  const { exitCode, stdin, stdout } = client;
  if (exitCode !== null) throw new Error(`a client ended with ${exitCode}`);
  stdin!.write("x");
  const gone = new AbortController();
  const { signal } = gone;
  const data = once(stdout!, "data", { signal }).then(() => true);
  const left = once(client, "exit", { signal }).then(() => false);
  try {
    if (!(await Promise.race([data, left]))) throw new Error("a client ended");
  } finally {
    data.catch(() => undefined);
    left.catch(() => undefined);
    gone.abort();
  }
}

async function end(client: ChildProcess): Promise<void> {
  if (client.exitCode !== null || client.signalCode !== null) return;
  const ended = once(client, "exit");
  client.kill();
  await ended;
}
