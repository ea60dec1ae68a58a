// Recordings in files of one's own: sealed for recipients of age (evidence/node/sealed-recording.ts), and opened
// again without a gateway.

import { readFileSync, rmSync } from "node:fs";
import type { RecordingLine } from "@custody/contract/sessions.ts";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import {
  readSealedRecording,
  seekSealedRecording,
  writeSealedRecording,
} from "@custody/evidence/node/sealed-recording.ts";

import { CliError } from "./faults.ts";

/** A new file; nothing is left of it when the recording does not come to its end. */
export async function sealLines(
  lines: AsyncIterable<RecordingLine>,
  recipients: readonly string[],
  path: string,
): Promise<void> {
  let isOurs = false;
  async function* events(): AsyncGenerator<RecordingEvent> {
    // A line that is an error has been thrown by the client.
    for await (const line of lines) {
      isOurs = true;
      yield line as unknown as RecordingEvent;
    }
  }
  try {
    await writeSealedRecording(path, events(), recipients);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "EEXIST")
      throw new CliError("usage", `${path} is there already`);
    if (isOurs) rmSync(path, { force: true });
    throw thrown;
  }
}

/** `from`: seconds; what is before is not read. A command (r-…) is for the caller to look for. */
export function sealedLines(
  path: string,
  identityFile: string,
  from: string | undefined,
  withScreen = false,
): AsyncIterable<RecordingLine> {
  const identity = readIdentity(identityFile);
  const seconds = Number(from ?? "");
  const events =
    seconds > 0
      ? seekSealedRecording(path, identity, Math.floor(seconds * 1000), withScreen)
      : readSealedRecording(path, identity);
  return events as AsyncIterable<RecordingLine>;
}

/** As `age-keygen` writes it. */
function readIdentity(path: string): string {
  const line = readFileSync(path, "utf8")
    .split("\n")
    .find((one) => one.startsWith("AGE-SECRET-KEY-"));
  if (line === undefined) throw new CliError("usage", `${path} holds no age identity`);
  return line.trim();
}
