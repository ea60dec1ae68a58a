// `npm start`: plays the story of Custody with real parts, then stays up for going on by hand.
// `npm start -- --once`: plays it, prints a table of the steps, and exits 0 only if every one came out.

import { setImmediate } from "node:timers/promises";
import { byHand } from "./by-hand.ts";
import { type Play, StepFailure } from "./play.ts";
import { openScreen, type TableRow } from "./screen.ts";
import { openStage } from "./stage.ts";
import { STORY } from "./story.ts";

const STOPPING = "\nStopping; everything that was started goes away.";
const once = process.argv.includes("--once");
// One ctrl-C comes more than once: from the terminal and passed on by npm and the bootstrap.
const stop = new AbortController();
const interrupted = new Promise<"interrupted">((resolve) =>
  stop.signal.addEventListener("abort", () => resolve("interrupted")),
);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.on(signal, () => stop.abort());

const screen = openScreen();
const started = performance.now();
process.exitCode = await main().catch(async (error) => {
  // The signal that ended a program we waited for is told to us in the next turn.
  await setImmediate();
  if (stop.signal.aborted) return 130;
  throw error;
});

async function main(): Promise<number> {
  screen.title("Custody: a nested agent's psql goes through the gateway, end to end");
  await using stage = await openStage(screen.fact);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  screen.fact("ready after", `${seconds} s`);
  const play: Play = {
    stage,
    screen,
    actors: new Map(),
    connections: new Map(),
    sessions: new Map(),
    files: new Map(),
    secrets: new Map(stage.secrets),
    seenByAgents: [],
  };
  const result = await Promise.race([playStory(play), interrupted]);
  if (result === "interrupted") screen.plain(STOPPING);
  for (const connection of play.connections.values()) await connection[Symbol.asyncDispose]();
  if (result === "interrupted") return 130;
  screen.table(result);
  const failed = result.filter((row) => !row.passed).length;
  const total = ((performance.now() - started) / 1000).toFixed(0);
  screen.plain(`\n${result.length - failed} passed, ${failed} failed, 0 skipped (${total} s)`);
  if (once) return failed === 0 ? 0 : 1;
  await byHand(play);
  await interrupted;
  screen.plain(STOPPING);
  return 0;
}

async function playStory(play: Play): Promise<TableRow[]> {
  const rows: TableRow[] = [];
  for (const [index, { title, run }] of STORY.entries()) {
    if (stop.signal.aborted) break;
    const number = index + 1;
    const begun = performance.now();
    screen.step(number, title);
    let passed = false;
    try {
      const outcome = await run(play);
      passed = true;
      screen.verdict(true, outcome);
    } catch (error) {
      // What it stands on goes away: no failure of the step's own.
      if (stop.signal.aborted) break;
      const text = error instanceof StepFailure ? error.message : String((error as Error).stack);
      screen.verdict(false, text);
    }
    rows.push({ number, title, passed, ms: performance.now() - begun });
  }
  return rows;
}
