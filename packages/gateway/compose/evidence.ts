// The journal, the log over it and the keys of recordings: what is there before anything can happen and
// goes last, so that every session's last leaf is in it.

import { type OpenJournal, openJournal } from "../audit/journal-writer.ts";
import { type AuditLog, openLog } from "../audit/log.ts";
import type { Clock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import type { Settings } from "../live.ts";
import { loadRecordingKeys, type RecordingKeys } from "../recording/recording-keys.ts";

export interface Evidence {
  readonly journal: OpenJournal;
  readonly auditLog: AuditLog;
  readonly keys: RecordingKeys;
}

/** One worker in this process; more come as processes with the same data side. */
const WORKER = 0;
/** Commands wait for the journal, never for the tree; each publication rewrites its unfinished edge. */
const PUBLISH_EVERY_MS = 1_000;

export async function openEvidence(
  { config, policies }: Settings,
  outside: { readonly clock: Clock; readonly onFailure: (error: GatewayError) => void },
  stack: AsyncDisposableStack,
): Promise<Evidence> {
  const { dataDirectory, limits } = config;
  const { clock, onFailure } = outside;
  const journal = await openJournal({
    directory: dataDirectory,
    worker: WORKER,
    clock,
    onFailure,
    segmentBytes: limits.journalSegmentBytes,
    startDetail: { policyVersion: policies.version },
  });
  const auditLog = await openLog({
    dataDirectory,
    journals: [{ worker: WORKER, journal }],
    intervalMs: PUBLISH_EVERY_MS,
    onFailure,
  }).catch(async (error) => {
    await journal[Symbol.asyncDispose]();
    throw error;
  });
  // The log reads the journal's last leaves, so it is disposed after it.
  stack.use(auditLog);
  stack.use(journal);
  return { journal, auditLog, keys: await loadRecordingKeys(dataDirectory, systemRandom) };
}
