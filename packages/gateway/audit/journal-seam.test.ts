// Where one segment of the journal ends and the next begins while leaves are still gathered, and every write
// there failing.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { decodeLeaf, type Leaf } from "@custody/evidence/core/leaf.ts";
import { systemClock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";
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
import { type OpenJournal, openJournal } from "./journal-writer.ts";

const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
const LONG = "x".repeat(60_000);
const INTENTS = 75;
const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0))
    rmSync(directory, { recursive: true, force: true });
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "custody-seam-"));
  directories.push(directory);
  return directory;
}

function open(
  directory: string,
  disk: JournalDisk = kernelDisk,
  onFailure: (error: GatewayError) => void = (error) => assert.fail(error),
): Promise<OpenJournal> {
  return openJournal({
    ...{ directory, worker: 0, clock: systemClock, onFailure, disk },
    segmentBytes: 1,
  });
}

function intent(journal: OpenJournal, request: string): void {
  const about = { session: "s-1", request, chain, effects: [LONG] };
  journal.append({ ...about, event: "command.intent", decision: "permit", command: "x" });
}

/** So many intents that they do not fit a segment, with no turn of the loop between them. */
async function fillInOneTurn(journal: OpenJournal, directory: string): Promise<void> {
  journal.append({ event: "session.opened", session: "s-1", chain });
  // Without the next segment the first would only grow.
  const second = join(journalDirectory(directory), segmentName(0, 2));
  const deadline = performance.now() + 30_000;
  while (!existsSync(second) && performance.now() < deadline) await turn();
  // Its making is told to the writer before a flush that was asked for later.
  for (let at = 0; at < 3; at++) {
    journal.append({ event: "audit.read" });
    await journal.settled();
  }
  for (let number = 0; number < INTENTS; number++) intent(journal, `r-${number}`);
}

/** As far as they are whole. */
function leavesOf(directory: string): Leaf[] {
  const leaves: Leaf[] = [];
  for (const name of readdirSync(journalDirectory(directory)).sort()) {
    if (!name.endsWith(".seg")) continue;
    const segment = readFileSync(join(journalDirectory(directory), name));
    const header = decodeSegmentHeader(segment);
    if (typeof header === "string") continue;
    let before = sha256(encodeSegmentHeader(header));
    for (let offset = SEGMENT_HEADER_BYTES; ; ) {
      const result = readBatch(segment, offset, before);
      if (result.kind !== "batch") break;
      for (const { type, payload } of result.batch.records)
        if (type === RECORD_LEAF) leaves.push(decodeLeaf(payload));
      before = result.batch.chain;
      offset = result.batch.end;
    }
  }
  return leaves;
}

test("a segment that is begun for a leaf that has no room any more goes on with the right number", async () => {
  const directory = temporary();
  const journal = await open(directory);
  await fillInOneTurn(journal, directory);
  await journal.settled();
  assert.ok(Atomics.load(journal.durable, 0) >> 32n > 1n, "it did not come to a second segment");
  await journal[Symbol.asyncDispose]();
  const next = await open(directory);
  assert.deepEqual(next.recovery.indeterminate, []);
  await next[Symbol.asyncDispose]();
  const seqs = leavesOf(directory).map(({ seq }) => seq);
  assert.deepEqual(
    seqs,
    seqs.map((_, at) => at + 1),
  );
});

test("whichever write fails at the seam, no intent is called indeterminate that was not written", async () => {
  let hasSeam = false;
  for (let failing = 1; ; failing++) {
    const directory = temporary();
    let writes = 0;
    let isArmed = false;
    const disk: JournalDisk = {
      ...kernelDisk,
      write(fd, bytes, length, position) {
        if (isArmed && position === 0) hasSeam = true;
        if (isArmed && ++writes === failing) throw new Error("EIO");
        return kernelDisk.write(fd, bytes, length, position);
      },
    };
    let failure: GatewayError | undefined;
    const journal = await open(directory, disk, (error) => {
      failure = error;
    });
    isArmed = true;
    await fillInOneTurn(journal, directory).catch(() => undefined);
    await journal.settled().catch(() => undefined);
    isArmed = false;
    await journal[Symbol.asyncDispose]();
    if (failure === undefined) break;
    const next = await open(directory);
    const leaves = leavesOf(directory);
    const intents = leaves.flatMap(({ event, request }) =>
      event === "command.intent" ? [request] : [],
    );
    assert.deepEqual(next.recovery.indeterminate, intents, `write ${failing}`);
    await next[Symbol.asyncDispose]();
  }
  assert.ok(hasSeam, "no write was at the begin of a segment");
});
