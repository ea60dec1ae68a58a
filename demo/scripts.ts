// A few statements as an agent runs them, one after the other on one connection: with psql where the
// machine has it, else with node-postgres, which then says so.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { DatabaseError } from "pg";
import { connectAgent, connectionEnvironment } from "./agent-connection.ts";
import { type Actor, must, type Play } from "./play.ts";

const TIMEOUT_MS = 30_000;

/** Runs statements as this agent and returns what was printed; errors are in it. */
export async function pgScript(
  play: Play,
  who: Actor,
  statements: readonly string[],
): Promise<string> {
  must(who.handle !== undefined, `${who.name} is no agent`);
  const psql = onPath("psql");
  const prompt = psql ? "psql=> " : "pg=> ";
  play.screen.asked(who.name, statements.map((sql) => `${prompt}${sql};`).join("\n"));
  const output = psql
    ? await withPsql(play, psql, who.handle, statements)
    : await withDriver(play, who.handle, statements);
  play.seenByAgents.push({ name: `what psql printed to ${who.name}`, bytes: Buffer.from(output) });
  play.screen.answer(output);
  return output;
}

async function withPsql(
  play: Play,
  psql: string,
  handle: string,
  statements: readonly string[],
): Promise<string> {
  const args = ["-X", "-v", "VERBOSITY=verbose", "-P", "footer=off"];
  const child = spawn(psql, [...args, ...statements.flatMap((sql) => ["-c", sql])], {
    env: {
      PATH: process.env.PATH ?? "",
      ...connectionEnvironment(play.stage, handle),
    },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: TIMEOUT_MS,
  });
  let output = "";
  const append = (chunk: Buffer) => {
    output += chunk.toString("utf8");
  };
  child.stdout.on("data", append);
  child.stderr.on("data", append);
  await once(child, "close");
  return output;
}

async function withDriver(
  play: Play,
  handle: string,
  statements: readonly string[],
): Promise<string> {
  await using agent = await connectAgent(play.stage, handle);
  const lines: string[] = [];
  for (const sql of statements)
    try {
      const { rows } = await agent.client.query(sql);
      for (const row of rows) lines.push(Object.values(row).join(" | "));
    } catch (error) {
      const { severity, code, message, detail, hint } = error as DatabaseError;
      lines.push(`${severity}:  ${code}: ${message}`, `DETAIL:  ${detail}`, `HINT:  ${hint}`);
    }
  return lines.join("\n");
}

function onPath(program: string): string | undefined {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((path) => existsSync(path));
}
