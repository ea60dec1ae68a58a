// The journal, the log over it and the keys of recordings: what is there before anything can happen and
// goes last, so that every session's last leaf is in it.

import { journalDirectory, listWorkers, makeDirectory } from "../audit/journal-files.ts";
import { lockJournal } from "../audit/journal-lock.ts";
import { type OpenJournal, openJournal } from "../audit/journal-writer.ts";
import { type AuditLog, openLog } from "../audit/log.ts";
import type { DurablePlace } from "../audit/sequencer.ts";
import type { Clock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import type { Settings } from "../live.ts";
import { loadRecordingKeys, type RecordingKeys } from "../recording/recording-keys.ts";
import type { Outside } from "./outside.ts";
import { logKeyOf, lookOutward, type OutwardState } from "./outward.ts";

export interface Evidence {
  readonly journal: OpenJournal;
  readonly auditLog: AuditLog;
  readonly keys: RecordingKeys;
  readonly outwardState: OutwardState;
  /** The journal of a data process is on disk up to there. */
  readonly follow: (worker: number, place: DurablePlace) => void;
}

/** This process's own; those of data processes have the numbers from 1 on. */
const WORKER = 0;
/** Commands wait for the journal, never for the tree; each publication rewrites its unfinished edge. */
const PUBLISH_EVERY_MS = 1_000;

export async function openEvidence(
  first: Settings,
  outside: Pick<Outside, "clock" | "log" | "onFailure" | "environment">,
  stack: AsyncDisposableStack,
  /** Numbers of the journals that data processes write. */
  workers: readonly number[],
): Promise<Evidence> {
  const { config, policies } = first;
  const { dataDirectory, limits } = config;
  const { clock, onFailure } = outside;
  // Before the journal has anything new: a gateway that is behind leaves no trace in its log.
  const outward = await lookOutward(first.config, outside);
  await makeDirectory(journalDirectory(dataDirectory));
  stack.use(lockJournal(dataDirectory, WORKER));
  const left = await endLeftJournals(first, outside, [WORKER, ...workers]);
  const journal = await openJournal({
    directory: dataDirectory,
    worker: WORKER,
    clock,
    onFailure,
    segmentBytes: limits.journalSegmentBytes,
    maxLagMs: limits.journalLagMs,
    startDetail: {
      policyVersion: policies.version,
      policyDigest: policies.digest,
      logKey: outward.logKeyId,
    },
  });
  const places = new Map(workers.map((worker) => [worker, newPlace()]));
  const auditLog = await openLog({
    key: logKeyOf(first.config),
    shards: config.log.shards,
    dataDirectory,
    journals: [
      { worker: WORKER, journal },
      ...left,
      ...[...places].map(([worker, durable]) => ({ worker, journal: { durable } })),
    ],
    intervalMs: PUBLISH_EVERY_MS,
    onFailure,
  }).catch(async (error) => {
    await journal[Symbol.asyncDispose]();
    throw error;
  });
  // Ended last, so that the log's last head goes outside too.
  const outwardState = outward.start(stack);
  // The log reads the journal's last leaves, so it is disposed after it.
  stack.use(auditLog);
  stack.use(journal);
  return {
    ...{
      journal,
      auditLog,
      outwardState,
      keys: await loadRecordingKeys(dataDirectory, systemRandom),
    },
    follow(worker, { segment, offset }) {
      const place = places.get(worker);
      if (place === undefined) return;
      const position = (BigInt(segment) << 32n) | BigInt(offset);
      // Never back: what the log has taken once is on disk.
      if (position > Atomics.load(place, 0)) Atomics.store(place, 0, position);
    },
  };
}

function newPlace(): BigInt64Array<SharedArrayBuffer> {
  return new BigInt64Array(new SharedArrayBuffer(8));
}

/**
 * Journals of data processes there are none of in this run: what they left open is ended, in them, and
 * goes into the log.
 */
async function endLeftJournals(
  { config, policies }: Settings,
  outside: { readonly clock: Clock; readonly onFailure: (error: GatewayError) => void },
  known: readonly number[],
): Promise<{ readonly worker: number; readonly journal: Pick<OpenJournal, "durable"> }[]> {
  const ended: { readonly worker: number; readonly journal: Pick<OpenJournal, "durable"> }[] = [];
  for (const worker of await listWorkers(journalDirectory(config.dataDirectory))) {
    if (known.includes(worker)) continue;
    using _lock = lockJournal(config.dataDirectory, worker);
    const journal = await openJournal({
      directory: config.dataDirectory,
      worker,
      clock: outside.clock,
      onFailure: outside.onFailure,
      segmentBytes: 0,
      startDetail: { policyVersion: policies.version },
    });
    await journal[Symbol.asyncDispose]();
    ended.push({ worker, journal });
  }
  return ended;
}
