import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import type { GatewayError } from "../base/errors.ts";
import { openJournal } from "./journal-writer.ts";
import { openLog } from "./log.ts";
import { leavesWithin, sessionProof } from "./log-search.ts";
import { logDirectory } from "./log-shards.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

test("a session is found by its time in a log of many, with the digests that hold its recording", async () => {
  const directory = mkdtempSync(join(tmpdir(), "custody-search-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  let nowMs = 1_700_000_000_000;
  const clock = { nowMs: () => nowMs, monotonicMs: () => performance.now() };
  const journal = await openJournal({ directory, worker: 0, clock, onFailure });
  const journals = [{ worker: 0, journal }];
  const log = await openLog({ dataDirectory: directory, journals, onFailure, intervalMs: 10 });
  const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
  const opened = new Map<string, number>();
  for (let number = 1; number <= 1000; number++) {
    nowMs += 600_000;
    const session = `s-${number}`;
    opened.set(session, nowMs);
    journal.append({ event: "session.opened", session, chain });
    const about = { session, request: `r-${number}-1`, chain };
    const command = `digest-${number}`;
    journal.append({ ...about, event: "command.intent", decision: "permit", command });
    journal.append({ ...about, event: "command.outcome", outcome: "ok" });
    const detail = { pieces: number, digest: `of-${number}` };
    journal.append({ event: "session.closed", session, chain, detail });
  }
  await journal[Symbol.asyncDispose]();
  await log[Symbol.asyncDispose]();
  for (const number of [1, 2, 499, 1000]) {
    const session = `s-${number}`;
    const atMs = opened.get(session) ?? 0;
    const window = { fromMs: atMs, toMs: atMs };
    assert.deepEqual(await sessionProof(logDirectory(directory), session, window), {
      commands: new Map([[`r-${number}-1`, { command: `digest-${number}` }]]),
      unmasked: new Map(),
      summary: { pieces: number, digest: `of-${number}` },
    });
    const found: string[] = [];
    for await (const { session } of leavesWithin(logDirectory(directory), window, []))
      found.push(session ?? "");
    assert.ok(found.length <= 5, `${found.length} leaves where four are of that time`);
  }
});
