// A journal, a log and recordings under load, to be killed and starved of its disk by faults.ts. Prints
// `ack r-…` for each command whose intent is on disk, `done` at the end. Ends with 70 when nothing may go
// on, as the gateway does.

import { writeSync } from "node:fs";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { openJournal } from "@custody/gateway/audit/journal-writer.ts";
import { openLog } from "@custody/gateway/audit/log.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import { systemRandom } from "@custody/gateway/base/ids.ts";
import { openRecorder } from "@custody/gateway/recording/recorder.ts";
import { loadRecordingKeys } from "@custody/gateway/recording/recording-keys.ts";

const [, , directory = "", prefix = ""] = process.argv;
const SESSIONS = 3;
const COMMANDS = 12;
const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;

const onFailure = (): never => process.exit(70);
const journal = await openJournal({
  ...{ directory, worker: 0, clock: systemClock, onFailure },
  segmentBytes: 1,
});
const journals = [{ worker: 0, journal }];
const log = await openLog({ dataDirectory: directory, journals, onFailure, intervalMs: 5 });
const keys = await loadRecordingKeys(directory, systemRandom);

async function session(id: string): Promise<void> {
  const recorder = openRecorder(
    { journal, clock: systemClock, keys, random: systemRandom },
    { sessionId: id, subject: "corp/1", data: {} },
  );
  journal.append({ event: "session.opened", session: id, chain });
  for (let number = 0; number < COMMANDS; number++) {
    const request = `r-${id.slice(2)}-${number}`;
    const text = `select ${number} from ${id}`;
    recorder.command(request, text, undefined);
    const about = { session: id, request, chain };
    const command = commandDigest(text);
    journal.append({ ...about, event: "command.intent", decision: "permit", command });
    await new Promise<void>((done) => journal.barrier("strict", done));
    writeSync(1, `ack ${request}\n`);
    recorder.response(request, Buffer.alloc(20_000, `${request} `));
    journal.append({ ...about, event: "command.outcome", outcome: "ok" });
  }
  const { pieces, digest } = recorder.end();
  journal.append({ event: "session.closed", session: id, chain, detail: { pieces, digest } });
}

await Promise.all(Array.from({ length: SESSIONS }, (_, at) => session(`s-${prefix}x${at}`)));
await journal[Symbol.asyncDispose]();
await log[Symbol.asyncDispose]();
writeSync(1, "done\n");
