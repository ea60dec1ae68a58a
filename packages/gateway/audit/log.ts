// The log as the rest of the gateway sees it: `openLog` starts the sequencer in a thread of its own and
// hears from it how far the log is. The log itself is files (sequencer.ts) that anyone can verify.

import { Worker } from "node:worker_threads";
import { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import type { ShardPeriod } from "../config/config.ts";
import type { OpenJournal } from "./journal-writer.ts";
import { type LogKeySettings, loadLogKey } from "./log-key.ts";
import { logDirectory } from "./log-shards.ts";
import type { SequencerReport, SequencerRequest, SequencerThreadData } from "./sequencer-thread.ts";

export interface AuditLog {
  /** The verifier key: what an auditor has to know from elsewhere. Of the log without its shards. */
  readonly vkey: string;
  /** Of the ML-DSA-44 cosignature, where there is one. */
  readonly mlDsaVkey: string | undefined;
  /** `checkpoint` and `tile/…` are below it, or below the folder of each shard in it. */
  readonly directory: string;
  /** Leaves in the published tree, and the shards before it. */
  readonly size: number;
  /** Resolves when every leaf that is on disk in the journal now is in the published tree. */
  sync(): Promise<void>;
  /** After the journal's own disposal: publishes what is left and ends the thread. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface LogOptions {
  readonly dataDirectory: string;
  readonly journals: readonly {
    readonly worker: number;
    readonly journal: Pick<OpenJournal, "durable">;
  }[];
  /** The log cannot be gone on with; the gateway has to stop. Called once, after `openLog` resolved. */
  readonly onFailure: (error: GatewayError) => void;
  /** How often something new is published. Default 250. */
  readonly intervalMs?: number;
  readonly key?: LogKeySettings;
  /** Left out: the log goes on where it is. */
  readonly shards?: ShardPeriod | undefined;
}

/** Rejects with GatewayError "evidence_unavailable" when the log does not extend what was published. */
export function openLog(options: LogOptions): Promise<AuditLog> {
  const key = options.key ?? {};
  const { vkey, mlDsaVkey } = loadLogKey(options.dataDirectory, systemRandom, key);
  const workerData: SequencerThreadData = {
    dataDirectory: options.dataDirectory,
    intervalMs: options.intervalMs ?? 250,
    key,
    shards: options.shards,
    journals: options.journals.map(({ worker, journal }) => ({ worker, durable: journal.durable })),
  };
  const thread = new Worker(new URL("./sequencer-thread.ts", import.meta.url), { workerData });
  return new Promise((resolve, reject) => {
    let size = 0;
    let failure: GatewayError | undefined;
    let isOpen = false;
    let isClosing = false;
    let lastSync = 0;
    const syncs = new Map<number, { resolve: () => void; reject: (error: GatewayError) => void }>();
    const fail = (error: GatewayError): void => {
      if (failure !== undefined) return;
      failure = error;
      for (const waiting of syncs.values()) waiting.reject(error);
      if (isOpen) options.onFailure(error);
      else reject(error);
    };
    const sync = (): Promise<void> =>
      new Promise((resolveSync, rejectSync) => {
        if (failure !== undefined) return rejectSync(failure);
        syncs.set(++lastSync, { resolve: resolveSync, reject: rejectSync });
        post(thread, { sync: lastSync });
      });
    const exited = new Promise<void>((resolveExit) => {
      thread.once("exit", () => {
        if (!isClosing) fail(new GatewayError("evidence_unavailable", "the sequencer ended"));
        resolveExit();
      });
    });
    const log: AuditLog = {
      vkey,
      mlDsaVkey,
      directory: logDirectory(options.dataDirectory),
      get size() {
        return size;
      },
      sync,
      async [Symbol.asyncDispose]() {
        if (isClosing) return exited;
        if (failure === undefined) await sync().catch(() => undefined);
        isClosing = true;
        post(thread, { close: true });
        await exited;
      },
    };
    thread.on("error", (cause) =>
      fail(new GatewayError("evidence_unavailable", "the sequencer failed", { cause })),
    );
    thread.on("message", (report: SequencerReport) => {
      if ("failed" in report) {
        const hint = report.hint === undefined ? {} : { hint: report.hint };
        return fail(new GatewayError("evidence_unavailable", report.failed, hint));
      }
      size = report.size;
      if ("synced" in report) {
        syncs.get(report.synced)?.resolve();
        syncs.delete(report.synced);
      }
      if (!isOpen) {
        isOpen = true;
        resolve(log);
      }
    });
  });
}

function post(thread: Worker, request: SequencerRequest): void {
  thread.postMessage(request);
}
