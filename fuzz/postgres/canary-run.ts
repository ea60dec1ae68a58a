// Sends random statements through a gateway, by simple and extended protocol, in text and in binary, and
// searches every byte that comes back for values that are in classified columns only.

import { query } from "@custody/wire/postgres/frontend.ts";
import { extended } from "../../conformance/attack/postgres/attack.ts";
import type { Canaries } from "../../conformance/attack/postgres/canaries.ts";
import {
  type Door,
  openWire,
  type Told,
  type Wire,
} from "../../conformance/attack/postgres/wire.ts";
import { createStatements } from "./canary-grammar.ts";
import { seededRandom } from "./random.ts";

export interface CanaryRun {
  readonly seed: number;
  readonly runs: number;
  /** Stops at the first leak; default false. */
  readonly stopAtLeak?: boolean;
  /** Instead of those our own grammar makes; each in a transaction that is rolled back. */
  readonly statements?: AsyncIterable<string>;
}

export interface CanaryTally {
  statements: number;
  /** Statements of which rows came. */
  gaveRows: number;
  refused: number;
  /** The gateway ended the session, and another one was opened. */
  closed: number;
  /** With the statement. */
  readonly leaks: { readonly statement: string; readonly found: readonly string[] }[];
}

export async function searchCanaries(
  door: Door,
  canaries: Canaries,
  { seed, runs, stopAtLeak = false, statements }: CanaryRun,
): Promise<CanaryTally> {
  const random = seededRandom(seed ^ 0x5eed);
  const tally: CanaryTally = { statements: 0, gaveRows: 0, refused: 0, closed: 0, leaks: [] };
  const undone = statements !== undefined;
  let wire = await enter(door);
  try {
    for await (const statement of statements ?? ours(seed, runs)) {
      const run = tally.statements++;
      const sent = random.chance(0.5) ? [query(statement)] : byMessages(statement, random);
      wire.send(Buffer.concat(undone ? [query("begin"), ...sent, query("rollback")] : sent));
      const told = await wire.until(undone ? 3 : 1);
      count(tally, told, wire.closed);
      const found = canaries.find(wire.fresh());
      if (found.length > 0) tally.leaks.push({ statement, found });
      if (found.length > 0 && stopAtLeak) break;
      // What was received is kept: a new session now and then, and after one that ended.
      if (!wire.closed && run % 100 !== 99) continue;
      await wire[Symbol.asyncDispose]();
      wire = await enter(door);
    }
  } finally {
    await wire[Symbol.asyncDispose]();
  }
  return tally;
}

function* ours(seed: number, runs: number): Generator<string> {
  const next = createStatements(seed);
  for (let run = 0; run < runs; run++) yield next();
}

function byMessages(statement: string, random: { chance(probability: number): boolean }): Buffer[] {
  const binary = random.chance(0.5);
  return random.chance(0.5)
    ? extended({ extended: statement, binary })
    : extended({ extended: statement, binary, describe: false });
}

async function enter(door: Door): Promise<Wire> {
  const { wire, greeting } = await openWire(door);
  // Some make joins of everything with everything.
  wire.send(query("set statement_timeout = '500ms'"));
  await wire.until(1);
  if (!wire.closed) return wire;
  const said = greeting.map(({ fields }) => fields?.get("M")).filter(Boolean);
  throw new Error(`the gateway refused the session: ${said.join("; ")}`);
}

function count(tally: CanaryTally, told: readonly Told[], closed: boolean): void {
  if (closed) tally.closed++;
  else if (told.some(({ type }) => type === "E")) tally.refused++;
  else if (told.some(({ type }) => type === "D")) tally.gaveRows++;
}
