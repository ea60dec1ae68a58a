// What bench/ssh.ts measures beside one stream and one command: files over SFTP, many sessions at once, and
// what readers that stop reading cost the gateway. OpenSSH's own clients, the same for every way there.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { SshStage } from "../conformance/ssh/stage.ts";

export interface Way {
  readonly name: "direct" | "jump" | "gateway";
  /** `-o` options that ssh and sftp both take. */
  readonly options: readonly string[];
  readonly secret: string;
}

const HOST = "127.0.0.1";
/** Logins at a time; sshd drops connections when too many are on their way in. */
const AT_A_TIME = 10;
const ROUNDS = 5;
const STALLED = 4;
const STALL_MS = 3000;

/** MiB/s of one file each way, the login left out by measuring one without a file. Best of three. */
export async function sftpRates(stage: SshStage, way: Way, folder: string, bytes: number) {
  const here = join(folder, "sftp-here");
  const there = join(folder, "sftp-there");
  writeFileSync(here, Buffer.alloc(bytes));
  const timed = async (line: string) => {
    const started = performance.now();
    const ran = await stage.run(way.secret, ["sftp", "-q", ...way.options, "-b", "-", HOST], {
      input: `${line}\n`,
      timeoutMs: 120_000,
    });
    if (ran.code !== 0) throw new Error(`${way.name}: sftp ${line}: ${ran.code} ${ran.stderr}`);
    return performance.now() - started;
  };
  let [inMiBPerS, outMiBPerS] = [0, 0];
  for (let n = 0; n < 3; n += 1) {
    const login = await timed("pwd");
    const up = (await timed(`put ${here} ${there}`)) - login;
    const down = (await timed(`get ${there} ${here}-back`)) - login;
    inMiBPerS = Math.max(inMiBPerS, bytes / 1048.576 / Math.max(1, up));
    outMiBPerS = Math.max(outMiBPerS, bytes / 1048.576 / Math.max(1, down));
    rmSync(`${here}-back`);
  }
  return { sftpInMiBPerS: round(inMiBPerS), sftpOutMiBPerS: round(outMiBPerS) };
}

/** So many connections with a command each, and a byte to and fro through all of them at once. */
export async function manySessions(stage: SshStage, way: Way, folder: string, count: number) {
  const before = residentMiB(stage.gateway.pid);
  const clients: ChildProcess[] = [];
  try {
    const started = performance.now();
    while (clients.length < count) {
      const some = Array.from({ length: Math.min(AT_A_TIME, count - clients.length) }, () =>
        startClient(stage, way, folder, "cat", "pipe"),
      );
      clients.push(...some);
      await Promise.all(some.map((client) => echo(client)));
    }
    const openedMs = performance.now() - started;
    const rounds: number[] = [];
    for (let n = 0; n < ROUNDS; n += 1) {
      const from = performance.now();
      await Promise.all(clients.map((client) => echo(client)));
      rounds.push(performance.now() - from);
    }
    const grown = residentMiB(stage.gateway.pid) - before;
    return {
      sessions: count,
      loginsPerS: round((count * 1000) / openedMs),
      roundOfAllMs: round(rounds.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? 0),
      ...(way.name === "gateway" ? { kibPerSession: round((grown * 1024) / count) } : {}),
    };
  } finally {
    await Promise.all(clients.map(end));
  }
}

/** How much the gateway grows while clients ask for gigabytes and read nothing. */
export async function stalledReaders(stage: SshStage, way: Way, folder: string) {
  const before = residentMiB(stage.gateway.pid);
  const clients = Array.from({ length: STALLED }, () =>
    startClient(stage, way, folder, "head -c 2000000000 /dev/zero", "pipe"),
  );
  try {
    await Promise.all(clients.map((client) => once(client.stdout!, "readable")));
    let most = 0;
    for (let waitedMs = 0; waitedMs < STALL_MS; waitedMs += 100) {
      await delay(100);
      most = Math.max(most, residentMiB(stage.gateway.pid));
    }
    return { readers: STALLED, grownMiB: round(Math.max(0, most - before)) };
  } finally {
    await Promise.all(clients.map(end));
  }
}

export function residentMiB(pid: number): number {
  const [, kib = "0"] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return round(Number(kib) / 1024);
}

export function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function startClient(
  stage: SshStage,
  way: Way,
  folder: string,
  line: string,
  input: "pipe" | "ignore",
): ChildProcess {
  const env = {
    ...{ PATH: process.env.PATH ?? "", HOME: folder, SSH_ASKPASS_REQUIRE: "force" },
    ...{ SSH_ASKPASS: join(stage.folder, "ask"), CUSTODY_TEST_SECRET: way.secret },
  };
  const child = spawn("ssh", ["-T", ...way.options, HOST, line], {
    env,
    stdio: [input, "pipe", "ignore"],
  });
  child.stdin?.on("error", () => undefined);
  return child;
}

async function echo({ stdin, stdout, exitCode }: ChildProcess): Promise<void> {
  if (exitCode !== null) throw new Error(`a client ended with ${exitCode}`);
  stdin!.write("x");
  await once(stdout!, "data");
}

async function end(client: ChildProcess): Promise<void> {
  if (client.exitCode !== null || client.signalCode !== null) return;
  const ended = once(client, "exit");
  client.kill();
  await ended;
}
