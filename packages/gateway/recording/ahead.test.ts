// How far a recording may be ahead of the disk, with a real journal on a disk whose flushes wait: what is
// delivered, what is not, when a session is ended, and that nothing grows meanwhile.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type OpenJournal, openJournal } from "../audit/journal-writer.ts";
import { systemClock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import type { RecordingMode } from "../policy/annotations.ts";
import { openRecorder, type Recorder } from "./recorder.ts";
import { loadRecordingKeys } from "./recording-keys.ts";
import { readRecording } from "./replay.ts";
import { type StallingDisk, stallingDisk } from "./stalling-disk.fixture.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Place {
  readonly disk: StallingDisk;
  readonly journal: OpenJournal;
  readonly recorder: Recorder;
  readonly leaves: string[];
  /** What of the stream is on disk, as a replay finds it. */
  recorded(): Promise<string>;
}

async function place(): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), "custody-ahead-"));
  mkdirSync(join(directory, "keys"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  const disk = stallingDisk();
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  const journal = await openJournal({
    ...{ directory, worker: 0, clock: systemClock, onFailure, disk: disk.disk },
  });
  cleanups.push(() => journal[Symbol.asyncDispose](), disk.release);
  const leaves: string[] = [];
  journal.tail((leaf) => leaves.push(leaf));
  const keys = await loadRecordingKeys(directory, systemRandom);
  const recorder = openRecorder(
    { journal, clock: systemClock, keys, random: systemRandom },
    { sessionId: "s-1", subject: "corp/ann", data: {} },
  );
  return {
    ...{ disk, journal, recorder, leaves },
    async recorded() {
      let text = "";
      for await (const event of readRecording({ dataDirectory: directory, keys }, "s-1"))
        if (event.kind === "data") text += Buffer.from(event.bytes, "base64").toString();
      return text;
    },
  };
}

const STRICT: RecordingMode = { mode: "strict" };
const say = (recorder: Recorder, request: string, text: string): void =>
  recorder.data(request, 0, "stdout", Buffer.from(text));

/** Whether it may be delivered, now or ever. */
function delivered(recorder: Recorder): { readonly now: boolean; readonly ever: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const now = recorder.delivery(resolve);
  if (now) resolve();
  return { now, ever: promise };
}

async function isSettled(promise: Promise<void>): Promise<boolean> {
  const pending = Symbol("pending");
  return (await Promise.race([promise, Promise.resolve(pending)])) !== pending;
}

test("of a strict command nothing may be delivered before the flush of what it recorded has come back", async () => {
  const { disk, recorder, recorded } = await place();
  disk.stall();
  recorder.begin("r-1", STRICT);
  say(recorder, "r-1", "secret of state");
  const answer = delivered(recorder);
  assert.equal(answer.now, false);
  await disk.waits;
  assert.equal(await isSettled(answer.ever), false, "before its flush");
  assert.equal(delivered(recorder).now, false, "what is recorded later neither");
  disk.release();
  await answer.ever;
  assert.equal(await recorded(), "secret of state");
  assert.equal(delivered(recorder).now, true, "all of it is on disk");
});

test("a command's last words count although it has its outcome", async () => {
  const { disk, recorder } = await place();
  recorder.begin("r-1", STRICT);
  say(recorder, "r-1", "the end");
  recorder.finish("r-1");
  disk.stall();
  assert.equal(delivered(recorder).now, false);
  disk.release();
  await delivered(recorder).ever;
  say(recorder, "r-2", "another's");
  assert.equal(delivered(recorder).now, true, "no mode is left");
});

test("a session of more commands at once than modes are kept of is strict, not free", async () => {
  const { disk, recorder } = await place();
  for (let n = 0; n <= 10_000; n++)
    recorder.begin(`r-${n}`, { mode: "bounded", aheadMs: 60_000, aheadBytes: 1 << 20 });
  disk.stall();
  say(recorder, "r-10000", "of the last");
  assert.equal(delivered(recorder).now, false);
  disk.release();
  await delivered(recorder).ever;
});

test("what commands without a mode record is delivered while the disk stalls", async () => {
  const { disk, recorder } = await place();
  disk.stall();
  recorder.begin("r-1", undefined);
  recorder.begin("r-2", STRICT);
  say(recorder, "r-1", "plain");
  assert.equal(delivered(recorder).now, true);
});

test("of a bounded command its bytes may be delivered ahead, and no more", async () => {
  const { disk, recorder } = await place();
  disk.stall();
  recorder.begin("r-1", { mode: "bounded", aheadMs: 3_600_000, aheadBytes: 1000 });
  say(recorder, "r-1", "x".repeat(900));
  assert.equal(delivered(recorder).now, true);
  say(recorder, "r-1", "y".repeat(900));
  const beyond = delivered(recorder);
  assert.equal(beyond.now, false);
  await disk.waits;
  assert.equal(await isSettled(beyond.ever), false);
  disk.release();
  await beyond.ever;
});

test("a session whose bounded recording is late is ended, not before its time, and the log says so", async () => {
  const { disk, journal, recorder, leaves } = await place();
  const ended = Promise.withResolvers<GatewayError>();
  recorder.onBehind(ended.resolve);
  recorder.begin("r-1", { mode: "bounded", aheadMs: 300, aheadBytes: 1 << 20 });
  disk.stall();
  const recordedMs = systemClock.monotonicMs();
  say(recorder, "r-1", "too late");
  const error = await ended.promise;
  assert.ok(systemClock.monotonicMs() - recordedMs >= 300, "not before its bound");
  assert.equal(error.code, "evidence_unavailable");
  assert.match(error.message, /not on disk after 300 ms, .*the session was closed/);
  disk.release();
  await journal.settled();
  const behind = leaves.map((leaf) => JSON.parse(leaf)).filter(({ event }) => /behind/.test(event));
  assert.equal(behind.length, 1);
  assert.deepEqual(
    [behind[0].event, behind[0].session, behind[0].detail.allowedMs],
    ["recording.behind", "s-1", 300],
  );
});

test("a flush that takes shorter than the bound ends nothing, one after the other", async () => {
  const { disk, journal, recorder } = await place();
  let isEnded = false;
  recorder.onBehind(() => {
    isEnded = true;
  });
  recorder.begin("r-1", { mode: "bounded", aheadMs: 30_000, aheadBytes: 1 << 20 });
  for (let at = 0; at < 3; at++) {
    disk.stall();
    say(recorder, "r-1", "some");
    await disk.waits;
    say(recorder, "r-1", "more, while the flush is under way");
    disk.release();
    await journal.settled();
  }
  assert.equal(isEnded, false);
});

test("what is recorded while a flush that does not cover it runs is late by its own time", async () => {
  const { disk, recorder } = await place();
  const ended = Promise.withResolvers<void>();
  recorder.onBehind(() => ended.resolve());
  disk.stall();
  // The flush under way is asked for before the bounded command says anything.
  recorder.begin("r-0", STRICT);
  say(recorder, "r-0", "first");
  delivered(recorder);
  await disk.waits;
  recorder.begin("r-1", { mode: "bounded", aheadMs: 50, aheadBytes: 1 << 20 });
  say(recorder, "r-1", "second");
  await ended.promise;
});

test("a session that has ended is not ended again", async () => {
  const { disk, recorder } = await place();
  recorder.onBehind(() => assert.fail("it has ended"));
  disk.stall();
  recorder.begin("r-1", { mode: "bounded", aheadMs: 20, aheadBytes: 1 << 20 });
  say(recorder, "r-1", "some");
  recorder.end();
  await delay(100);
});

test("a disk that stalls makes who records wait at the bound, whatever the mode", async () => {
  const { disk, recorder } = await place();
  disk.stall();
  const chunk = Buffer.alloc(32 << 10, "z");
  let bytes = 0;
  const { promise: free, resolve } = Promise.withResolvers<void>();
  while (recorder.room(resolve)) {
    recorder.data("r-1", 0, "stdout", chunk);
    bytes += chunk.length;
    assert.ok(bytes <= 2 << 20, "it goes on for ever");
  }
  await disk.waits;
  assert.equal(await isSettled(free), false);
  disk.release();
  await free;
});
