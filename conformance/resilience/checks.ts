// A check does something to a gateway and throws when what came of it is not what must be.

import type { World } from "./world.ts";

export interface Check {
  readonly name: string;
  /** Settles with a text when it was skipped, for this reason. */
  run(world: World): Promise<unknown>;
}

export interface Group {
  readonly name: string;
  readonly checks: readonly Check[];
}

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

const CHECK_TIMEOUT_MS = 120_000;
const ROUND_TIMEOUT_MS = 15_000;
const DEFAULT_RUNS = 25;

export async function runGroups(groups: readonly Group[], world: World): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  for (const group of groups)
    for (const check of group.checks) {
      const label = `${group.name}: ${check.name}`;
      const started = performance.now();
      try {
        const reason = await within(check.run(world));
        const seconds = ((performance.now() - started) / 1000).toFixed(1);
        if (typeof reason === "string") tally.skipped++;
        else tally.passed++;
        console.log(
          typeof reason === "string"
            ? `skipped  ${label}: ${reason}`
            : `passed   ${label} (${seconds} s)`,
        );
      } catch (error) {
        tally.failed++;
        console.log(`FAILED   ${label}\n${indented(error)}`);
        const said = world.latest?.gateway.output().split("\n").slice(-12).join("\n") ?? "";
        console.log(`         the gateway said:\n${indented(said)}`);
      }
    }
  return tally;
}

async function within<Value>(work: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const error = new Error(`no end after ${CHECK_TIMEOUT_MS / 1000} s`);
    timer = setTimeout(() => reject(error), longest());
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A round of killing takes two seconds, several on a busy machine; a hang is to be noticed all the same. */
function longest(): number {
  return Math.max(CHECK_TIMEOUT_MS, runs() * ROUND_TIMEOUT_MS);
}

/** How often a gateway is killed; CUSTODY_RUNS says otherwise. */
export function runs(): number {
  const given = Number(process.env.CUSTODY_RUNS ?? DEFAULT_RUNS);
  return Number.isSafeInteger(given) && given > 0 ? given : DEFAULT_RUNS;
}

function indented(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return text
    .split("\n")
    .slice(0, 40)
    .map((line) => `         ${line}`)
    .join("\n");
}
