// What of recordings is in the journal, read a part at a time, out of a journal as it is written.

import assert from "node:assert/strict";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { journalDirectory } from "../audit/journal-files.ts";
import { openJournal } from "../audit/journal-writer.ts";
import { systemClock } from "../base/clock.ts";
import { journalContent } from "./journal-content.ts";

const directory = mkdtempSync(join(tmpdir(), "custody-content-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const MIB = 1 << 20;

async function sizesOf(partBytes: number): Promise<string[]> {
  const found: string[] = [];
  for await (const { sessionId, sealed } of journalContent(directory, partBytes))
    found.push(`${sessionId} ${sealed.length} ${sealed.every((byte) => byte === sealed[0])}`);
  return found;
}

test("all of it is found whatever the parts, batches longer than a part included, and memory is a part", async () => {
  const journal = await openJournal({
    ...{ directory, worker: 0, clock: systemClock, segmentBytes: 16 * MIB },
    onFailure: (error) => assert.fail(error),
  });
  const wanted: string[] = [];
  for (let round = 0; round < 12; round++) {
    for (const length of [1, 7, 100, 70_000, round * 40_000 + 9]) {
      journal.appendContent(`s-${round}`, Buffer.alloc(length, round + 1));
      wanted.push(`s-${round} ${length} true`);
    }
    journal.append({ event: "session.opened", session: `s-${round}` });
    await journal.settled();
  }
  for (const partBytes of [64, 4096, 65_536, MIB, 64 * MIB])
    assert.deepEqual(await sizesOf(partBytes), wanted, `parts of ${partBytes}`);

  const reads: number[] = [];
  const allocate = Buffer.allocUnsafeSlow;
  Buffer.allocUnsafeSlow = (size) => {
    reads.push(size);
    return allocate(size);
  };
  try {
    await sizesOf(MIB);
  } finally {
    Buffer.allocUnsafeSlow = allocate;
  }
  assert.ok(Math.max(...reads) <= MIB, `${Math.max(...reads)} bytes at once`);
  await journal[Symbol.asyncDispose]();

  // Altered behind the first few: as far as it verifies.
  const [name = ""] = readdirSync(journalDirectory(directory)).filter((one) =>
    one.endsWith(".seg"),
  );
  const path = join(journalDirectory(directory), name);
  assert.ok(statSync(path).size > MIB);
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.from([0xff]), 0, 1, MIB);
  closeSync(fd);
  const left = await sizesOf(65_536);
  assert.ok(left.length > 0 && left.length < wanted.length);
  assert.deepEqual(left, wanted.slice(0, left.length));
});
