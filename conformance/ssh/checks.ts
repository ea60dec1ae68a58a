// The form of the suite's cases: a name, what it needs on this machine, and what must hold.

import { existsSync } from "node:fs";
import type { SshStage } from "./stage.ts";

export interface SshCase {
  readonly name: string;
  /** Programs by absolute path; missing ones skip the case, and say so. */
  readonly needs?: readonly string[];
  /** A text that it settles with is the reason why this machine does not let it run. */
  readonly run: (stage: SshStage) => Promise<unknown>;
}

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

export async function runCases(
  cases: readonly SshCase[],
  stage: SshStage,
  tally: Tally,
): Promise<void> {
  for (const { name, needs = [], run } of cases) {
    const missing = needs.find((path) => !existsSync(path));
    if (missing !== undefined) {
      tally.skipped += 1;
      console.log(`skipped  ${name}: there is no ${missing}`);
      continue;
    }
    const started = performance.now();
    try {
      const why = await run(stage);
      if (typeof why === "string") {
        tally.skipped += 1;
        console.log(`skipped  ${name}: ${why}`);
        continue;
      }
      tally.passed += 1;
      console.log(`passed   ${name} (${Math.round(performance.now() - started)} ms)`);
    } catch (error) {
      tally.failed += 1;
      console.log(`FAILED   ${name}\n${indent((error as Error).message)}`);
    }
  }
}

function indent(text: string): string {
  return text
    .split("\n")
    .slice(0, 40)
    .map((line) => `           ${line}`)
    .join("\n");
}
