// The sequencer's thread: looks at the journals every so often, works until nothing is left to do, and
// answers `sync` requests. It reads how far journals are on disk from memory it shares with their
// writers. Any error ends it: log.ts stops the gateway then.

import { randomBytes } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import { systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { ShardPeriod } from "../config/config.ts";
import { createLogFiles } from "./log-files.ts";
import { type LogKeySettings, loadLogKey } from "./log-key.ts";
import { type DurablePlace, openSequencer } from "./sequencer.ts";

export interface SequencerThreadData {
  readonly dataDirectory: string;
  readonly intervalMs: number;
  readonly key: LogKeySettings;
  readonly shards: ShardPeriod | undefined;
  readonly journals: readonly {
    readonly worker: number;
    readonly durable: BigInt64Array<SharedArrayBuffer>;
  }[];
}

/** To the thread. */
export type SequencerRequest = { readonly sync: number } | { readonly close: true };
/** From the thread. */
export type SequencerReport =
  | { readonly size: number }
  | { readonly synced: number; readonly size: number }
  | { readonly failed: string; readonly hint: string | undefined };

if (parentPort !== null) {
  const port = parentPort;
  const { dataDirectory, intervalMs, journals, shards, ...data } =
    workerData as SequencerThreadData;
  try {
    const key = loadLogKey(dataDirectory, randomBytes, data.key);
    const sharding = shards && { period: shards, nowMs: systemClock.nowMs };
    const sequencer = openSequencer({ dataDirectory, key, files: createLogFiles(), sharding });
    const work = (): void => {
      const before = sequencer.size;
      // As far as it was on disk at the beginning: what comes meanwhile is for the next time, or a busy
      // journal would be published as often as the disk can.
      const places = durablePlaces(journals);
      while (sequencer.step(places));
      if (sequencer.size !== before) port.postMessage({ size: sequencer.size });
    };
    const guarded = (action: () => void): void => {
      try {
        action();
      } catch (error) {
        fail(error);
      }
    };
    work();
    port.postMessage({ size: sequencer.size });
    const timer = setInterval(() => guarded(work), intervalMs);
    port.on("message", (request: SequencerRequest) =>
      guarded(() => {
        if ("sync" in request) {
          work();
          port.postMessage({ synced: request.sync, size: sequencer.size });
        } else {
          clearInterval(timer);
          sequencer.close();
          port.close();
        }
      }),
    );
  } catch (error) {
    fail(error);
  }

  function fail(error: unknown): void {
    const hint = (error as { hint?: string }).hint;
    const said = error instanceof Error ? error.message : String(error);
    const failed = error instanceof GatewayError ? said : `the log cannot be written: ${said}`;
    port.postMessage({ failed, hint });
    port.close();
    process.exit(1);
  }
}

function durablePlaces(journals: SequencerThreadData["journals"]): Map<number, DurablePlace> {
  const places = new Map<number, DurablePlace>();
  for (const { worker, durable } of journals) {
    const position = Atomics.load(durable, 0);
    const place = { segment: Number(position >> 32n), offset: Number(position & 0xffffffffn) };
    if (place.segment > 0) places.set(worker, place);
  }
  return places;
}
