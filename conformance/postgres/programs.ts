// Clients in other languages: a program that, without arguments, prints its driver's version and the names of
// its cases, and, with a case's name, runs it against the server the environment names and prints what came
// out, a line a fact. One process a case.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { Client } from "./cases.ts";
import { libpqEnvironment, type Peer } from "./peers.ts";

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
}

/** `why`: it cannot be run here. */
export function programClient(driver: string, program: Program | { readonly why: string }): Client {
  if ("why" in program) return absent(driver, program.why);
  const listed = spawnSync(program.command, program.args, { encoding: "utf8" });
  if (listed.status !== 0) return absent(driver, listed.stderr || "it does not start");
  const [version = "", ...names] = listed.stdout.trim().split("\n");
  return {
    name: `${driver} ${version}`,
    unavailable: () => undefined,
    cases: names.map((name) => ({ name, run: (peer) => runCase(program, name, peer) })),
  };
}

function absent(driver: string, why: string): Client {
  const run = async () => undefined;
  return { name: driver, unavailable: () => why, cases: [{ name: "its cases", run }] };
}

async function runCase(program: Program, name: string, peer: Peer): Promise<unknown> {
  const child = spawn(program.command, [...program.args, name], {
    env: { ...libpqEnvironment(peer), HOME: process.env.HOME ?? "/" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`against ${peer.name}: ${Buffer.concat(err)}`);
  return Buffer.concat(out).toString().trim().split("\n");
}
