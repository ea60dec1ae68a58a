// psycopg (libpq), unmodified: the cases are in psycopg-cases.py, one process each.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Client } from "./cases.ts";
import { libpqEnvironment, type Peer } from "./peers.ts";

const SCRIPT = fileURLToPath(new URL("psycopg-cases.py", import.meta.url));
/** The first Python that has psycopg: the path's own, else the distribution's. */
const found = ["python3", "/usr/bin/python3"]
  .map((python) => ({ python, listing: listing(python) }))
  .find(({ listing }) => listing !== undefined);

export const psycopg: Client = {
  name: found === undefined ? "psycopg" : `psycopg ${found.listing?.version}`,
  unavailable: () => (found === undefined ? "python3 with psycopg 3 is not installed" : undefined),
  cases: (found?.listing?.cases ?? ["its cases"]).map((name) => ({
    name,
    run: (peer) => runCase(found?.python ?? "python3", name, peer),
  })),
};

function listing(python: string): { version: string; cases: string[] } | undefined {
  const done = spawnSync(python, [SCRIPT], { encoding: "utf8" });
  return done.status === 0 ? JSON.parse(done.stdout) : undefined;
}

async function runCase(python: string, name: string, peer: Peer): Promise<unknown> {
  const child = spawn(python, [SCRIPT, name], {
    env: libpqEnvironment(peer),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`against ${peer.name}: ${stderr}`);
  return JSON.parse(stdout);
}
