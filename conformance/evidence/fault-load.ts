// evidence-load.ts as a process of its own, to be killed and starved of its disk. Prints `ack r-…` for each
// command whose intent is on disk, `done` at the end; `stopped: …` and ends with 70 when nothing may go on, as
// the gateway does.
//   fault-load.ts <data folder> <prefix> <sessions> <commands of each> <bytes of an answer>

import { writeSync } from "node:fs";
import { runEvidenceLoad } from "./evidence-load.ts";

const [, , directory = "", prefix = "", sessions, commands, responseBytes] = process.argv;
await runEvidenceLoad({
  ...{ directory, prefix },
  ...{ sessions: Number(sessions), commands: Number(commands) },
  responseBytes: Number(responseBytes),
  onAck: (request) => writeSync(1, `ack ${request}\n`),
  onFailure: (error) => {
    writeSync(1, `stopped: ${error.message}\n`);
    process.exit(70);
  },
});
writeSync(1, "done\n");
