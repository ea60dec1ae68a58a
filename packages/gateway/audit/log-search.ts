// Looks into the published log by time: leaves are nearly in the order of their times (workers' journals are
// merged as they come), so a window is found by halving and read with a margin. Reads files; owns nothing.

import { setImmediate as turn } from "node:timers/promises";
import { decodeLeaf, type Leaf } from "@custody/evidence/core/leaf.ts";
import { TILE_WIDTH } from "@custody/evidence/core/merkle.ts";
import { folderEntries } from "@custody/evidence/node/log-folder.ts";
import { type LogShard, readShards } from "@custody/evidence/node/log-shards.ts";
import type { RecordingProof } from "@custody/evidence/node/recording-reader.ts";

/** How much two workers' leaves may be apart in the log: publication is once a second. */
const MARGIN_MS = 60_000;
/** So many bundles are read before others of this process have their turn. */
const BUNDLES_A_TURN = 16;

export interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Leaves of the window, in order, whose text holds one of `words` (any, when there are none). */
export async function* leavesWithin(
  logDirectory: string,
  { fromMs, toMs }: Window,
  words: readonly string[],
): AsyncGenerator<Leaf> {
  for (const shard of readShards(logDirectory)) {
    for await (const leaf of leavesOfShard(shard, { fromMs, toMs }, words)) {
      if (leaf.at > toMs + MARGIN_MS) return;
      yield leaf;
    }
  }
}

/** To the first that is later than the window, that one included. */
async function* leavesOfShard(
  { directory, checkpoint: { size } }: LogShard,
  { fromMs, toMs }: Window,
  words: readonly string[],
): AsyncGenerator<Leaf> {
  const bundles = Math.ceil(size / TILE_WIDTH);
  const entries = (bundle: number): Buffer[] =>
    folderEntries(directory, size, bundle).map((entry) => Buffer.from(entry));
  const startOf = (bundle: number): number => {
    const [first] = entries(bundle);
    return first === undefined ? 0 : decodeLeaf(first).at;
  };
  let low = 0;
  let high = bundles;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (startOf(middle) < fromMs - MARGIN_MS) low = middle + 1;
    else high = middle;
  }
  for (let bundle = Math.max(0, low - 1), read = 1; bundle < bundles; bundle++, read++) {
    if (read % BUNDLES_A_TURN === 0) await turn();
    for (const entry of entries(bundle)) {
      if (words.length > 0 && !words.some((word) => entry.includes(word))) continue;
      const leaf = decodeLeaf(entry);
      if (leaf.at >= fromMs - MARGIN_MS) yield leaf;
      if (leaf.at > toMs + MARGIN_MS) return;
    }
  }
}

/** What the log says of a session's recording. */
export interface SessionProof extends RecordingProof {
  readonly commands: NonNullable<RecordingProof["commands"]>;
  /** By request: classes that its answer shows as they are. */
  readonly unmasked: ReadonlyMap<string, readonly string[]>;
}

/** As far as it is published. */
export async function sessionProof(
  logDirectory: string,
  sessionId: string,
  window: Window,
): Promise<SessionProof> {
  const unmasked = new Map<string, readonly string[]>();
  const commands = new Map<string, { command: string; parameters?: string }>();
  let summary: RecordingProof["summary"];
  for await (const leaf of leavesWithin(logDirectory, window, [`"${sessionId}"`])) {
    if (leaf.session !== sessionId) continue;
    const { event, request, command, parameters, detail } = leaf;
    if (event === "session.closed" && typeof detail?.pieces === "number") {
      summary = { pieces: detail.pieces, digest: String(detail.digest) };
    }
    if (event !== "command.intent" || request === undefined || command === undefined) continue;
    if (Array.isArray(detail?.unmasked)) unmasked.set(request, detail.unmasked);
    commands.set(request, { command, ...(parameters === undefined ? {} : { parameters }) });
  }
  return { commands, unmasked, ...(summary === undefined ? {} : { summary }) };
}
