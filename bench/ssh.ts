// SSH through the gateway, against sshd directly and through OpenSSH's own ProxyJump in the same run:
// `npm run bench:ssh -- --json`. OpenSSH's client everywhere, with the same cipher and key exchange for every
// way, turn by turn, so that what is compared is the way between: bulk and files of one stream, a command
// over a connection that is there (ControlMaster), logins; then many sessions at once, and readers that stop
// reading (ssh-load.ts). --bytes, --commands and --sessions say how much. CUSTODY_PROFILE names a folder for a
// profile of the gateway (`--cpu-prof`).

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSshStage, type SshStage } from "../conformance/ssh/stage.ts";
import { median, printRows, type Row } from "./rows.ts";
import { clientEnvironment, manySessions, stalledReaders, type Way } from "./ssh-load.ts";

const HOST = "127.0.0.1";
const RUNS = 3;
const LOGINS = 7;
/** As custody ssh-config writes it. */
const CIPHER = ["-o", "Ciphers=^aes128-gcm@openssh.com"];
/** What OpenSSH takes by itself. */
const CHACHA = ["-o", "Ciphers=chacha20-poly1305@openssh.com"];
// Both ends of OpenSSH 9.2 spend 75 ms of processor on the exchange that they prefer (sntrup761); the
// gateway speaks the one that took its place (mlkem768x25519), which they do not.
const EXCHANGE = ["-o", "KexAlgorithms=curve25519-sha256"];

const { bytes, commands, isJson, sessions } = parse(process.argv.slice(2));
const { CUSTODY_PROFILE: profile } = process.env;
const folder = mkdtempSync(join(tmpdir(), "custody-bench-ssh-"));
const rows: Row[] = [];

try {
  const key = join(folder, "key");
  spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  const policies = readFileSync(
    new URL("../conformance/ssh/policies.cedar", import.meta.url),
    "utf8",
  );
  await using stage = await openSshStage({
    policies,
    sshd: [`AuthorizedKeysFile ${key}.pub`],
    limits: ", recordingResponseBytes: 64KiB, sessionsPerDelegation: 2000",
    ...(profile === undefined
      ? {}
      : { env: { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profile}` } }),
  });
  const ways = waysTo(stage, key);
  await measureBulk(stage, ways);
  await measureFiles(stage, ways);
  await measureCommands(stage, ways);
  rows.push(...(await manySessions(stage, ways, sessions)));
  rows.push(await stalledReaders(stage, ways[2]));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
printRows(rows, isJson);

function waysTo(stage: SshStage, key: string): readonly [Way, Way, Way] {
  const { server } = stage;
  const common = [
    ...["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", `UserKnownHostsFile=${folder}/hosts`],
    ...["-o", "LogLevel=ERROR", "-i", key, "-o", "IdentitiesOnly=yes", ...EXCHANGE],
  ];
  const direct = [...common, "-o", `Port=${server.port}`, "-o", `User=${server.user}`];
  const inner = ["ssh", ...direct, ...CIPHER, "-W", "%h:%p", HOST].join(" ");
  return [
    { name: "direct", options: direct, secret: "" },
    { name: "ProxyJump", options: [...direct, "-o", `ProxyCommand=${inner}`], secret: "" },
    { name: "gateway", options: [...EXCHANGE, ...stage.options], secret: stage.handles.data },
  ];
}

/** MiB/s through a command, the login left out by measuring one without data. */
async function measureBulk(stage: SshStage, ways: readonly Way[]): Promise<void> {
  const zeros = join(folder, "zeros");
  writeFileSync(zeros, Buffer.alloc(bytes));
  const rate = async (way: Way, cipher: readonly string[], line: string, input?: string) => {
    const login = await timed(stage, way, cipher, "true");
    return rateOf((await timed(stage, way, cipher, line, input)) - login);
  };
  const out = `head -c ${bytes} /dev/zero`;
  await compare("bulk out", "MiB/s", RUNS, ways, (way) => rate(way, CIPHER, out));
  await compare("bulk in", "MiB/s", RUNS, ways, (way) => rate(way, CIPHER, "wc -c", zeros));
  await compare("bulk out, chacha20", "MiB/s", RUNS, ways, (way) => rate(way, CHACHA, out));
  await compare("bulk in, chacha20", "MiB/s", RUNS, ways, (way) =>
    rate(way, CHACHA, "wc -c", zeros),
  );
}

/** MiB/s of one file each way over SFTP. */
async function measureFiles(stage: SshStage, ways: readonly Way[]): Promise<void> {
  const here = join(folder, "sftp-here");
  const there = join(folder, "sftp-there");
  writeFileSync(here, Buffer.alloc(bytes));
  const run = async (way: Way, line: string) => {
    const words = ["sftp", "-q", ...CIPHER, ...way.options, "-b", "-", HOST];
    const started = performance.now();
    const ran = await stage.run(way.secret, words, { input: `${line}\n` });
    if (ran.code !== 0) throw new Error(`${way.name}: sftp ${line}: ${ran.code} ${ran.stderr}`);
    return performance.now() - started;
  };
  await compare("sftp put", "MiB/s", RUNS, ways, async (way) => {
    const login = await run(way, "pwd");
    return rateOf((await run(way, `put ${here} ${there}`)) - login);
  });
  await compare("sftp get", "MiB/s", RUNS, ways, async (way) => {
    const login = await run(way, "pwd");
    return rateOf((await run(way, `get ${there} ${here}-back`)) - login);
  });
}

/** Logins, and commands over connections that are there; the starting of OpenSSH's client is in both. */
async function measureCommands(stage: SshStage, ways: readonly Way[]): Promise<void> {
  await compare("login and a command", "ms", LOGINS, ways, (way) => timed(stage, way, [], "true"));
  const masters: ChildProcess[] = [];
  const socketOf = ({ name }: Way) => join(folder, `m-${name}`);
  try {
    for (const way of ways) {
      const words = [...way.options, "-M", "-N", "-S", socketOf(way), HOST];
      const env = clientEnvironment(stage, way);
      masters.push(spawn("ssh", words, { env, stdio: "ignore" }));
      await until(() => spawnSync("ssh", ["-S", socketOf(way), "-O", "check", "x"]).status === 0);
    }
    await compare("a command", "ms", commands, ways, (way) =>
      timed(stage, way, ["-S", socketOf(way)], "true"),
    );
  } finally {
    for (const master of masters) {
      const ended = once(master, "exit");
      if (master.kill()) await ended;
    }
  }
}

/** Medians of so many turns, in each of which every way has one. */
async function compare(
  name: string,
  unit: string,
  runs: number,
  ways: readonly Way[],
  measure: (way: Way) => Promise<number>,
): Promise<void> {
  const values = ways.map((): number[] => []);
  for (let run = 0; run < runs; run += 1)
    for (const [at, way] of ways.entries()) values[at]?.push(await measure(way));
  const [direct = 0, jump = 0, value = 0] = values.map(median);
  const peers = [
    ["direct", direct],
    ["ProxyJump", jump],
  ] as const;
  for (const [against, of] of peers)
    rows.push({ name, unit, value: round(value), against, ratio: round(value / of), runs });
}

async function timed(
  stage: SshStage,
  way: Way,
  options: readonly string[],
  line: string,
  input = "/dev/null",
): Promise<number> {
  const words = ["ssh", ...options, ...way.options, HOST, line].map((word) => `'${word}'`);
  const script = `exec ${words.join(" ")} <${input} >/dev/null`;
  const started = performance.now();
  const ran = await stage.run(way.secret, ["sh", "-c", script]);
  if (ran.code !== 0) throw new Error(`${way.name}: ${line}: ${ran.code} ${ran.stderr}`);
  return performance.now() - started;
}

function rateOf(ms: number): number {
  return bytes / 1048.576 / Math.max(1, ms);
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 600; tries += 1) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the connection was not there in time");
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function parse(args: readonly string[]) {
  const numberOf = (name: string, otherwise: number) => {
    const at = args.indexOf(name);
    return at < 0 ? otherwise : Number(args[at + 1]);
  };
  return {
    isJson: args.includes("--json"),
    bytes: numberOf("--bytes", 64 << 20),
    commands: numberOf("--commands", 40),
    sessions: numberOf("--sessions", 500),
  };
}
