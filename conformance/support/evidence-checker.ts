// The checker of everything a gateway keeps: the log verifies whole and has an end for everything, what was
// acknowledged is in it, and every recording opens and is what the log says. For a gateway that has stopped.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Leaf } from "@custody/evidence/core/leaf.ts";
import { verifyLog } from "@custody/evidence/node/verify.ts";
import { leavesWithin, sessionProof } from "@custody/gateway/audit/log-search.ts";
import { systemRandom } from "@custody/gateway/base/ids.ts";
import { loadRecordingKeys } from "@custody/gateway/recording/recording-keys.ts";
import { readRecording } from "@custody/gateway/recording/replay.ts";

const ALWAYS = { fromMs: 0, toMs: Number.MAX_SAFE_INTEGER };

export interface CheckedEvidence {
  readonly leaves: readonly Leaf[];
  /** Commands that are in recordings. */
  readonly recorded: ReadonlySet<string>;
  /** What is wrong, in words. */
  readonly problems: readonly string[];
}

/** `acknowledged`: requests whose intent somebody was told is on disk. */
export async function checkEvidence(
  dataDirectory: string,
  acknowledged: Iterable<string> = [],
): Promise<CheckedEvidence> {
  const log = join(dataDirectory, "log");
  const vkey = readFileSync(join(dataDirectory, "keys", "log.vkey"), "utf8").trim();
  const report = await verifyLog(log, { keys: [vkey] });
  const problems = report.problems.map(({ message }) => message);
  for (const session of report.open.sessions) problems.push(`session ${session} has no end`);
  for (const request of report.open.intents) problems.push(`intent ${request} has no end`);
  const leaves: Leaf[] = [];
  for await (const leaf of leavesWithin(log, ALWAYS, [])) leaves.push(leaf);
  const recorded = await checkRecordings(dataDirectory, problems);
  const intents = new Set(
    leaves.filter(({ event }) => event === "command.intent").map(({ request }) => request),
  );
  for (const request of acknowledged) {
    if (!intents.has(request)) problems.push(`${request} was acknowledged and has no intent`);
    if (!recorded.has(request)) problems.push(`${request} was acknowledged and is not recorded`);
  }
  return { leaves, recorded, problems };
}

async function checkRecordings(dataDirectory: string, problems: string[]): Promise<Set<string>> {
  const recorded = new Set<string>();
  const keys = await loadRecordingKeys(dataDirectory, systemRandom);
  const sessions = readdirSync(join(dataDirectory, "recordings"))
    .filter((name) => name.endsWith(".rec"))
    .map((name) => name.slice(0, -".rec".length));
  for (const session of sessions) {
    try {
      const proof = await sessionProof(join(dataDirectory, "log"), session, ALWAYS);
      for await (const event of readRecording({ dataDirectory, keys }, session, proof)) {
        if (event.kind === "command") recorded.add(event.request);
      }
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  return recorded;
}
