// A journal's disk whose flushes wait when a test says so; what is written and flushed is real. And recordings
// on such a disk, which stalls when the first bytes of an answer are recorded.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type JournalDisk, kernelDisk } from "../audit/journal-files.ts";
import { type OpenJournal, openJournal } from "../audit/journal-writer.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import { openRecorder, type RecordedSession, type Recorder } from "./recorder.ts";
import { loadRecordingKeys, type RecordingKeys } from "./recording-keys.ts";

export interface StallingDisk {
  readonly disk: JournalDisk;
  /** From now on flushes wait. */
  stall(): void;
  /** Settles when a flush waits. */
  readonly waits: Promise<void>;
  /** Those that wait go on, and later ones do not wait. */
  release(): void;
}

export function stallingDisk(): StallingDisk {
  const stalled = Promise.withResolvers<void>();
  const held: (() => void)[] = [];
  let isStalled = false;
  return {
    disk: {
      ...kernelDisk,
      datasync(fd, done) {
        if (!isStalled) {
          kernelDisk.datasync(fd, done);
          return;
        }
        held.push(() => kernelDisk.datasync(fd, done));
        stalled.resolve();
      },
    },
    stall() {
      isStalled = true;
    },
    waits: stalled.promise,
    release() {
      isStalled = false;
      for (const flush of held.splice(0)) flush();
    },
  };
}

export interface StallingEvidence extends AsyncDisposable {
  readonly disk: StallingDisk;
  readonly journal: OpenJournal;
  /** Bytes of answers that were recorded. */
  readonly answerBytes: () => number;
  openRecorder(session: RecordedSession, clock?: Clock): Recorder;
  readonly dataDirectory: string;
  readonly keys: RecordingKeys;
}

/** `mayStall` false: not yet. */
export async function stallingEvidence(mayStall = () => true): Promise<StallingEvidence> {
  await using parts = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), "custody-stalling-"));
  parts.defer(() => rmSync(directory, { recursive: true, force: true }));
  mkdirSync(join(directory, "keys"));
  const stalling = stallingDisk();
  const { disk } = stalling;
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  const journal = parts.use(
    await openJournal({ ...{ directory, worker: 0, clock: systemClock, onFailure, disk } }),
  );
  parts.defer(stalling.release);
  const keys = await loadRecordingKeys(directory, systemRandom);
  let bytes = 0;
  const answered = (answer: Buffer): void => {
    if (bytes === 0 && mayStall()) stalling.stall();
    bytes += answer.length;
  };
  const all = parts.move();
  return {
    ...{ disk: stalling, journal, answerBytes: () => bytes },
    ...{ dataDirectory: directory, keys },
    openRecorder(session, clock = systemClock) {
      const deps = { journal, clock, keys, random: systemRandom };
      const recorder = openRecorder(deps, session);
      const response = recorder.response.bind(recorder);
      const data = recorder.data.bind(recorder);
      recorder.response = (request, answer, level) => {
        answered(answer);
        response(request, answer, level);
      };
      recorder.data = (request, channel, stream, piece, level) => {
        if (stream === "stdout" || stream === "response") answered(piece);
        data(request, channel, stream, piece, level);
      };
      return recorder;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
