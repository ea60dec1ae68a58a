// SSH through the gateway, against sshd directly and through OpenSSH's own ProxyJump in the same run:
// `npm run bench:ssh -- --json`. OpenSSH's client everywhere; rates are of one stream, latencies of a
// command over a connection that is there (ControlMaster), so that what is compared is the way between.
// Then files over SFTP, many sessions at once, and readers that stop reading (ssh-load.ts).

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSshStage, type SshStage } from "../conformance/ssh/stage.ts";
import {
  manySessions,
  residentMiB,
  round,
  sftpRates,
  stalledReaders,
  type Way,
} from "./ssh-load.ts";

const { values } = parse(process.argv.slice(2));
const folder = mkdtempSync(join(tmpdir(), "custody-bench-ssh-"));

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
  });
  const results: Record<string, unknown> = { bytes: values.bytes, commands: values.commands };
  for (const way of ways(stage, key)) {
    results[way.name] = {
      outMiBPerS: await bulkOut(stage, way),
      inMiBPerS: await bulkIn(stage, way),
      ...(await sftpRates(stage, way, folder, values.bytes)),
      ...(await latencies(stage, way)),
      many: await manySessions(stage, way, folder, values.sessions),
    };
  }
  const rate = (way: string, what: string) =>
    Number((results[way] as Record<string, number> | undefined)?.[what]);
  results.ratios = {
    bulkOutToJump: round(rate("gateway", "outMiBPerS") / rate("jump", "outMiBPerS")),
    bulkInToJump: round(rate("gateway", "inMiBPerS") / rate("jump", "inMiBPerS")),
    sftpOutToJump: round(rate("gateway", "sftpOutMiBPerS") / rate("jump", "sftpOutMiBPerS")),
    sftpInToJump: round(rate("gateway", "sftpInMiBPerS") / rate("jump", "sftpInMiBPerS")),
    commandToJump: round(rate("gateway", "commandP50Ms") / rate("jump", "commandP50Ms")),
    commandToDirect: round(rate("gateway", "commandP50Ms") / rate("direct", "commandP50Ms")),
  };
  const [, , gateway] = ways(stage, key);
  if (gateway !== undefined) results.stalled = await stalledReaders(stage, gateway, folder);
  results.gatewayResidentMiB = residentMiB(stage.gateway.pid);
  console.log(values.json ? JSON.stringify(results) : JSON.stringify(results, null, 2));
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function ways(stage: SshStage, key: string): readonly Way[] {
  const { server } = stage;
  const common = [
    ...["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", `UserKnownHostsFile=${folder}/hosts`],
    ...["-o", "LogLevel=ERROR", "-i", key, "-o", "IdentitiesOnly=yes"],
  ];
  const direct = [...common, "-o", `Port=${server.port}`, "-o", `User=${server.user}`];
  const inner = ["ssh", ...direct, "-W", "%h:%p", "127.0.0.1"].join(" ");
  return [
    { name: "direct", options: direct, secret: "" },
    { name: "jump", options: [...direct, "-o", `ProxyCommand=${inner}`], secret: "" },
    {
      name: "gateway",
      // As custody ssh-config writes it.
      options: ["-o", "Ciphers=^aes128-gcm@openssh.com", ...stage.options],
      secret: stage.handles.data,
    },
  ];
}

async function bulkOut(stage: SshStage, way: Way): Promise<number> {
  const line = `head -c ${values.bytes} /dev/zero`;
  return await rate(stage, way, line, undefined);
}

async function bulkIn(stage: SshStage, way: Way): Promise<number> {
  const file = join(folder, "zeros");
  writeFileSync(file, Buffer.alloc(values.bytes));
  return await rate(stage, way, "wc -c", file);
}

/** Best of three, the login left out by measuring one without data. */
async function rate(
  stage: SshStage,
  way: Way,
  line: string,
  input: string | undefined,
): Promise<number> {
  let best = 0;
  for (let n = 0; n < 3; n += 1) {
    const login = await timed(stage, way, "true", undefined);
    const whole = await timed(stage, way, line, input);
    best = Math.max(best, values.bytes / 1048.576 / Math.max(1, whole - login));
  }
  return round(best);
}

async function timed(
  stage: SshStage,
  way: Way,
  line: string,
  input: string | undefined,
): Promise<number> {
  const redirect = input === undefined ? "</dev/null" : `<${input}`;
  const words = ["ssh", ...way.options, "127.0.0.1", line].map((word) => `'${word}'`).join(" ");
  const started = performance.now();
  const ran = await stage.run(way.secret, ["sh", "-c", `exec ${words} ${redirect} >/dev/null`]);
  if (ran.code !== 0) throw new Error(`${way.name}: ${line}: ${ran.code} ${ran.stderr}`);
  return performance.now() - started;
}

async function latencies(stage: SshStage, way: Way) {
  const socket = join(folder, `m-${way.name}`);
  const logins: number[] = [];
  for (let n = 0; n < 5; n += 1) logins.push(await timed(stage, way, "true", undefined));
  const env = {
    ...{ PATH: process.env.PATH ?? "", HOME: folder, SSH_ASKPASS_REQUIRE: "force" },
    ...{ SSH_ASKPASS: join(stage.folder, "ask"), CUSTODY_TEST_SECRET: way.secret },
  };
  const master = spawn("ssh", [...way.options, "-M", "-N", "-S", socket, "127.0.0.1"], {
    env,
    stdio: "ignore",
  });
  try {
    const over = { ...way, options: ["-S", socket, ...way.options] };
    await until(() => spawnSync("ssh", ["-S", socket, "-O", "check", "x"]).status === 0);
    const commands: number[] = [];
    for (let n = 0; n < values.commands; n += 1)
      commands.push(await timed(stage, over, "true", undefined));
    return {
      loginP50Ms: round(median(logins)),
      commandP50Ms: round(median(commands)),
      commandP95Ms: round(commands.sort((a, b) => a - b)[Math.floor(commands.length * 0.95)] ?? 0),
    };
  } finally {
    master.kill();
    await once(master, "exit");
  }
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the connection was not there in time");
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function parse(args: readonly string[]) {
  const numberOf = (name: string, otherwise: number) => {
    const at = args.indexOf(name);
    return at < 0 ? otherwise : Number(args[at + 1]);
  };
  return {
    values: {
      json: args.includes("--json"),
      bytes: numberOf("--bytes", 64 << 20),
      commands: numberOf("--commands", 40),
      sessions: numberOf("--sessions", 500),
    },
  };
}
