// A journal, a log and recordings under load, as the gateway puts them together: sessions of commands whose
// answers cannot be compressed, so that the journal goes through segments. For faults.ts and kills.ts, which
// starve it of its disk and kill it.

import { createHash } from "node:crypto";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { openJournal } from "@custody/gateway/audit/journal-writer.ts";
import { openLog } from "@custody/gateway/audit/log.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import type { RandomBytes } from "@custody/gateway/base/ids.ts";
import { openRecorder } from "@custody/gateway/recording/recorder.ts";
import { loadRecordingKeys } from "@custody/gateway/recording/recording-keys.ts";

export interface EvidenceLoad {
  /** The data folder. */
  readonly directory: string;
  /** Of the sessions' names: another for each life of one data folder. */
  readonly prefix: string;
  readonly sessions: number;
  /** Of each session. */
  readonly commands: number;
  readonly responseBytes: number;
  /** A command's intent is on disk. */
  readonly onAck: (request: string) => void;
  /** Nothing may go on. */
  readonly onFailure: (error: Error) => void;
}

/** The same in each run, so that files have the same names. */
export function repeatableRandom(seed: string): RandomBytes {
  let count = 0;
  return (size) =>
    createHash("shake256", { outputLength: size }).update(`${seed} ${count++}`).digest();
}

export async function runEvidenceLoad(load: EvidenceLoad): Promise<void> {
  const { directory, prefix, onFailure } = load;
  const random = repeatableRandom(prefix);
  const journal = await openJournal({
    ...{ directory, worker: 0, clock: systemClock, onFailure },
    segmentBytes: 1,
  });
  const journals = [{ worker: 0, journal }];
  const log = await openLog({ dataDirectory: directory, journals, onFailure, intervalMs: 20 });
  const keys = await loadRecordingKeys(directory, random);
  const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
  const noise = random(load.responseBytes);

  const session = async (id: string): Promise<void> => {
    const recorder = openRecorder(
      { journal, clock: systemClock, keys, random },
      { sessionId: id, subject: "corp/1", data: {} },
    );
    journal.append({ event: "session.opened", session: id, chain });
    for (let number = 0; number < load.commands; number++) {
      const request = `r-${id.slice(2)}-${number}`;
      const text = `select ${number} from ${id}`;
      recorder.command(request, text, undefined);
      const about = { session: id, request, chain };
      const command = commandDigest(text);
      journal.append({ ...about, event: "command.intent", decision: "permit", command });
      await new Promise<void>((done) => journal.barrier("strict", done));
      load.onAck(request);
      recorder.response(request, noise);
      journal.append({ ...about, event: "command.outcome", outcome: "ok" });
    }
    const { pieces, digest } = recorder.end();
    journal.append({ event: "session.closed", session: id, chain, detail: { pieces, digest } });
  };

  const ids = Array.from({ length: load.sessions }, (_, at) => `s-${prefix}x${at}`);
  await Promise.all(ids.map(session));
  await journal[Symbol.asyncDispose]();
  await log[Symbol.asyncDispose]();
}
