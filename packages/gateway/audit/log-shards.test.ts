import assert from "node:assert/strict";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import type { Leaf } from "@custody/evidence/core/leaf.ts";
import { parseKey } from "@custody/evidence/core/note.ts";
import { type LogReport, type VerifyOptions, verifyLog } from "@custody/evidence/node/verify.ts";
import { systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import type { ShardPeriod } from "../config/config.ts";
import { type OpenJournal, openJournal } from "./journal-writer.ts";
import { createLogFiles } from "./log-files.ts";
import { loadLogKey, rotateLogKey } from "./log-key.ts";
import { leavesWithin, sessionProof } from "./log-search.ts";
import { shardDue } from "./log-shards.ts";
import { type DurablePlace, openSequencer, type Sequencer } from "./sequencer.ts";

const BASE = "log.example/shards";
const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0))
    rmSync(directory, { recursive: true, force: true });
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "custody-shards-"));
  directories.push(directory);
  return directory;
}

function failed(error: GatewayError): never {
  throw error;
}

interface Time {
  now: number;
}

const at = (text: string): Time => ({ now: Date.parse(text) });

function sequencerOf(
  directory: string,
  time: Time | undefined,
  onStep?: (what: string) => void,
  period: ShardPeriod = "year",
): Sequencer {
  return openSequencer({
    dataDirectory: directory,
    key: loadLogKey(directory, systemRandom, { origin: BASE }),
    files: createLogFiles(onStep),
    ...(time === undefined ? {} : { sharding: { period, nowMs: () => time.now } }),
  });
}

function journalOf(directory: string, worker = 0): Promise<OpenJournal> {
  return openJournal({ directory, worker, clock: systemClock, onFailure: failed });
}

function placesOf(...journals: OpenJournal[]): Map<number, DurablePlace> {
  return new Map(
    journals.map((journal, worker) => {
      const position = Atomics.load(journal.durable, 0);
      const place = { segment: Number(position >> 32n), offset: Number(position & 0xffffffffn) };
      return [worker, place];
    }),
  );
}

function open(journal: OpenJournal, session: string): void {
  journal.append({ event: "session.opened", session, chain });
}

function command(journal: OpenJournal, session: string, number: number): void {
  const about = { session, request: `r-${session}-${number}`, target: "orders", chain };
  journal.append({ ...about, event: "command.intent", decision: "permit", command: "abc" });
  journal.append({ ...about, event: "command.outcome", outcome: "ok" });
}

function drain(sequencer: Sequencer, ...journals: OpenJournal[]): void {
  while (sequencer.step(placesOf(...journals)));
}

function vkeyOf(directory: string): string {
  return readFileSync(join(directory, "keys", "log.vkey"), "utf8").trim();
}

async function verified(
  directory: string,
  options: Partial<VerifyOptions> = {},
  folder = "log",
): Promise<LogReport & { readonly leaves: readonly Leaf[] }> {
  const leaves: Leaf[] = [];
  const onLeaf = (leaf: Leaf): void => void leaves.push(leaf);
  const keys = [vkeyOf(directory)];
  return { ...(await verifyLog(join(directory, folder), { keys, onLeaf, ...options })), leaves };
}

const said = (report: LogReport): string =>
  report.problems.map(({ message }) => message).join("\n");

/** Two shards, with a session and a worker across the seam; and a copy of how the first was before it. */
async function twoShards(): Promise<{ directory: string; before: string }> {
  const directory = temporary();
  const time = at("2026-12-31T23:59:00Z");
  const journal = await journalOf(directory);
  const sequencer = sequencerOf(directory, time);
  open(journal, "s-1");
  for (let number = 0; number < 3; number++) command(journal, "s-1", number);
  await journal.settled();
  drain(sequencer, journal);
  const before = temporary();
  cpSync(directory, before, { recursive: true });
  time.now = Date.parse("2027-01-01T00:00:00Z");
  for (let number = 3; number < 6; number++) command(journal, "s-1", number);
  await journal[Symbol.asyncDispose]();
  drain(sequencer, journal);
  sequencer.close();
  return { directory, before };
}

test("a shard is due when its year or month is over, and never goes back", () => {
  const due = (current: string | undefined, period: ShardPeriod, now: string) =>
    shardDue(current, { period, nowMs: () => Date.parse(now) });
  assert.equal(due(undefined, "year", "2026-05-01T00:00:00Z"), "2026");
  assert.equal(due("", "month", "2026-05-01T00:00:00Z"), "2026-05");
  assert.equal(due("2026", "year", "2026-12-31T23:59:59.999Z"), undefined);
  assert.equal(due("2026", "year", "2027-01-01T00:00:00Z"), "2027");
  assert.equal(due("2026", "year", "2029-03-01T00:00:00Z"), "2029");
  assert.equal(due("2027", "year", "2026-12-31T23:59:59Z"), undefined);
  assert.equal(due("2026-05", "month", "2026-05-31T23:59:59Z"), undefined);
  assert.equal(due("2026-05", "month", "2026-06-01T00:00:00Z"), "2026-06");
  assert.equal(due("2026-12", "month", "2027-01-01T00:00:00Z"), "2027-01");
  // The period was changed: what has begun goes on to its end.
  assert.equal(due("2026", "month", "2026-12-31T00:00:00Z"), undefined);
  assert.equal(due("2026", "month", "2027-02-01T00:00:00Z"), "2027-02");
  assert.equal(due("2026-11", "year", "2026-12-01T00:00:00Z"), "2026-12");
  assert.equal(due("2026-12", "year", "2027-02-01T00:00:00Z"), "2027");
});

test("the year turns under load: each record is once in one shard, and sessions go on across the seam", async () => {
  const directory = temporary();
  const time = at("2026-12-31T23:59:58Z");
  const journals = [await journalOf(directory), await journalOf(directory, 1)] as const;
  const sequencer = sequencerOf(directory, time);
  for (const [worker, journal] of journals.entries()) open(journal, `s-${worker}`);
  for (let round = 0; round < 40; round++) {
    for (const [worker, journal] of journals.entries())
      for (let number = 0; number < 20; number++)
        command(journal, `s-${worker}`, round * 20 + number);
    await Promise.all(journals.map((journal) => journal.settled()));
    // Two turns, the second over a year in which nothing happened.
    if (round === 13) time.now = Date.parse("2027-01-01T00:00:00Z");
    if (round === 27) time.now = Date.parse("2029-06-01T00:00:00Z");
    sequencer.step(placesOf(...journals));
  }
  for (const journal of journals) await journal[Symbol.asyncDispose]();
  drain(sequencer, ...journals);
  const report = await verified(directory);
  assert.equal(said(report), "");
  assert.deepEqual(
    report.shards.map(({ origin }) => origin),
    [`${BASE}/2026`, `${BASE}/2027`, `${BASE}/2029`],
  );
  // Begin of three shards, end of two; begin and end of gateways and sessions.
  assert.equal(report.size, 3 + 2 + 2 * (2 + 2 + 40 * 40));
  assert.equal(sequencer.size, report.size);
  assert.deepEqual(report.open, { sessions: [], intents: [] });
  assert.ok(report.shards.every(({ size }) => size > 600));
  const always = { fromMs: 0, toMs: Date.parse("2030-01-01T00:00:00Z") };
  let found = 0;
  for await (const leaf of leavesWithin(join(directory, "log"), always, ['"s-1"'])) {
    assert.equal(leaf.session, "s-1");
    found++;
  }
  assert.equal(found, 2 + 40 * 40);
  const { commands } = await sessionProof(join(directory, "log"), "s-0", always);
  assert.equal(commands.size, 40 * 20);
  sequencer.close();
  // And a start goes on with the last.
  const again = sequencerOf(directory, time);
  assert.equal(again.size, report.size);
  again.close();
});

test("a crash at any operation of the turn loses nothing, and the next start goes on", async () => {
  const directory = temporary();
  const time = at("2026-12-31T23:59:58Z");
  const journal = await journalOf(directory);
  const first = sequencerOf(directory, time);
  open(journal, "s-1");
  for (let number = 0; number < 140; number++) command(journal, "s-1", number);
  await journal.settled();
  drain(first, journal);
  first.close();
  for (let number = 140; number < 280; number++) command(journal, "s-1", number);
  await journal[Symbol.asyncDispose]();
  time.now = Date.parse("2027-01-01T00:00:01Z");
  const crash = new Error("crash");
  let crashes = 0;
  const seen = new Set<string>();
  for (let stop = 1; ; stop++) {
    const copy = temporary();
    cpSync(directory, copy, { recursive: true });
    let steps = 0;
    const cutOff = (what: string): void => {
      steps++;
      if (steps !== stop) return;
      seen.add(what.replace(copy, ""));
      throw crash;
    };
    let isDone = false;
    try {
      const sequencer = sequencerOf(copy, time, cutOff);
      drain(sequencer, journal);
      sequencer.close();
      isDone = true;
    } catch (error) {
      assert.equal(error, crash);
      crashes++;
    }
    // Started later, and once more cut off early.
    const later = { now: time.now + 5000 };
    let left = 3;
    const again = (): Sequencer =>
      sequencerOf(copy, later, () => {
        if (left-- === 0) throw crash;
      });
    try {
      const sequencer = again();
      drain(sequencer, journal);
      sequencer.close();
    } catch (error) {
      assert.equal(error, crash);
    }
    const last = sequencerOf(copy, later);
    drain(last, journal);
    last.close();
    const report = await verified(copy);
    assert.equal(said(report), "", `after a crash at operation ${stop}`);
    assert.equal(report.size, 2 + 1 + 2 + 2 + 2 * 280);
    assert.deepEqual(report.unpublished, []);
    const [old, next] = report.shards;
    assert.deepEqual([report.shards.length, old?.size, next?.name], [2, 284, "2027"]);
    rmSync(copy, { recursive: true, force: true });
    if (isDone) break;
  }
  assert.ok(crashes > 20, `${crashes} crash points`);
  const kinds = [...seen].map((what) => what.replaceAll(/[0-9]+$/g, ""));
  for (const kind of [
    "write /log/2026/tile/entries/001.p/",
    "stage /journal/head.json",
    "replace /log/2026/checkpoint",
    "write /log/2027/tile/0/000.p/",
    "stage /log/2027/checkpoint",
  ])
    assert.ok(kinds.includes(kind), `${kind} was not among:\n${kinds.join("\n")}`);
});

test("a log that was not in shards goes on in them, and in one when they are given up", async () => {
  const directory = temporary();
  const journal = await journalOf(directory);
  const run = async (time: Time | undefined, session: string): Promise<void> => {
    const sequencer = sequencerOf(directory, time);
    open(journal, session);
    command(journal, session, 1);
    await journal.settled();
    drain(sequencer, journal);
    sequencer.close();
  };
  await run(undefined, "s-1");
  await run(at("2026-11-30T00:00:00Z"), "s-2");
  await run(at("2027-11-30T00:00:00Z"), "s-3");
  await run(undefined, "s-4");
  await journal[Symbol.asyncDispose]();
  const sequencer = sequencerOf(directory, undefined);
  drain(sequencer, journal);
  sequencer.close();
  const report = await verified(directory);
  assert.equal(said(report), "");
  assert.deepEqual(
    report.shards.map(({ name }) => name),
    ["", "2026", "2027"],
  );
  // The key of one of its shards is the log's.
  const { name, id, publicKey } = parseKey(vkeyOf(directory));
  assert.deepEqual([name, id.length, publicKey.length], [BASE, 4, 32]);
});

test("a shard by itself verifies, and says what it is part of", async () => {
  const { directory } = await twoShards();
  const old = await verified(directory, {}, "log/2026");
  assert.equal(said(old), "");
  assert.equal(old.beyond.after, `${BASE}/2027`);
  assert.deepEqual(old.open, { sessions: ["s-1"], intents: [] });
  const young = await verified(directory, {}, "log/2027");
  assert.equal(said(young), "");
  assert.deepEqual(young.beyond.before, { origin: `${BASE}/2026`, records: 10 });
  rmSync(join(directory, "log", "2026"), { recursive: true });
  assert.equal(said(await verified(directory, { from: "2027" })), "");
  // The numbers of workers are in the seam: nothing is missing after it either.
  assert.equal(young.leaves[1]?.seq, 9);
});

test("what is cut off, exchanged or restored at a seam is found", async () => {
  const { directory, before } = await twoShards();
  const found = async (what: RegExp, change: (log: string) => void): Promise<void> => {
    const copy = temporary();
    cpSync(directory, copy, { recursive: true });
    change(join(copy, "log"));
    assert.match(said(await verified(copy)), what);
  };
  const whole = { recursive: true, force: true } as const;
  await found(/^2026\/checkpoint: the shard after it, .*\/2027, is not here/m, (log) =>
    rmSync(join(log, "2027"), whole),
  );
  await found(/^2027\/checkpoint: the shard before it, .*\/2026, is not here/m, (log) =>
    rmSync(join(log, "2026"), whole),
  );
  await found(/^record 2027\/0: names another shard before it/m, (log) => {
    rmSync(join(log, "2026"), whole);
    cpSync(join(before, "log", "2026"), join(log, "2026"), { recursive: true });
  });
  await found(/^2027\/checkpoint: is missing/m, (log) => rmSync(join(log, "2027", "checkpoint")));
  await found(/^2028\/checkpoint: is of another shard/m, (log) =>
    cpSync(join(log, "2027"), join(log, "2028"), { recursive: true }),
  );
  await found(/does not belong to a log/, (log) => writeFileSync(join(log, "more"), "x"));
  // Another history of the same log, by who has its key: each shard is whole in itself.
  const other = await forked(before);
  assert.equal(said(await verified(other)), "");
  await found(/^record 2027\/0: names another shard before it/m, (log) => {
    rmSync(join(log, "2026"), whole);
    cpSync(join(other, "log", "2026"), join(log, "2026"), { recursive: true });
  });
});

/** What somebody with the key could write in place of what came after this state. */
async function forked(before: string): Promise<string> {
  const directory = temporary();
  cpSync(before, directory, { recursive: true });
  const time = at("2026-12-31T23:59:59Z");
  const sequencer = sequencerOf(directory, time);
  const journal = await journalOf(directory);
  await journal[Symbol.asyncDispose]();
  drain(sequencer, journal);
  time.now = Date.parse("2027-01-01T00:00:01Z");
  drain(sequencer, journal);
  sequencer.close();
  return directory;
}

test("a gateway does not go on where a shard is not as it left it", async () => {
  const { directory, before } = await twoShards();
  const time = at("2027-05-01T00:00:00Z");
  const refuses = (what: RegExp, change: (copy: string) => void): void => {
    const copy = temporary();
    cpSync(directory, copy, { recursive: true });
    change(copy);
    assert.throws(
      () => sequencerOf(copy, time),
      (error) =>
        error instanceof GatewayError &&
        error.code === "evidence_unavailable" &&
        what.test(error.message),
    );
  };
  refuses(/shard 2026 is not as it was/, (copy) =>
    cpSync(join(before, "log", "2026", "checkpoint"), join(copy, "log", "2026", "checkpoint")),
  );
  refuses(/a shard 2027 that this gateway's head does not know/, (copy) => {
    cpSync(join(before, "journal", "head.json"), join(copy, "journal", "head.json"));
    rmSync(join(copy, "log", "2026"), { recursive: true });
    cpSync(join(before, "log", "2026"), join(copy, "log", "2026"), { recursive: true });
  });
  refuses(/head does not know|published checkpoint/, (copy) =>
    rmSync(join(copy, "journal", "head.json")),
  );
  refuses(/published checkpoint/, (copy) => rmSync(join(copy, "log", "2027", "checkpoint")));
  // A shard that is kept elsewhere is no reason.
  const copy = temporary();
  cpSync(directory, copy, { recursive: true });
  rmSync(join(copy, "log", "2026"), { recursive: true });
  sequencerOf(copy, time).close();
  assert.ok(!existsSync(join(copy, "log", "2026")));
});

test("after a rotation shards of before are verified with the key of before", async () => {
  const { directory } = await twoShards();
  const old = vkeyOf(directory);
  const { vkey } = rotateLogKey(directory, systemRandom);
  const sequencer = sequencerOf(directory, at("2028-01-01T00:00:00Z"));
  sequencer.step(new Map());
  sequencer.close();
  const keys = [vkey];
  assert.equal(said(await verified(directory, { keys, retired: [old] })), "");
  assert.match(said(await verified(directory, { keys })), /^2026\/checkpoint: not signed by/m);
  assert.match(said(await verified(directory, { keys: [old] })), /^2028\/checkpoint: not signed/m);
});
