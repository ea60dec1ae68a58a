// A gateway's log as an auditor reads it: verified whole with the key, then its leaves in order.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeLeaf, type Leaf as LogLeaf } from "@custody/evidence/core/leaf.ts";
import { TILE_WIDTH } from "@custody/evidence/core/merkle.ts";
import { decodeBundle, tilePath } from "@custody/evidence/core/tile.ts";
import { verifyLog } from "@custody/evidence/node/verify.ts";

export type Leaf = LogLeaf;

/** Throws with every problem when the log does not verify. */
export async function verifiedLeaves(dataFolder: string): Promise<Leaf[]> {
  const directory = join(dataFolder, "log");
  const key = readFileSync(join(dataFolder, "keys", "log.vkey"), "utf8").trim();
  const report = await verifyLog(directory, { keys: [key] });
  if (!report.ok)
    throw new Error(`the log does not verify: ${report.problems.map((one) => one.message)}`);
  const leaves: Leaf[] = [];
  for (let index = 0; index * TILE_WIDTH < report.size; index++) {
    const width = Math.min(TILE_WIDTH, report.size - index * TILE_WIDTH);
    const bytes = readFileSync(join(directory, tilePath({ level: "entries", index, width })));
    leaves.push(...decodeBundle(bytes, width).entries.map((entry) => decodeLeaf(entry)));
  }
  return leaves;
}

/** Every intent has at most one end, and none is without one but those of `open` sessions. */
export function intentsWithoutEnd(leaves: readonly Leaf[]): string[] {
  const open = new Set<string>();
  for (const { event, request } of leaves) {
    if (request === undefined) continue;
    if (event === "command.intent") open.add(request);
    if (event === "command.outcome" || event === "command.indeterminate") open.delete(request);
  }
  return [...open];
}

export function sessionsWithoutEnd(leaves: readonly Leaf[]): string[] {
  const open = new Set<string>();
  for (const { event, session } of leaves) {
    if (session === undefined) continue;
    if (event === "session.opened") open.add(session);
    if (event === "session.closed") open.delete(session);
  }
  return [...open];
}
