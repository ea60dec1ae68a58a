// What evidence costs: encrypted durable records a second at several numbers of sessions, leaves through the
// tree, megabytes recorded, and what one plain read pays on the data path. Short runs: the disk's flush and
// whatever else the machine does are in the figures; `ratio` is against what was set out to be reached.
//   node bench/evidence.ts [--json] [--seconds N] [--sessions 1,64,256,4096] [--leaves N] [--megabytes N]

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import {
  seekSealedRecording,
  writeSealedRecording,
} from "@custody/evidence/node/sealed-recording.ts";
import { type OpenJournal, openJournal } from "@custody/gateway/audit/journal-writer.ts";
import { createLogFiles } from "@custody/gateway/audit/log-files.ts";
import { loadLogKey } from "@custody/gateway/audit/log-key.ts";
import { type DurablePlace, openSequencer } from "@custody/gateway/audit/sequencer.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import { newId, systemRandom } from "@custody/gateway/base/ids.ts";
import { openRecorder, type Recorder } from "@custody/gateway/recording/recorder.ts";
import {
  loadRecordingKeys,
  type RecordingKeys,
} from "@custody/gateway/recording/recording-keys.ts";
import { readRecording } from "@custody/gateway/recording/replay.ts";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { median, printRows, type Row } from "./rows.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    seconds: { type: "string", default: "2" },
    sessions: { type: "string", default: "1,64,256,4096" },
    megabytes: { type: "string", default: "256" },
    leaves: { type: "string", default: "60000" },
  },
});
const seconds = Number(values.seconds);
const TEXT = "select id, name, created_at from public.orders where id = $1 order by created_at";
const PARAMETERS = [Buffer.from("123456")];
const DIGEST = commandDigest(TEXT);
const CHAIN = [
  { d: "d-engineer", s: "corp/00000000-0000-4000-8000-000000000001", k: "user", p: "attested" },
  { d: "d-ci-job", s: "github/repo:acme/shop", k: "workload", p: "possession" },
  { d: "d-reporter", s: "d-reporter", k: "agent", p: "bearer" },
] as const;
const EFFECTS = ["sql:select orders/shop/public/orders"];
const POLICIES = ["people-read", "agents-inherit"];

const ALONE = { against: "nothing", ratio: undefined };

interface Place extends AsyncDisposable {
  readonly directory: string;
  readonly journal: OpenJournal;
  readonly keys: RecordingKeys;
  record(sessionId: string, maxResponseBytes?: number): Recorder;
}

async function openPlace(): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), "custody-bench-"));
  const onFailure = (error: Error): never => {
    throw error;
  };
  const journal = await openJournal({ directory, worker: 0, clock: systemClock, onFailure });
  loadLogKey(directory, systemRandom);
  const keys = await loadRecordingKeys(directory, systemRandom);
  const deps = { journal, clock: systemClock, keys, random: systemRandom };
  return {
    directory,
    journal,
    keys,
    record: (sessionId, maxResponseBytes = 1 << 20) =>
      openRecorder(deps, { sessionId, subject: CHAIN[0].s, data: {}, maxResponseBytes }),
    async [Symbol.asyncDispose]() {
      await journal[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function intent(journal: OpenJournal, session: string, request: string): void {
  journal.append({
    ...{ event: "command.intent", session, request, target: "orders", account: "ro", chain: CHAIN },
    ...{ effects: EFFECTS, decision: "permit", policies: POLICIES, policyVersion: "ab12cd34ef56" },
    command: DIGEST,
  });
}

/** Each session: command and intent, on disk; its outcome; and again. */
async function durableRecords(sessions: number): Promise<Row[]> {
  await using place = await openPlace();
  const { journal } = place;
  const latenciesMs: number[] = [];
  let isOver = false;
  const work = async (): Promise<void> => {
    const session = newId("s", 12);
    const recorder = place.record(session);
    for (let number = 0; !isOver; number++) {
      const request = `r-${session.slice(2)}-${number}`;
      const started = performance.now();
      recorder.command(request, TEXT, PARAMETERS);
      intent(journal, session, request);
      await new Promise<void>((done) => journal.barrier("strict", done));
      latenciesMs.push(performance.now() - started);
      // Waits for nobody, and goes to the disk with the next command of any session.
      journal.append({ event: "command.outcome", session, request, outcome: "ok", rows: 1 });
    }
    recorder.end();
  };
  const before = process.cpuUsage();
  const started = performance.now();
  const all = Promise.all(Array.from({ length: sessions }, work));
  setTimeout(() => {
    isOver = true;
  }, seconds * 1000);
  await all;
  const took = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(before);
  const cpu = user + system;
  latenciesMs.sort((a, b) => a - b);
  const at = (share: number) => latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0;
  // A command's record and its intent's are one of each.
  const perSecond = latenciesMs.length / took;
  const name = `${sessions} sessions`;
  const runs = latenciesMs.length;
  const goal =
    sessions === 64 ? { against: "to reach: 60000/s", ratio: perSecond / 60_000 } : ALONE;
  return [
    { name: `encrypted durable records, ${name}`, unit: "1/s", value: perSecond, runs, ...goal },
    { name: `on disk, ${name}: p50`, unit: "ms", value: at(0.5), runs, ...ALONE },
    { name: `on disk, ${name}: p99`, unit: "ms", value: at(0.99), runs, ...ALONE },
    // Of all threads: what is left of the figures above when the machine is busy with other things.
    { name: `processor a record, ${name}`, unit: "µs", value: cpu / runs, runs, ...ALONE },
  ];
}

async function leavesInTree(count: number): Promise<Row> {
  await using place = await openPlace();
  const { journal, directory } = place;
  for (let number = 0; number < count; number++) {
    intent(journal, "s-bench", `r-bench-${number}`);
    if (number % 5000 === 0) await journal.settled();
  }
  await journal.settled();
  const durable = placeOf(journal);
  const key = loadLogKey(directory, systemRandom);
  const sequencer = openSequencer({ dataDirectory: directory, key, files: createLogFiles() });
  const started = performance.now();
  while (sequencer.step(durable));
  const perSecond = sequencer.size / ((performance.now() - started) / 1000);
  sequencer.close();
  const goal = { against: "to reach: 50000/s", ratio: perSecond / 50_000 };
  return { name: "leaves in the tree", unit: "1/s", value: perSecond, runs: count, ...goal };
}

/** One session's stream, with back-pressure: encrypted, chained, on disk. */
async function recordedBytes(): Promise<Row> {
  await using place = await openPlace();
  const recorder = place.record("s-bench", 1 << 40);
  const chunk = systemRandom(32 << 10);
  const end = performance.now() + seconds * 1000;
  const started = performance.now();
  let bytes = 0;
  while (performance.now() < end) {
    recorder.data("r-1", 0, "stdout", chunk);
    bytes += chunk.length;
    await new Promise<void>((done) => {
      if (recorder.room(done)) done();
    });
  }
  recorder.end();
  await place.journal.settled();
  const perSecond = bytes / 1e6 / ((performance.now() - started) / 1000);
  const runs = Math.round(bytes / chunk.length);
  return { name: "recorded, one stream", unit: "MB/s", value: perSecond, runs, ...ALONE };
}

/** From asking to the first event, anywhere in a long recording: the median of several places. */
async function seek(megabytes: number): Promise<Row> {
  await using place = await openPlace();
  const { journal, directory, keys } = place;
  let nowMs = 0;
  const clock = { nowMs: systemClock.nowMs, monotonicMs: () => nowMs };
  const recorder = openRecorder(
    { journal, clock, keys, random: systemRandom },
    { sessionId: "s-bench", subject: "d", data: {}, maxResponseBytes: 1 << 40 },
  );
  const chunk = systemRandom(50_000);
  const key = loadLogKey(directory, systemRandom);
  const sequencer = openSequencer({ dataDirectory: directory, key, files: createLogFiles() });
  for (let bytes = 0; bytes < megabytes * 1e6; bytes += chunk.length) {
    nowMs += 100;
    recorder.data("r-1", 0, "stdout", chunk);
    await new Promise<void>((done) => {
      if (recorder.room(done)) done();
    });
    if (bytes % (64 * chunk.length) === 0) while (sequencer.step(placeOf(journal)));
  }
  recorder.end();
  await journal.settled();
  while (sequencer.step(placeOf(journal)));
  sequencer.close();
  const places = Array.from({ length: 21 }, (_, at) => Math.floor((nowMs * (at + 0.5)) / 21));
  const took: number[] = [];
  for (const fromMs of places) {
    const started = performance.now();
    const deps = { dataDirectory: directory, keys };
    for await (const event of readRecording(deps, "s-bench", {}, fromMs)) {
      if (event.t < fromMs) throw new Error("it began too early");
      break;
    }
    took.push(performance.now() - started);
  }
  const value = median(took);
  const goal = { against: "to reach: 100 ms", ratio: value / 100 };
  return { name: `seek in ${megabytes} MB recorded`, unit: "ms", value, runs: 21, ...goal };
}

/** The same in a recording that was sealed into an age file. */
async function seekSealed(megabytes: number): Promise<Row> {
  const directory = mkdtempSync(join(tmpdir(), "custody-bench-sealed-"));
  try {
    const path = join(directory, "recording.age");
    const identity = await generateIdentity();
    const count = (megabytes * 1e6) / 50_000;
    await writeSealedRecording(path, noise(count), [await identityToRecipient(identity)]);
    const took: number[] = [];
    for (let at = 0; at < 21; at++) {
      const fromMs = Math.floor((count * 100 * (at + 0.5)) / 21);
      const started = performance.now();
      for await (const event of seekSealedRecording(path, identity, fromMs)) {
        if (event.t < fromMs) throw new Error("it began too early");
        break;
      }
      took.push(performance.now() - started);
    }
    const value = median(took);
    const goal = { against: "to reach: 100 ms", ratio: value / 100 };
    return { name: `seek in ${megabytes} MB sealed`, unit: "ms", value, runs: 21, ...goal };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function* noise(count: number): AsyncGenerator<RecordingEvent> {
  const about = { kind: "data", request: "r-1", channel: 0, stream: "stdout" } as const;
  for (let at = 0; at < count; at++)
    yield { t: at * 100, ...about, bytes: systemRandom(50_000).toString("base64") };
}

function placeOf(journal: OpenJournal): Map<number, DurablePlace> {
  const position = Atomics.load(journal.durable, 0);
  return new Map([
    [0, { segment: Number(position >> 32n), offset: Number(position & 0xffffffffn) }],
  ]);
}

/** Processor time of this thread for what a plain read adds: two leaves, its text, its answer. */
async function dataPath(): Promise<Row> {
  await using place = await openPlace();
  const { journal } = place;
  const session = "s-bench";
  const recorder = place.record(session);
  const answer = systemRandom(400);
  const commands = 60_000;
  const round = async (count: number, label: string): Promise<void> => {
    for (let number = 0; number < count; number++) {
      const request = `r-${label}-${number}`;
      recorder.command(request, TEXT, PARAMETERS);
      intent(journal, session, request);
      recorder.response(request, answer);
      journal.append({ event: "command.outcome", session, request, outcome: "ok", rows: 1 });
      // Commands of several sessions share a turn of the loop, and with it a write.
      if (number % 8 === 0) await new Promise<void>((done) => journal.barrier("ordered", done));
    }
  };
  await round(5_000, "warm");
  const before = process.threadCpuUsage();
  await round(commands, "measured");
  const { user, system } = process.threadCpuUsage(before);
  const each = (user + system) / commands;
  const goal = { against: "to reach: 15 µs", ratio: each / 15 };
  return {
    name: "a plain read's evidence, processor",
    unit: "µs",
    value: each,
    runs: commands,
    ...goal,
  };
}

const rows: Row[] = [];
for (const sessions of values.sessions.split(",").map(Number))
  rows.push(...(await durableRecords(sessions)));
rows.push(await leavesInTree(Number(values.leaves)), await recordedBytes(), await dataPath());
rows.push(await seek(Number(values.megabytes)), await seekSealed(Number(values.megabytes)));
printRows(rows, values.json);
