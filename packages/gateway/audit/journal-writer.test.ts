import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { decodeLeaf, type Leaf } from "@custody/evidence/core/leaf.ts";
import { systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Durability } from "./journal.ts";
import { type JournalDisk, journalDirectory, kernelDisk } from "./journal-files.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  RECORD_LEAF,
  readBatch,
  SEGMENT_HEADER_BYTES,
  segmentName,
  sha256,
} from "./journal-format.ts";
import { type JournalOptions, type OpenJournal, openJournal } from "./journal-writer.ts";

const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0))
    rmSync(directory, { recursive: true, force: true });
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "custody-journal-"));
  directories.push(directory);
  return directory;
}

function open(directory: string, options: Partial<JournalOptions> = {}): Promise<OpenJournal> {
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  return openJournal({ directory, worker: 0, clock: systemClock, onFailure, ...options });
}

function barrier(journal: OpenJournal, durability: Durability): Promise<void> {
  return new Promise((done) => journal.barrier(durability, done));
}

/** All leaves on disk; segments have to be whole. */
function leavesOf(directory: string): Leaf[] {
  const leaves: Leaf[] = [];
  for (const name of readdirSync(journalDirectory(directory)).sort()) {
    if (!name.endsWith(".seg")) continue;
    const segment = readFileSync(join(journalDirectory(directory), name));
    const header = decodeSegmentHeader(segment);
    if (header === "unused") continue;
    assert.ok(header !== "broken");
    let before = sha256(encodeSegmentHeader(header));
    let offset = SEGMENT_HEADER_BYTES;
    for (;;) {
      const result = readBatch(segment, offset, before);
      assert.notEqual(result.kind, "broken");
      if (result.kind !== "batch") break;
      for (const { type, payload } of result.batch.records) {
        if (type === RECORD_LEAF) leaves.push(decodeLeaf(payload));
      }
      before = result.batch.chain;
      offset = result.batch.end;
    }
  }
  return leaves;
}

test("what was appended is there after a clean stop, in order, with its ends", async () => {
  const directory = temporary();
  const journal = await open(directory, { startDetail: { version: "1" } });
  assert.equal(journal.append({ event: "session.opened", session: "s-1", chain }), 2);
  const about = { session: "s-1", request: "r-1", chain };
  journal.append({ ...about, event: "command.intent", decision: "permit", command: 'ü"\\\u0001' });
  await barrier(journal, "ordered");
  await journal[Symbol.asyncDispose]();
  const leaves = leavesOf(directory);
  assert.deepEqual(
    leaves.map((leaf) => [leaf.seq, leaf.event, leaf.outcome]),
    [
      [1, "gateway.started", undefined],
      [2, "session.opened", undefined],
      [3, "command.intent", undefined],
      [4, "command.indeterminate", "gateway_stopped"],
      [5, "session.closed", "gateway_stopped"],
      [6, "gateway.stopped", undefined],
    ],
  );
  assert.equal(leaves[2]?.command, 'ü"\\\u0001');
  const next = await open(directory);
  assert.deepEqual(next.recovery, { indeterminate: [], unclosedSessions: [], tornBytes: 0 });
  await next[Symbol.asyncDispose]();
  assert.deepEqual(
    leavesOf(directory).map((leaf) => leaf.seq),
    [1, 2, 3, 4, 5, 6, 7, 8],
  );
});

test("barriers: ordered after the write, strict after a flush that began later", async () => {
  const events: string[] = [];
  let pending: (() => void) | undefined;
  let holdFlush = false;
  const disk: JournalDisk = {
    ...kernelDisk,
    write: (fd, bytes, length, position) => {
      events.push("write");
      return kernelDisk.write(fd, bytes, length, position);
    },
    datasync: (fd, done) =>
      kernelDisk.datasync(fd, (error) => {
        const finish = (): void => {
          events.push("flushed");
          done(error);
        };
        if (holdFlush) pending = finish;
        else finish();
      }),
  };
  const journal = await open(temporary(), { disk });
  holdFlush = true;
  events.length = 0;
  journal.append({ event: "audit.read" });
  journal.barrier("strict", () => events.push("strict 1"));
  await barrier(journal, "ordered");
  events.push("ordered");
  while (pending === undefined) await new Promise((done) => setTimeout(done, 1));
  // Written while the first flush runs, so the first flush must not release it.
  journal.append({ event: "audit.read" });
  journal.barrier("strict", () => events.push("strict 2"));
  await barrier(journal, "ordered");
  holdFlush = false;
  pending();
  await barrier(journal, "strict");
  assert.deepEqual(
    events.filter((event, at) => event !== "flushed" || events[at - 1] !== "flushed"),
    ["write", "ordered", "write", "flushed", "strict 1", "flushed", "strict 2"],
  );
  await journal[Symbol.asyncDispose]();
});

test("a disk that does not come after them stops ordered records, until it does", async () => {
  let nowMs = 0;
  let held: (() => void) | undefined;
  let holdFlush = false;
  const disk: JournalDisk = {
    ...kernelDisk,
    datasync: (fd, done) =>
      kernelDisk.datasync(fd, (error) => {
        if (holdFlush) held = () => done(error);
        else done(error);
      }),
  };
  const clock = { nowMs: systemClock.nowMs, monotonicMs: () => nowMs };
  const journal = await open(temporary(), { disk, clock, maxLagMs: 1_000 });
  holdFlush = true;
  journal.append({ event: "audit.read" });
  journal.barrier("strict", () => undefined);
  while (held === undefined) await new Promise((done) => setTimeout(done, 1));
  nowMs += 1_000;
  await barrier(journal, "ordered");
  nowMs += 1;
  journal.append({ event: "audit.read" });
  let isDone = false;
  const late = barrier(journal, "ordered").then(() => {
    isDone = true;
  });
  for (let turn = 0; turn < 50; turn++) await new Promise((done) => setImmediate(done));
  assert.equal(isDone, false);
  const before = Atomics.load(journal.durable, 0);
  holdFlush = false;
  held();
  await late;
  assert.ok(Atomics.load(journal.durable, 0) > before, "it is on disk");
  journal.append({ event: "audit.read" });
  await barrier(journal, "ordered");
  await journal[Symbol.asyncDispose]();
});

test("ordered records are flushed in time without anybody asking", async () => {
  const journal = await open(temporary());
  journal.append({ event: "audit.read" });
  const before = Atomics.load(journal.durable, 0);
  const deadline = performance.now() + 1000;
  while (Atomics.load(journal.durable, 0) === before && performance.now() < deadline) {
    await new Promise((done) => setTimeout(done, 1));
  }
  assert.ok(Atomics.load(journal.durable, 0) > before);
  await journal[Symbol.asyncDispose]();
});

for (const [name, broken] of Object.entries({
  "a failed write": {
    write: () => {
      throw new Error("EIO");
    },
  },
  "a short write": { write: (_fd: number, _bytes: Uint8Array, length: number) => length - 1 },
  "a failed flush": {
    datasync: (_fd: number, done: (error: Error) => void) =>
      void setImmediate(done, new Error("EIO")),
  },
})) {
  test(`${name} stops the journal, once, and nothing calls back any more`, async () => {
    const failures: GatewayError[] = [];
    let isBroken = false;
    let calls = 0;
    const count =
      <T extends unknown[], R>(real: (...args: T) => R, fake?: (...args: T) => unknown) =>
      (...args: T): R => {
        if (isBroken) calls++;
        return isBroken && fake !== undefined ? (fake(...args) as R) : real(...args);
      };
    const fakes = broken as Partial<Record<"write" | "datasync", (...args: never[]) => unknown>>;
    const disk: JournalDisk = {
      ...kernelDisk,
      write: count(kernelDisk.write, fakes.write as never),
      datasync: count(kernelDisk.datasync, fakes.datasync as never),
    };
    const onFailure = (error: GatewayError): void => void failures.push(error);
    const journal = await open(temporary(), { disk, onFailure });
    isBroken = true;
    const called: string[] = [];
    journal.append({ event: "audit.read" });
    journal.barrier("strict", () => called.push("strict"));
    await new Promise((done) => setTimeout(done, 30));
    const callsAtFailure = calls;
    journal.append({ event: "audit.read" });
    journal.barrier("ordered", () => called.push("ordered"));
    await assert.rejects(journal.settled(), GatewayError);
    await new Promise((done) => setTimeout(done, 30));
    assert.deepEqual(called, []);
    assert.equal(calls, callsAtFailure, "tried again");
    assert.deepEqual(
      failures.map((error) => error.code),
      ["evidence_unavailable"],
    );
    await journal[Symbol.asyncDispose]();
  });
}

test("a torn tail is cut and said; damage to what was flushed is not passed over", async () => {
  const directory = temporary();
  const journal = await open(directory, { segmentBytes: 1 });
  for (let at = 0; at < 5; at++) {
    journal.append({ event: "audit.read", detail: { at } });
    await journal.settled();
  }
  const path = join(journalDirectory(directory), segmentName(0, 1));
  const segment = readFileSync(path);
  await journal[Symbol.asyncDispose]();
  rmSync(join(journalDirectory(directory), segmentName(0, 2)), { force: true });
  const used = segment.findLastIndex((byte) => byte !== 0) + 1;
  const starts = [SEGMENT_HEADER_BYTES];
  const header = decodeSegmentHeader(segment);
  assert.ok(typeof header === "object");
  let before = sha256(encodeSegmentHeader(header));
  for (;;) {
    const result = readBatch(segment, starts.at(-1)!, before);
    if (result.kind !== "batch") break;
    before = result.batch.chain;
    starts.push(result.batch.end);
  }
  const last = starts.at(-2)!;
  const reopen = async (bytes: Buffer): Promise<OpenJournal> => {
    for (const name of readdirSync(journalDirectory(directory))) {
      rmSync(join(journalDirectory(directory), name));
    }
    writeFileSync(path, bytes);
    return open(directory, { segmentBytes: 1 });
  };
  // Any byte of the last batch: as a crash may leave it.
  for (let at = last; at < used; at += 7) {
    const torn = Buffer.from(segment);
    torn[at]! ^= 0x40;
    const next = await reopen(torn);
    assert.ok(next.recovery.tornBytes > 0, `byte ${at}`);
    assert.equal(leavesOf(directory).length, starts.length - 2 + 1, `byte ${at}`);
    await next[Symbol.asyncDispose]();
  }
  // Any byte before: later batches say that it had been on disk.
  const earlier = starts.at(-3)!;
  for (let at = 0; at < earlier; at += 5) {
    const damaged = Buffer.from(segment);
    damaged[at]! ^= 0x40;
    await assert.rejects(reopen(damaged), /damaged/, `byte ${at}`);
  }
});

test("segments follow one another, take open intents along, and none may be missing", async () => {
  const directory = temporary();
  const journal = await open(directory, { segmentBytes: 1 });
  journal.append({ event: "session.opened", session: "s-1", chain });
  const about = { session: "s-1", request: "r-1", chain };
  journal.append({ ...about, event: "command.intent", decision: "permit", command: "x" });
  const sealed = Buffer.alloc(64 << 10, 1);
  const fourth = join(journalDirectory(directory), segmentName(0, 4));
  // The fourth is prepared when the third begins.
  for (let at = 0; at < 5000 && !existsSync(fourth); at++) {
    journal.appendContent("s-1", sealed);
    if (at % 10 === 0) await journal.settled();
  }
  await journal.settled();
  assert.ok(existsSync(fourth));
  // Older segments are deleted once they are in the log; the intent is still known.
  rmSync(join(journalDirectory(directory), segmentName(0, 1)));
  const next = await open(directory);
  assert.deepEqual(next.recovery.indeterminate, ["r-1"]);
  assert.deepEqual(next.recovery.unclosedSessions, ["s-1"]);
  await next[Symbol.asyncDispose]();
  rmSync(join(journalDirectory(directory), segmentName(0, 3)));
  await assert.rejects(open(directory), /does not follow|damaged/);
});

// ---- in processes of their own

const CHILD = `
import { openJournal } from ${JSON.stringify(new URL("./journal-writer.ts", import.meta.url).href)};
import { writeSync } from "node:fs";
const clock = { nowMs: Date.now, monotonicMs: () => performance.now() };
const journal = await openJournal({ directory: process.argv[1], worker: 0, clock,
  onFailure: (error) => { writeSync(1, "failed " + error.code + "\\n"); process.exit(3); } });
writeSync(1, "recovered " + JSON.stringify(journal.recovery) + "\\n");
const content = Buffer.alloc(Number(process.argv[2]), 7);
let number = 0;
const run = (durability) => {
  const request = "r-" + process.pid + "-" + number++;
  if (content.length > 0) journal.appendContent("s-1", content);
  const seq = journal.append({ event: "command.intent", request, decision: "permit", command: "x" });
  journal.barrier(durability, () => {
    writeSync(1, "ack " + seq + " " + request + "\\n");
    journal.append({ event: "command.outcome", request, outcome: "ok" });
    run(durability);
  });
};
for (let at = 0; at < 8; at++) run(at % 2 === 0 ? "ordered" : "strict");
`;

function child(
  directory: string,
  contentBytes: number,
  prefix: string[] = [],
): ReturnType<typeof spawn> {
  const command = [
    ...prefix,
    process.execPath,
    "--input-type=module-typescript",
    "-e",
    CHILD,
    directory,
    String(contentBytes),
  ];
  return spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
}

async function outputOf(process: ReturnType<typeof spawn>): Promise<string[]> {
  let output = "";
  process.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await new Promise((done) => process.once("close", done));
  return output.split("\n").slice(0, -1);
}

test("SIGKILL at any moment: every record whose barrier called back is found", async () => {
  const directory = temporary();
  const acknowledged: string[] = [];
  for (let round = 0; round < 6; round++) {
    const running = child(directory, round % 2 === 0 ? 0 : 2000);
    // Its first words say that it has recovered, however busy the machine is; then it works.
    running.stdout?.once("data", () => setTimeout(() => running.kill("SIGKILL"), 100 + round * 37));
    const lines = await outputOf(running);
    for (const line of lines) if (line.startsWith("ack ")) acknowledged.push(line.slice(4));
  }
  const journal = await open(directory);
  await journal[Symbol.asyncDispose]();
  const leaves = leavesOf(directory);
  assert.deepEqual(
    leaves.map((leaf) => leaf.seq),
    leaves.map((_, at) => at + 1),
  );
  assert.ok(acknowledged.length > 100, `${acknowledged.length} acknowledged`);
  for (const line of acknowledged) {
    const [seq, request] = line.split(" ");
    const leaf = leaves[Number(seq) - 1];
    assert.equal(`${leaf?.event} ${leaf?.request}`, `command.intent ${request}`);
  }
  const unended = new Map<string, number>();
  for (const { event, request = "" } of leaves) {
    if (event === "command.intent") unended.set(request, 1);
    else if (event === "command.outcome" || event === "command.indeterminate") {
      assert.ok(unended.delete(request), `${event} ${request}`);
    }
  }
  assert.deepEqual([...unended], []);
});

function assertAcknowledged(directory: string, lines: string[]): void {
  const leaves = new Map(leavesOf(directory).map((leaf) => [leaf.seq, leaf]));
  for (const line of lines) {
    const [word, seq, request] = line.split(" ");
    if (word === "ack") assert.equal(leaves.get(Number(seq))?.request, request);
  }
}

test("a file that may not grow: the start fails and says why", async () => {
  const directory = temporary();
  const lines = await outputOf(
    child(directory, 0, ["sh", "-c", 'ulimit -f 16384; exec "$@"', "sh"]),
  );
  assert.deepEqual(lines, ["failed evidence_unavailable"]);
});

test("a disk that fills up: the journal says so, stops, and has all it acknowledged", async (t) => {
  const mounted = temporary();
  const copy = temporary();
  const script = `mount -t tmpfs -o size=40m none ${mounted} || exit 9; "$@"; cp -r ${mounted}/. ${copy}`;
  const running = child(mounted, 60_000, ["unshare", "-rm", "sh", "-c", script, "sh"]);
  const lines = await outputOf(running);
  if (running.exitCode === 9 || running.exitCode === 1) {
    t.diagnostic("no small file system can be mounted here");
    return;
  }
  assert.deepEqual(
    lines.filter((line) => line.startsWith("failed")),
    ["failed evidence_unavailable"],
  );
  assert.ok(lines.filter((line) => line.startsWith("ack")).length > 10);
  assertAcknowledged(copy, lines);
  // With room again, the next start goes on where it was.
  const next = await open(copy);
  assert.ok(next.recovery.indeterminate.length > 0);
  await next[Symbol.asyncDispose]();
});
