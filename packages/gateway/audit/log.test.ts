import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
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
import type { Leaf } from "@custody/evidence/core/leaf.ts";
import { verifyLog } from "@custody/evidence/node/verify.ts";
import { systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import type { LeafDraft } from "./journal.ts";
import { type OpenJournal, openJournal } from "./journal-writer.ts";
import { openLog } from "./log.ts";
import { createLogFiles } from "./log-files.ts";
import { loadLogKey } from "./log-key.ts";
import { type DurablePlace, openSequencer, type Sequencer } from "./sequencer.ts";

const directories: string[] = [];
const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;

afterEach(() => {
  for (const directory of directories.splice(0))
    rmSync(directory, { recursive: true, force: true });
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "custody-log-"));
  directories.push(directory);
  return directory;
}

function failed(error: GatewayError): never {
  throw error;
}

function journalOf(directory: string, segmentBytes = 16 << 20): Promise<OpenJournal> {
  const options = { directory, worker: 0, clock: systemClock, onFailure: failed };
  return openJournal({ ...options, segmentBytes });
}

function sequencerOf(directory: string, onStep?: (what: string) => void): Sequencer {
  return openSequencer({
    dataDirectory: directory,
    key: loadLogKey(directory, systemRandom),
    files: createLogFiles(onStep),
  });
}

function placeOf(journal: OpenJournal): Map<number, DurablePlace> {
  const position = Atomics.load(journal.durable, 0);
  return new Map([
    [0, { segment: Number(position >> 32n), offset: Number(position & 0xffffffffn) }],
  ]);
}

const opened: LeafDraft = { event: "session.opened", session: "s-a1", chain };

function command(journal: OpenJournal, number: number, session = "s-a1"): void {
  const request = `r-${String(number).padStart(6, "0")}`;
  const about = { session, request, target: "orders", chain };
  journal.append({ ...about, event: "command.intent", decision: "permit", command: "abc" });
  journal.append({ ...about, event: "command.outcome", outcome: "ok", rows: number });
}

async function verified(directory: string): Promise<{ leaves: Leaf[]; size: number }> {
  const vkey = readFileSync(join(directory, "keys", "log.vkey"), "utf8").trim();
  const leaves: Leaf[] = [];
  const report = await verifyLog(join(directory, "log"), {
    keys: [vkey],
    onLeaf: (leaf) => leaves.push(leaf),
  });
  assert.deepEqual(report.problems, []);
  assert.equal(leaves.length, report.size);
  return { leaves, size: report.size };
}

test("the thread publishes what the journal has, and the log verifies across restarts", async () => {
  const directory = temporary();
  let size = 0;
  for (let run = 0; run < 3; run++) {
    const journal = await journalOf(directory);
    const log = await openLog({
      dataDirectory: directory,
      journals: [{ worker: 0, journal }],
      onFailure: failed,
      intervalMs: 20,
    });
    const session = `s-b${run}`;
    journal.append({ ...opened, session });
    for (let number = 0; number < 300; number++) command(journal, run * 1000 + number, session);
    journal.append({ event: "session.closed", session, chain });
    await journal.settled();
    await log.sync();
    assert.equal(log.size, size + 603);
    await journal[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
    assert.equal(log.vkey, readFileSync(join(directory, "keys", "log.vkey"), "utf8").trim());
    size += 604;
  }
  assert.equal((await verified(directory)).size, size);
  assert.equal(statSync(join(directory, "keys", "log.key")).mode & 0o777, 0o600);
});

test("no file that was published is written again: a kill in the middle would empty it", async () => {
  const directory = temporary();
  const journal = await journalOf(directory);
  const written: string[] = [];
  const sequencer = sequencerOf(directory, (what) => {
    if (what.startsWith("write ") && what.includes("/tile/")) written.push(what);
  });
  for (let step = 0; step < 30; step++) {
    for (let number = 0; number < 20; number++) command(journal, step * 100 + number);
    await journal.settled();
    while (sequencer.step(placeOf(journal)));
  }
  sequencer.close();
  await journal[Symbol.asyncDispose]();
  assert.ok(written.some((path) => path.includes("/tile/1/")));
  assert.deepEqual(
    written.filter((path, at) => written.indexOf(path) !== at),
    [],
  );
});

test("a crash before any file operation loses and doubles nothing", async () => {
  const directory = temporary();
  const journal = await journalOf(directory);
  journal.append(opened);
  for (let number = 0; number < 100; number++) command(journal, number);
  await journal.settled();
  const first = sequencerOf(directory);
  while (first.step(placeOf(journal)));
  first.close();
  journal.appendContent("s-a1", Buffer.concat([Buffer.alloc(8), Buffer.from("key")]));
  for (let number = 1; number <= 20; number++) {
    const piece = Buffer.alloc(40, number);
    piece.writeBigUInt64BE(BigInt(number), 0);
    journal.appendContent("s-a1", piece);
  }
  for (let number = 100; number < 300; number++) command(journal, number);
  journal.append({ event: "session.closed", session: "s-a1", chain });
  await journal.settled();
  const place = placeOf(journal);

  let crashes = 0;
  for (let at = 1; ; at++) {
    const copy = temporary();
    cpSync(directory, copy, { recursive: true });
    let steps = 0;
    const crash = new Error("crash");
    let isDone = false;
    try {
      const sequencer = sequencerOf(copy, () => {
        if (++steps === at) throw crash;
      });
      while (sequencer.step(place));
      isDone = true;
    } catch (error) {
      assert.equal(error, crash);
      crashes++;
    }
    // The next start may itself be cut off at its first operation.
    const again = sequencerOf(copy);
    while (again.step(place));
    again.close();
    const { size } = await verified(copy);
    assert.equal(size, 1 + 1 + 600 + 1, `after a crash at operation ${at}`);
    const recording = readFileSync(join(copy, "recordings", "s-a1.rec"));
    assert.equal(recording.length, 8 + 20 * 44);
    rmSync(copy, { recursive: true, force: true });
    if (isDone) break;
  }
  assert.ok(crashes > 10, `${crashes} crash points`);
  await journal[Symbol.asyncDispose]();
});

test("a step takes several parts of a journal and publishes once; a crash after it wrote them costs nothing", async () => {
  const directory = temporary();
  const journal = await journalOf(directory);
  journal.append(opened);
  journal.appendContent("s-a1", Buffer.concat([Buffer.alloc(8), Buffer.from("key")]));
  const pieces = 160;
  for (let number = 1; number <= pieces; number++) {
    const piece = Buffer.alloc(60_000, number);
    piece.writeBigUInt64BE(BigInt(number), 0);
    journal.appendContent("s-a1", piece);
    command(journal, number);
    if (number % 10 === 0) await journal.settled();
  }
  await journal.settled();
  const copy = temporary();
  cpSync(directory, copy, { recursive: true });
  const crash = new Error("crash");
  const ends = sequencerOf(copy, (what) => {
    if (what.startsWith("stage") && what.includes("head.json")) throw crash;
  });
  assert.throws(() => ends.step(placeOf(journal)), crash);
  for (const place of [copy, directory]) {
    let published = 0;
    const sequencer = sequencerOf(place, (what) => {
      if (what.startsWith("replace") && what.endsWith("/checkpoint")) published++;
    });
    assert.ok(sequencer.step(placeOf(journal)));
    assert.ok(!sequencer.step(placeOf(journal)));
    assert.equal(published, 1);
    sequencer.close();
    assert.equal((await verified(place)).size, 2 + 2 * pieces);
    const recording = readFileSync(join(place, "recordings", "s-a1.rec"));
    assert.equal(recording.length, 8 + pieces * 60_004);
  }
  await journal[Symbol.asyncDispose]();
});

test("full segments are deleted once their leaves are in the log", async () => {
  const directory = temporary();
  const journal = await journalOf(directory, 1);
  journal.append(opened);
  const piece = Buffer.alloc(60_000);
  const segments = () =>
    readdirSync(join(directory, "journal")).filter((name) => name.endsWith(".seg"));
  let number = 0;
  while (!segments().includes("w0-00000004.seg") && number < 5000) {
    piece.writeBigUInt64BE(BigInt(++number), 0);
    journal.appendContent("s-a1", piece);
    if (number % 10 !== 0) continue;
    command(journal, number);
    await journal.settled();
  }
  await journal.settled();
  assert.ok(segments().includes("w0-00000001.seg"));
  const sequencer = sequencerOf(directory);
  while (sequencer.step(placeOf(journal)));
  assert.ok(!segments().includes("w0-00000001.seg"));
  assert.equal(statSync(join(directory, "recordings", "s-a1.rec")).size, 8 + number * 60_004);
  await journal[Symbol.asyncDispose]();
  // The session is open since a segment that is gone; the carried leaf tells.
  const next = await journalOf(directory);
  await next[Symbol.asyncDispose]();
  while (sequencer.step(placeOf(next)));
  sequencer.close();
  const { leaves } = await verified(directory);
  const closed = leaves.filter((leaf) => leaf.event === "session.closed");
  assert.deepEqual(
    closed.map((leaf) => [leaf.session, leaf.outcome]),
    [["s-a1", "gateway_stopped"]],
  );
});

test("a log that was rolled back, forked or changed is not gone on with", async () => {
  const directory = temporary();
  const journal = await journalOf(directory);
  journal.append(opened);
  const sequencer = sequencerOf(directory);
  const snapshots: string[] = [];
  for (let round = 0; round < 3; round++) {
    for (let number = 0; number < 10; number++) command(journal, round * 10 + number);
    await journal.settled();
    while (sequencer.step(placeOf(journal)));
    const copy = temporary();
    cpSync(directory, copy, { recursive: true });
    snapshots.push(copy);
  }
  sequencer.close();
  await journal[Symbol.asyncDispose]();
  const [oldest, , newest] = snapshots as [string, string, string];
  const refuses = (what: RegExp, change: (copy: string) => void): void => {
    const copy = temporary();
    cpSync(newest, copy, { recursive: true });
    change(copy);
    assert.throws(
      () => sequencerOf(copy),
      (error) =>
        error instanceof GatewayError &&
        error.code === "evidence_unavailable" &&
        what.test(error.message),
    );
  };
  refuses(/published checkpoint/, (copy) =>
    cpSync(join(oldest, "log", "checkpoint"), join(copy, "log", "checkpoint")),
  );
  refuses(/published checkpoint/, (copy) =>
    cpSync(join(oldest, "journal", "head.json"), join(copy, "journal", "head.json")),
  );
  refuses(/published checkpoint/, (copy) => rmSync(join(copy, "journal", "head.json")));
  refuses(/published checkpoint/, (copy) => rmSync(join(copy, "log", "checkpoint")));
  refuses(/not signed with the log's key|checkpoint/, (copy) => {
    rmSync(join(copy, "keys"), { recursive: true });
  });
  refuses(/do not hash|does not hold/, (copy) => {
    const path = join(copy, "log", "tile", "0", "000.p", "62");
    assert.ok(existsSync(path));
    const bytes = readFileSync(path);
    bytes[40]! ^= 1;
    writeFileSync(path, bytes);
  });
  refuses(/missing/, (copy) => rmSync(join(copy, "log", "tile", "0"), { recursive: true }));
});

test("a journal whose records are gone is not gone on with", async () => {
  const directory = temporary();
  const journal = await journalOf(directory);
  await journal[Symbol.asyncDispose]();
  const sequencer = sequencerOf(directory);
  while (sequencer.step(placeOf(journal)));
  rmSync(join(directory, "journal", "w0-00000001.seg"));
  const other = await journalOf(directory);
  assert.throws(() => {
    while (sequencer.step(placeOf(other)));
  }, /not gone on with/);
  await other[Symbol.asyncDispose]();
  sequencer.close();
});
