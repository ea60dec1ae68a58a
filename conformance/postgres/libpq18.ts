// PostgreSQL 18's libpq: the cases are in libpq18-cases.py. It comes with psycopg-binary 3.3, which is no package
// of Debian 12's: CUSTODY_PSYCOPG names a folder that it was installed to (`pip install --target`).

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Client } from "./cases.ts";
import { libpqEnvironment, type Peer, type Peers } from "./peers.ts";

const SCRIPT = fileURLToPath(new URL("libpq18-cases.py", import.meta.url));
const PYTHONPATH = process.env.CUSTODY_PSYCOPG ?? "";
const listed = spawnSync("python3", [SCRIPT], { encoding: "utf8", env: environment() });

export const libpq18: Client = {
  name: listed.status === 0 ? `libpq ${versionOf(Number(listed.stdout))}` : "libpq 18",
  unavailable: () =>
    listed.status === 0 ? undefined : "python3 with psycopg-binary 3.3 is not installed",
  cases: [{ name: "a token by OAUTHBEARER, and the way to one when there is none", run: byOauth }],
};

async function byOauth(peer: Peer, peers: Peers): Promise<unknown> {
  const child = spawn("python3", [SCRIPT, "oauth"], {
    env: {
      ...libpqEnvironment(peer),
      PYTHONPATH,
      ...(peer.name === "gateway" ? { CUSTODY_ISSUER: peers.process.url } : {}),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err]: Buffer[][] = [[], []];
  child.stdout.on("data", (chunk: Buffer) => out?.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err?.push(chunk));
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`against ${peer.name}: ${Buffer.concat(err ?? [])}`);
  return JSON.parse(Buffer.concat(out ?? []).toString());
}

/** `180006` is 18.6. */
function versionOf(version: number): string {
  return `${Math.floor(version / 10_000)}.${version % 10_000}`;
}

function environment(): Record<string, string> {
  return { PATH: process.env.PATH ?? "", LC_ALL: "C.UTF-8", PYTHONPATH };
}
