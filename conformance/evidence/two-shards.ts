// A log of ours in two shards, made by the gateway's journal and sequencer with a clock that turns the year in
// the middle of a session.

import { join } from "node:path";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { openJournal } from "@custody/gateway/audit/journal-writer.ts";
import { createLogFiles } from "@custody/gateway/audit/log-files.ts";
import { loadLogKey } from "@custody/gateway/audit/log-key.ts";
import { openSequencer } from "@custody/gateway/audit/sequencer.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import { systemRandom } from "@custody/gateway/base/ids.ts";

export const ORIGIN = "custody.example/log";
export const SHARDS = ["2026", "2027"] as const;
export const SESSION = "s-aaaa";

export interface TwoShards {
  /** The log without its shards. */
  readonly log: string;
  readonly vkey: string;
  /** Under the shards' own names. */
  readonly vkeys: readonly [string, string];
}

/** So many commands on each side of the seam. */
export async function makeTwoShards(data: string, commands: number): Promise<TwoShards> {
  const time = { now: Date.parse("2026-12-31T23:59:59Z") };
  const onFailure = (error: Error): never => {
    throw error;
  };
  const journal = await openJournal({ directory: data, worker: 0, clock: systemClock, onFailure });
  const key = loadLogKey(data, systemRandom, { origin: ORIGIN });
  const sequencer = openSequencer({
    ...{ dataDirectory: data, key, files: createLogFiles() },
    sharding: { period: "year", nowMs: () => time.now },
  });
  const publish = (): void => {
    const position = Atomics.load(journal.durable, 0);
    const place = { segment: Number(position >> 32n), offset: Number(position & 0xffffffffn) };
    while (sequencer.step(new Map([[0, place]])));
  };
  const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
  const about = { session: SESSION, target: "orders", chain };
  journal.append({ ...about, event: "session.opened" });
  for (const shard of SHARDS) {
    for (let number = 0; number < commands; number++) {
      const request = `r-aaaa-${shard}${String(number).padStart(4, "0")}`;
      const command = commandDigest(request);
      journal.append({ ...about, event: "command.intent", request, decision: "permit", command });
      journal.append({ ...about, event: "command.outcome", request, outcome: "ok" });
    }
    await journal.settled();
    publish();
    time.now = Date.parse("2027-01-01T00:00:00Z");
  }
  journal.append({ ...about, event: "session.closed" });
  await journal[Symbol.asyncDispose]();
  publish();
  sequencer.close();
  const [first, second] = SHARDS.map((shard) => key.shard(shard).vkey) as [string, string];
  return { log: join(data, "log"), vkey: key.vkey, vkeys: [first, second] };
}
