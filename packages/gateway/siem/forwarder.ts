// Forwards the published log to a sink, from where it stopped: read, mapped, sent, and only then the place
// is remembered (`<data>/export/<name>.position`; it counts through all shards of the log). So an event comes
// at least once, after a crash too, and never before it is in the log. Nothing of it is on the way of a command.
//
// Owns its position. One batch at a time; a sink that fails is tried again later and later, for ever.

import { readFileSync } from "node:fs";
import { decodeLeaf } from "@custody/evidence/core/leaf.ts";
import { TILE_WIDTH } from "@custody/evidence/core/merkle.ts";
import { folderEntries } from "@custody/evidence/node/log-folder.ts";
import {
  type LogShard,
  readShards,
  recordsIn,
  shardWith,
} from "@custody/evidence/node/log-shards.ts";
import { createOcsfMapper, type OcsfEvent, type OcsfMapper } from "./ocsf.ts";
import type { Sink } from "./sink.ts";

export interface ForwarderDeps {
  readonly name: string;
  /** The folder with `checkpoint` and `tile/`. */
  readonly logDirectory: string;
  readonly positionFile: string;
  /** Puts a file in the place of another at once, durably. */
  readonly replace: (path: string, content: Buffer) => void;
  readonly sink: Sink;
  readonly everyMs: number;
  /** Told once when it begins to fail, and once when it works again. */
  readonly onProblem: (message: string) => void;
}

export interface Forwarder extends AsyncDisposable {
  readonly name: string;
  /** Records of the published log that have not arrived. */
  readonly lag: number;
  /** Sends what there is; resolves when it arrived, or the sink failed. For tests and the end. */
  round(): Promise<void>;
}

const BATCH = TILE_WIDTH;
const MAX_WAIT_MS = 60_000;

export function startForwarder(deps: ForwarderDeps): Forwarder {
  let position = readPosition(deps.positionFile);
  let mapper: OcsfMapper | undefined;
  let failures = 0;
  let running: Promise<void> | undefined;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;

  /** True when there may be more. */
  const batch = async (): Promise<boolean> => {
    const shards = readShards(deps.logDirectory);
    const size = recordsIn(shards);
    // Another log began in its stead.
    if (position > size) position = 0;
    // A shard that is kept elsewhere by now cannot be sent any more.
    if (position < (shards[0]?.before ?? 0)) position = shards[0]!.before;
    const shard = shardWith(shards, position);
    if (shard === undefined) return false;
    mapper ??= createOcsfMapper();
    const events = eventsFrom(shard, mapper, position);
    await deps.sink.send(events);
    position += events.length;
    deps.replace(deps.positionFile, Buffer.from(`${position}\n`, "latin1"));
    return position < size;
  };
  const round = async (): Promise<void> => {
    try {
      while (!stopped && (await batch()));
      if (failures > 0) deps.onProblem(`export ${deps.name} works again`);
      failures = 0;
    } catch (thrown) {
      failures += 1;
      // What was remembered may be of a batch that is sent again.
      mapper = undefined;
      const said = thrown instanceof Error ? thrown.message : String(thrown);
      if (failures === 1) deps.onProblem(`export ${deps.name}: ${said}; it is tried again`);
    }
  };
  const once = (): Promise<void> => {
    running ??= round().finally(() => {
      running = undefined;
    });
    return running;
  };
  const plan = (): void => {
    if (stopped) return;
    const wait = Math.min(deps.everyMs * 2 ** Math.min(failures, 16), MAX_WAIT_MS);
    timer = setTimeout(() => void once().finally(plan), wait);
    timer.unref();
  };
  plan();
  return {
    name: deps.name,
    get lag() {
      return Math.max(0, recordsIn(readShards(deps.logDirectory)) - position);
    },
    round: once,
    async [Symbol.asyncDispose]() {
      clearTimeout(timer);
      if (failures === 0) await once();
      stopped = true;
      await running;
      await deps.sink[Symbol.asyncDispose]();
    },
  };
}

/** To the end of the bundle of entries that the place is in. */
function eventsFrom(
  { directory, before, checkpoint: { origin, size } }: LogShard,
  mapper: OcsfMapper,
  position: number,
): OcsfEvent[] {
  const first = position - before;
  const bundle = Math.floor(first / BATCH);
  return folderEntries(directory, size, bundle)
    .slice(first - bundle * BATCH)
    .map((entry, at) => mapper.map(origin, first + at, decodeLeaf(entry)));
}

function readPosition(file: string): number {
  try {
    const value = Number(readFileSync(file, "latin1").trim());
    return Number.isSafeInteger(value) && value >= 0 ? value : 0;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw thrown;
  }
}
