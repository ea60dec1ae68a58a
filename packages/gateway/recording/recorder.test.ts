import assert from "node:assert/strict";
import { createHash, createSecretKey } from "node:crypto";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import { commandDigest, parametersDigest } from "@custody/evidence/node/command-digest.ts";
import { openPiece } from "@custody/evidence/node/recording-format.ts";
import type { RecordingProof } from "@custody/evidence/node/recording-reader.ts";
import { type OpenJournal, openJournal } from "../audit/journal-writer.ts";
import { type AuditLog, openLog } from "../audit/log.ts";
import { systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import { packPiece, sealPiece } from "./content-format.ts";
import { openRecorder, type Recorder } from "./recorder.ts";
import { loadRecordingKeys, type RecordingKeys } from "./recording-keys.ts";
import { eraseRecording, readRecording } from "./replay.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Place {
  readonly directory: string;
  readonly journal: OpenJournal;
  readonly keys: RecordingKeys;
  record(sessionId: string, maxResponseBytes?: number): Recorder;
  replay(sessionId: string, proof?: RecordingProof): Promise<RecordingEvent[]>;
  log(): Promise<AuditLog>;
}

async function place(): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), "custody-recording-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  mkdirSync(join(directory, "keys"));
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  const journal = await openJournal({ directory, worker: 0, clock: systemClock, onFailure });
  cleanups.push(() => journal[Symbol.asyncDispose]());
  const keys = await loadRecordingKeys(directory, systemRandom);
  return {
    directory,
    journal,
    keys,
    record: (sessionId, maxResponseBytes) =>
      openRecorder(
        { journal, clock: systemClock, keys, random: systemRandom },
        {
          sessionId,
          subject: "corp/ann",
          data: { target: "orders" },
          ...(maxResponseBytes === undefined ? {} : { maxResponseBytes }),
        },
      ),
    async replay(sessionId, proof) {
      const events: RecordingEvent[] = [];
      for await (const event of readRecording(
        { dataDirectory: directory, keys },
        sessionId,
        proof,
      )) {
        events.push(event);
      }
      return events;
    },
    async log() {
      const journals = [{ worker: 0, journal }];
      const log = await openLog({ dataDirectory: directory, journals, onFailure, intervalMs: 20 });
      cleanups.push(() => log[Symbol.asyncDispose]());
      return log;
    },
  };
}

function strict(journal: OpenJournal): Promise<void> {
  return new Promise((done) => journal.barrier("strict", done));
}

function withoutTime(events: RecordingEvent[]): unknown[] {
  return events.map(({ t, ...rest }) => {
    assert.ok(t >= 0);
    return rest;
  });
}

const b64 = (text: string): string => Buffer.from(text).toString("base64");

test("a command is on disk with its intent's strict barrier, and replays from the journal", async () => {
  const { journal, record, replay } = await place();
  const recorder = record("s-1");
  recorder.command("r-1", "select 'ü' from t where a = $1", [
    Buffer.from("x"),
    null,
    Buffer.alloc(0),
  ]);
  await strict(journal);
  assert.deepEqual(withoutTime(await replay("s-1")), [
    { kind: "start", data: { target: "orders" } },
    {
      kind: "command",
      request: "r-1",
      bytes: b64("select 'ü' from t where a = $1"),
      parameters: [b64("x"), null, ""],
    },
  ]);
});

test("a request's id is recorded byte by byte up to 255 of them; a longer one is refused", async () => {
  const { journal, record, replay } = await place();
  const recorder = record("s-1");
  const longest = `r-${"9".repeat(253)}`;
  recorder.command(longest, "é".repeat(300), undefined);
  recorder.response(longest, Buffer.from([0, 255]));
  assert.throws(() => recorder.command(`${longest}0`, "select 1", undefined), { code: "internal" });
  await strict(journal);
  assert.deepEqual(withoutTime(await replay("s-1")).slice(1), [
    { kind: "command", request: longest, bytes: b64("é".repeat(300)) },
    { kind: "response", request: longest, bytes: Buffer.from([0, 255]).toString("base64") },
  ]);
});

test("what is left without a barrier is durable within the time ordered records have", async () => {
  const { record, replay } = await place();
  record("s-1").command("r-1", "select 1", undefined);
  const deadline = Date.now() + 2000;
  let events: RecordingEvent[] = [];
  while (events.length < 2 && Date.now() < deadline) {
    await new Promise((done) => setTimeout(done, 5));
    events = await replay("s-1").catch(() => []);
  }
  assert.equal(events.length, 2);
});

test("everything, large and small, comes back from journal, file and half of each", async () => {
  const { journal, record, replay, log } = await place();
  const recorder = record("s-1", 300_000);
  const large = Buffer.alloc(200_000, "abcdefg");
  recorder.command("r-1", large, undefined);
  recorder.response("r-1", large);
  recorder.event("r-1", "outcome", { outcome: "ok" });
  await strict(journal);
  const running = await log();
  await running.sync();
  recorder.command("r-2", "select 2", []);
  recorder.response("r-2", large);
  recorder.response("r-2", large);
  recorder.response("r-2", large);
  recorder.event(undefined, "notice", { text: "soon" });
  const summary = recorder.end();
  recorder.response("r-2", large);
  assert.deepEqual(recorder.end(), summary);
  await strict(journal);
  const check = async (): Promise<void> => {
    const events = await replay("s-1", {
      summary,
      commands: new Map([
        ["r-1", { command: commandDigest(large) }],
        ["r-2", { command: commandDigest("select 2"), parameters: parametersDigest([]) }],
      ]),
    });
    const kinds = events.map((event) => event.kind);
    assert.equal(kinds[0], "start");
    assert.equal(kinds.at(-1), "end");
    const bytes = (request: string): Buffer =>
      Buffer.concat(
        events.flatMap((event) =>
          event.kind === "response" && event.request === request
            ? [Buffer.from(event.bytes, "base64")]
            : [],
        ),
      );
    assert.ok(bytes("r-1").equals(large));
    const all = Buffer.concat([large, large, large]);
    assert.ok(bytes("r-2").equals(all.subarray(0, 300_000)));
    const truncated = events.find((event) => event.kind === "truncated");
    assert.deepEqual(truncated, {
      t: truncated?.t,
      kind: "truncated",
      request: "r-2",
      length: 300_000,
      sha256: createHash("sha256").update(all.subarray(300_000)).digest("base64url"),
    });
  };
  await check();
  await running.sync();
  await check();
});

test("streams of channels, side by side, each with its own limit and typed events around them", async () => {
  const { journal, record, replay } = await place();
  const recorder = record("s-1", 10);
  recorder.command("r-1", "tail -f log", undefined);
  recorder.typed({
    kind: "exec",
    request: "r-1",
    channel: 0,
    mode: "exec",
    argv: ["tail", "-f", "log"],
  });
  recorder.typed({ kind: "terminal", request: "r-1", channel: 0, columns: 80, rows: 24 });
  recorder.data("r-1", 0, "stdout", Buffer.from("12345678"));
  recorder.data("r-1", 0, "stderr", Buffer.from("warn"));
  recorder.data("r-2", 1, "stdin", Buffer.from("other"));
  recorder.data("r-1", 0, "stdout", Buffer.from("90abc"));
  recorder.data("r-1", 0, "stdout", Buffer.from("def"));
  recorder.typed({ kind: "exit", request: "r-1", channel: 0, code: 1 });
  recorder.typed({
    kind: "sftp",
    request: "r-2",
    channel: 1,
    operation: "rename",
    path: "/a",
    to: "/b",
    status: "ok",
  });
  recorder.end();
  await strict(journal);
  const data = (request: string, channel: number, stream: string, text: string) => ({
    kind: "data",
    request,
    channel,
    stream,
    bytes: b64(text),
  });
  assert.deepEqual(withoutTime(await replay("s-1")).slice(2), [
    { kind: "exec", request: "r-1", channel: 0, mode: "exec", argv: ["tail", "-f", "log"] },
    { kind: "terminal", request: "r-1", channel: 0, columns: 80, rows: 24 },
    data("r-1", 0, "stdout", "12345678"),
    data("r-1", 0, "stderr", "warn"),
    data("r-2", 1, "stdin", "other"),
    data("r-1", 0, "stdout", "90"),
    {
      kind: "truncated",
      request: "r-1",
      channel: 0,
      stream: "stdout",
      length: 6,
      sha256: createHash("sha256").update("abcdef").digest("base64url"),
    },
    { kind: "exit", request: "r-1", channel: 0, code: 1 },
    {
      kind: "sftp",
      request: "r-2",
      channel: 1,
      operation: "rename",
      path: "/a",
      to: "/b",
      status: "ok",
    },
    { kind: "end" },
  ]);
});

test("what a level leaves out is there as length and digest, and verifies against the leaf", async () => {
  const { journal, record, replay } = await place();
  const recorder = record("s-1");
  const parameters = [Buffer.from("x"), null];
  recorder.command("r-1", "select $1", parameters, "commands");
  recorder.response("r-1", Buffer.from("a row"), "commands");
  recorder.event("r-1", "outcome", {});
  recorder.command("r-2", "select $1", parameters, "digest");
  recorder.response("r-2", Buffer.from("a row"), "digest");
  recorder.command("r-3", "cat", undefined, "commands");
  recorder.data("r-3", 0, "stdout", Buffer.from("a row"), "commands");
  recorder.end();
  await strict(journal);
  const digest = (text: string) => createHash("sha256").update(text).digest("base64url");
  const expected = { command: digest("select $1"), parameters: parametersDigest(parameters) };
  const commands = new Map([
    ["r-1", expected],
    ["r-2", expected],
  ]);
  const rest = { kind: "truncated", length: 5, sha256: digest("a row") };
  assert.deepEqual(withoutTime(await replay("s-1", { commands })).slice(1), [
    {
      kind: "command",
      request: "r-1",
      bytes: b64("select $1"),
      parameters: [b64("x"), null],
    },
    { ...rest, request: "r-1" },
    { kind: "event", request: "r-1", type: "outcome", data: {} },
    {
      kind: "command-digest",
      request: "r-2",
      length: 9,
      sha256: expected.command,
      parameters: expected.parameters,
    },
    { kind: "command", request: "r-3", bytes: b64("cat") },
    { ...rest, request: "r-2" },
    { ...rest, request: "r-3", channel: 0, stream: "stdout" },
    { kind: "end" },
  ]);
  const other = new Map([["r-2", { ...expected, command: digest("select 2") }]]);
  await assert.rejects(replay("s-1", { commands: other }), /r-2 is not the one in the log/);
});

test("what is not yet on disk is bounded: room comes when it is", async () => {
  const { record } = await place();
  const recorder = record("s-1", 1 << 30);
  const piece = Buffer.alloc(300_000, "x");
  const answers: boolean[] = [];
  for (let count = 0; count < 4; count++) {
    recorder.data("r-1", 0, "stdout", piece);
    answers.push(recorder.room(() => undefined));
  }
  assert.deepEqual(answers, [true, true, true, false]);
  await new Promise<void>((done) => assert.equal(recorder.room(done), false));
  assert.equal(
    recorder.room(() => undefined),
    true,
  );
});

test("a recording begins anywhere: what was before is not read, what goes on across pieces is whole", async () => {
  const { directory, journal, keys, replay, log } = await place();
  let nowMs = 0;
  const clock = { nowMs: systemClock.nowMs, monotonicMs: () => nowMs };
  const recorder = openRecorder(
    { journal, clock, keys, random: systemRandom },
    { sessionId: "s-1", subject: "corp/ann", data: {}, maxResponseBytes: 1 << 30 },
  );
  const large = Buffer.alloc(200_000, "abcdefg");
  for (let second = 1; second <= 40; second++) {
    nowMs = second * 1000;
    recorder.command(`r-${second}`, `select ${second}`, undefined);
    recorder.data(`r-${second}`, 0, "stdout", second % 3 === 0 ? large : Buffer.from("small"));
  }
  recorder.end();
  await strict(journal);
  const all = await replay("s-1");
  const check = async (): Promise<void> => {
    for (const fromMs of [1, 1000, 2999, 3000, 3001, 20_500, 39_000, 40_000, 41_000]) {
      const events: RecordingEvent[] = [];
      const deps = { dataDirectory: directory, keys };
      for await (const event of readRecording(deps, "s-1", {}, fromMs)) events.push(event);
      assert.deepEqual(
        events,
        all.filter(({ t }) => t >= fromMs),
        `from ${fromMs}`,
      );
    }
  };
  await check();
  const running = await log();
  await running.sync();
  await check();
});

test("a recording shows no text, and every altered byte of it is found", async () => {
  const { directory, journal, record, replay, log } = await place();
  const recorder = record("s-1");
  recorder.command("r-1", "select 'canary-value'", undefined);
  recorder.response("r-1", Buffer.from("canary-row"));
  const summary = recorder.end();
  const running = await log();
  await strict(journal);
  await running.sync();
  await running[Symbol.asyncDispose]();
  await journal[Symbol.asyncDispose]();
  for (const folder of ["journal", "log", "recordings"]) {
    for (const entry of readdirSync(join(directory, folder), {
      recursive: true,
      withFileTypes: true,
    })) {
      if (entry.isFile()) {
        assert.ok(!readFileSync(join(entry.parentPath, entry.name)).includes("canary"), entry.name);
      }
    }
  }
  rmSync(join(directory, "journal"), { recursive: true });
  for (const name of ["s-1.rec", "s-1.key"]) {
    const path = join(directory, "recordings", name);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const intact = readFileSync(path);
    for (let at = 0; at < intact.length; at++) {
      const altered = Buffer.from(intact);
      altered[at]! ^= 0x01;
      writeFileSync(path, altered);
      await assert.rejects(replay("s-1", { summary }), GatewayError, `${name}, byte ${at}`);
    }
    writeFileSync(path, intact);
  }
  assert.equal((await replay("s-1", { summary })).length, 4);
  const other = { commands: new Map([["r-1", { command: commandDigest("select 2") }]]) };
  await assert.rejects(replay("s-1", other), /r-1 is not the one in the log/);
});

test("erasing takes the content and leaves nothing to open it with", async () => {
  const { directory, journal, record, replay, log } = await place();
  const recorder = record("s-1");
  recorder.command("r-1", "select 1", undefined);
  recorder.end();
  await strict(journal);
  const running = await log();
  await running.sync();
  await eraseRecording(directory, "s-1");
  await assert.rejects(replay("s-1"), /was erased/);
  rmSync(join(directory, "recordings", "s-1.erased"));
  rmSync(join(directory, "journal"), { recursive: true });
  await assert.rejects(replay("s-1"), /no recording/);
});

test("a piece that was cut to a shorter tag is not opened", () => {
  const key = Buffer.alloc(32, 7);
  const { piece } = sealPiece(
    createSecretKey(key),
    Buffer.from("s-1"),
    1,
    packPiece(Buffer.alloc(0)),
    "\0".repeat(32),
  );
  assert.equal(openPiece(key, "s-1", piece).length, 0);
  for (const bytes of [8, 12, 20, 23])
    assert.throws(() => openPiece(key, "s-1", piece.subarray(0, bytes)), /piece 1 was altered/);
});

test("another session's key or id opens nothing", async () => {
  const { keys } = await place();
  const wrapped = keys.wrap("s-1", "corp/ann", Buffer.alloc(32, 7));
  assert.deepEqual(keys.unwrap("s-1", wrapped), Buffer.alloc(32, 7));
  assert.throws(() => keys.unwrap("s-2", wrapped), /s-2 cannot be opened/);
});

test("erasing a subject erases theirs, copies too, and not what they do afterwards or others did", async () => {
  const { directory, journal, keys, record, replay, log } = await place();
  const said = async (sessionId: string, subject: string): Promise<void> => {
    const recorder = openRecorder(
      { journal, clock: systemClock, keys, random: systemRandom },
      { sessionId, subject, data: {} },
    );
    recorder.command(`r-${sessionId}`, "select 1", undefined);
    recorder.end();
    await strict(journal);
  };
  await said("s-1", "corp/ann");
  await said("s-2", "corp/ann");
  await said("s-3", "corp/bob");
  record("s-4").end();
  const running = await log();
  await running.sync();
  const copy = mkdtempSync(join(tmpdir(), "custody-recordings-"));
  cleanups.push(() => rmSync(copy, { recursive: true, force: true }));
  cpSync(join(directory, "recordings"), copy, { recursive: true });
  keys.eraseSubject("corp/bob");
  keys.eraseSubject("corp/nobody");
  await assert.rejects(replay("s-3"), /s-3 was erased/);
  assert.equal((await replay("s-1")).length, 3);
  keys.eraseSubject("corp/ann");
  await said("s-5", "corp/ann");
  for (const session of ["s-1", "s-2", "s-4"]) {
    await assert.rejects(replay(session), /was erased/);
    const wrapped = readFileSync(join(copy, `${session}.key`));
    assert.throws(() => keys.unwrap(session, wrapped), /was erased/);
  }
  assert.equal((await replay("s-5")).length, 3);
});

test("text is compressed before it is sealed, noise is not, and both come back", async () => {
  const { record, journal, replay, log, directory } = await place();
  const text = Buffer.from(
    Array.from({ length: 20_000 }, (_, at) => `${at}\tuser${at}@example.com\tshipped\n`).join(""),
  );
  const noise = systemRandom(text.length);
  for (const [session, content] of [
    ["s-text", text],
    ["s-noise", noise],
  ] as const) {
    const recorder = record(session, 1 << 30);
    for (let at = 0; at < content.length; at += 10_000)
      recorder.data("r-1", 0, "stdout", content.subarray(at, at + 10_000));
    recorder.end();
  }
  await journal.settled();
  const running = await log();
  await running.sync();
  const size = (session: string) => statSync(join(directory, "recordings", `${session}.rec`)).size;
  assert.ok(size("s-text") < text.length / 3, `${size("s-text")} of ${text.length}`);
  assert.ok(size("s-noise") > noise.length);
  for (const [session, content] of [
    ["s-text", text],
    ["s-noise", noise],
  ] as const) {
    const events = await replay(session);
    const parts = events.map((event) =>
      event.kind === "data" ? Buffer.from(event.bytes, "base64") : Buffer.alloc(0),
    );
    assert.ok(Buffer.concat(parts).equals(content), session);
  }
});

test("whether a piece is compressed cannot be changed, nor how", () => {
  const key = systemRandom(32);
  const packed = packPiece(Buffer.alloc(20_000, "a row of text\n"));
  assert.ok(packed.isCompressed);
  const { piece } = sealPiece(createSecretKey(key), Buffer.from("s-1"), 7, packed, "\0".repeat(32));
  assert.equal(openPiece(key, "s-1", piece).length, 20_000);
  for (let bit = 0; bit < piece.length * 8; bit++) {
    const altered = Buffer.from(piece);
    altered[bit >> 3]! ^= 1 << (bit & 7);
    assert.throws(() => openPiece(key, "s-1", altered), /altered/);
  }
});

test("the gateway's key for recordings appears whole, and once, whoever makes it at the same time", async () => {
  const directory = mkdtempSync(join(tmpdir(), "custody-recording-key-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  mkdirSync(join(directory, "keys"));
  const all = await Promise.all(
    Array.from({ length: 8 }, () => loadRecordingKeys(directory, systemRandom)),
  );
  const sessionKey = systemRandom(32);
  const wrapped = all[0]!.wrap("s-1", "corp/1", sessionKey);
  for (const keys of all) assert.deepEqual(keys.unwrap("s-1", wrapped), sessionKey);
  assert.deepEqual(readdirSync(join(directory, "keys")).sort(), ["recording.key", "subjects"]);
  assert.equal(statSync(join(directory, "keys", "recording.key")).mode & 0o777, 0o600);
});

test("others have their turn while a recording is read, however quick its reader", async () => {
  const { directory, journal, keys, record } = await place();
  const recorder = record("s-1", 64 << 20);
  const bytes = systemRandom(60_000);
  for (let count = 0; count < 100; count += 1) recorder.response("r-1", bytes);
  recorder.end();
  await strict(journal);
  let turns = 0;
  let next: NodeJS.Immediate | undefined;
  const turn = () => {
    turns += 1;
    next = setImmediate(turn);
  };
  let events = 0;
  for await (const _ of readRecording({ dataDirectory: directory, keys }, "s-1")) {
    if (events === 0) turn();
    events += 1;
  }
  clearImmediate(next);
  assert.ok(events > 100, `${events} events`);
  // Eight pieces of 64 KiB a turn.
  assert.ok(turns >= 10, `${turns} turns for ${events} events`);
});
