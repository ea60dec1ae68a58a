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
}

export interface CanaryTally {
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
  { seed, runs, stopAtLeak = false }: CanaryRun,
): Promise<CanaryTally> {
  const next = createStatements(seed);
  const random = seededRandom(seed ^ 0x5eed);
  const tally: CanaryTally = { gaveRows: 0, refused: 0, closed: 0, leaks: [] };
  let wire = await enter(door);
  try {
    for (let run = 0; run < runs; run++) {
      const statement = next();
      wire.send(
        random.chance(0.5) ? query(statement) : Buffer.concat(byMessages(statement, random)),
      );
      const told = await wire.until(1);
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

function byMessages(statement: string, random: { chance(probability: number): boolean }): Buffer[] {
  const binary = random.chance(0.5);
  return random.chance(0.5)
    ? extended({ extended: statement, binary })
    : extended({ extended: statement, binary, describe: false });
}

async function enter(door: Door): Promise<Wire> {
  const { wire, greeting } = await openWire(door);
  if (!wire.closed) return wire;
  const said = greeting.map(({ fields }) => fields?.get("M")).filter(Boolean);
  throw new Error(`the gateway refused the session: ${said.join("; ")}`);
}

function count(tally: CanaryTally, told: readonly Told[], closed: boolean): void {
  if (closed) tally.closed++;
  else if (told.some(({ type }) => type === "E")) tally.refused++;
  else if (told.some(({ type }) => type === "D")) tally.gaveRows++;
}
