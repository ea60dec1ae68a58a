// A case does something with one client on one peer and says what came out. What comes out through the
// gateway must be what comes out of PostgreSQL itself.

import { deepStrictEqual } from "node:assert/strict";
import type { Peer, Peers } from "./peers.ts";

export interface Case {
  readonly name: string;
  /** What came out, as plain data. */
  run(peer: Peer, peers: Peers): Promise<unknown>;
}

export interface Client {
  /** `psql 15.18` once it is known. */
  readonly name: string;
  /** undefined: it can be used here; else why not. */
  unavailable(): string | undefined;
  readonly cases: readonly Case[];
}

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** Both ends of one long query must end within this. */
const CASE_TIMEOUT_MS = 90_000;

/** Runs every case of every client; prints a line each. */
export async function runCases(clients: readonly Client[], peers: Peers): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  for (const client of clients) {
    const reason = client.unavailable();
    for (const one of client.cases) {
      const label = `${client.name}: ${one.name}`;
      if (reason !== undefined) {
        tally.skipped++;
        console.log(`skipped  ${label} (${reason})`);
        continue;
      }
      const started = performance.now();
      try {
        await runCase(one, peers);
        tally.passed++;
        console.log(`passed   ${label} (${Math.round(performance.now() - started)} ms)`);
      } catch (error) {
        tally.failed++;
        console.log(`FAILED   ${label}\n${indented((error as Error).message)}`);
      }
    }
  }
  return tally;
}

async function runCase(one: Case, peers: Peers): Promise<void> {
  const direct = await within(one.run(peers.direct, peers), "PostgreSQL itself");
  const through = await within(one.run(peers.gateway, peers), "the gateway");
  deepStrictEqual(through, direct);
}

async function within<Value>(work: Promise<Value>, where: string): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    const late = new Error(`no end after ${CASE_TIMEOUT_MS / 1000} s against ${where}`);
    timer = setTimeout(() => reject(late), CASE_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * An error as cases compare it. Of a refusal (42501) only the code: the gateway's words are its own,
 * the place and the consequences are PostgreSQL's.
 */
function comparable(error: unknown): Record<string, unknown> {
  const fields = error as Record<string, unknown>;
  if (fields.code === "42501") return { code: "42501" };
  const names = ["severity", "code", "detail", "hint", "position", "constraint", "table", "column"];
  const present = names.filter((name) => fields[name] !== undefined);
  return {
    message: fields.message,
    ...Object.fromEntries(present.map((name) => [name, fields[name]])),
  };
}

/** Runs `work`, which must fail, and gives the error as cases compare it. */
export async function failing(work: Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    await work;
  } catch (error) {
    return comparable(error);
  }
  return { code: "it did not fail" };
}

function indented(text: string): string {
  const lines = text.split("\n").slice(0, 60);
  return lines.map((line) => `         ${line}`).join("\n");
}
