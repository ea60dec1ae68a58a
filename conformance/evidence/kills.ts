// The journal, the log and recordings killed (SIGKILL) at random moments under load, CUSTODY_RUNS times, one
// life after another in one folder; each fourth time while it starts. After each kill it is started again and
// goes on, and a checker of everything says whether what was acknowledged is there. It is this part of the
// gateway alone, in a process of its own: conformance/resilience/kill.ts does the same to the whole gateway.

import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { goOn, loadCommand } from "./fault-subjects.ts";
import { acknowledgedIn } from "./injection.ts";
import { report } from "./report.ts";

const DEFAULT_RUNS = 12;
/** Everything in a folder is checked after each kill, so it is not let grow without bound. */
const KILLS_PER_FOLDER = 10;
const MAX_DELAY_MS = 150;
const ENDLESS = 1_000_000;

interface Tally {
  kills: number;
  acknowledged: number;
  readonly problems: string[];
  /** From its beginning to the first command acknowledged, the last time. */
  startMs: number;
}

export async function killAtRandom(): Promise<void> {
  const runs = Number(process.env.CUSTODY_RUNS || DEFAULT_RUNS);
  const tally: Tally = { kills: 0, acknowledged: 0, problems: [], startMs: 1_000 };
  const directory = mkdtempSync(join(tmpdir(), "custody-kills-"));
  process.env.NODE_COMPILE_CACHE ??= join(directory, "compiled");
  try {
    while (tally.kills < runs && tally.problems.length === 0) {
      const folder = join(directory, `folder-${tally.kills}`);
      await killInFolder(folder, Math.min(KILLS_PER_FOLDER, runs - tally.kills), tally);
      rmSync(folder, { recursive: true, force: true });
      if (tally.kills % 100 === 0) console.log(`       killed ${tally.kills} times`);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const { kills, acknowledged, problems } = tally;
  report(
    `killed ${kills} times under load, ${acknowledged} commands acknowledged`,
    problems.length === 0 && acknowledged > 0,
    problems.join("\n"),
  );
}

async function killInFolder(folder: string, kills: number, tally: Tally): Promise<void> {
  const acknowledged: string[] = [];
  for (let at = 0; at < kills; at++) {
    const life = await killOne(folder, `k${at}`, at % 4 === 3, tally);
    tally.kills++;
    tally.acknowledged += life.length;
    acknowledged.push(...life);
    try {
      const problems = await goOn(folder, acknowledged);
      tally.problems.push(...problems.map((one) => `kill ${tally.kills}: ${one}`));
    } catch (error) {
      const said = error instanceof Error ? (error.stack ?? error.message) : String(error);
      tally.problems.push(`kill ${tally.kills}: it does not start again: ${said}`);
    }
    if (tally.problems.length > 0) return;
  }
}

/** What it acknowledged before it was killed. */
async function killOne(
  folder: string,
  prefix: string,
  isEarly: boolean,
  tally: Tally,
): Promise<string[]> {
  const [program = "", ...args] = loadCommand(prefix, ENDLESS, 20_000)(folder);
  const begun = performance.now();
  const env = { ...process.env, NODE_NO_WARNINGS: "1" };
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env });
  const ended = once(child, "close");
  const lines: string[] = [];
  const errors: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => errors.push(chunk));
  const out = createInterface({ input: child.stdout });
  out.on("line", (line) => lines.push(line));
  if (isEarly) {
    await Promise.race([delay(randomInt(Math.ceil(tally.startMs))), ended]);
  } else {
    await Promise.race([once(out, "line"), ended]);
    tally.startMs = performance.now() - begun;
    await Promise.race([delay(randomInt(MAX_DELAY_MS)), ended]);
  }
  child.kill("SIGKILL");
  const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null];
  if (signal !== "SIGKILL")
    tally.problems.push(`before it was killed it ended with ${code}: ${errors.join("")}`);
  return acknowledgedIn(`${lines.join("\n")}\n`);
}
