// A real log, real witnesses over HTTP.

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import {
  COSIGNATURE_ML_DSA_44,
  COSIGNATURE_V1,
  ED25519,
  formatKey,
  parseKey,
} from "@custody/evidence/core/note.ts";
import { makeSigningKey, parseSigningKey } from "@custody/evidence/node/signing-key.ts";
import { verifyLog } from "@custody/evidence/node/verify.ts";
import { openWitness } from "@custody/evidence/node/witness.ts";
import { serveWitness } from "@custody/evidence/node/witness-server.ts";
import { systemClock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import { type Cosigning, type CosigningDeps, refuseIfBehind, startCosigning } from "./cosigning.ts";
import { type OpenJournal, openJournal } from "./journal-writer.ts";
import { openLog } from "./log.ts";
import { createLogFiles } from "./log-files.ts";
import { loadLogKey } from "./log-key.ts";
import { type LogSharding, logDirectory } from "./log-shards.ts";
import { createOutbound } from "./outbound.ts";
import { type DurablePlace, openSequencer } from "./sequencer.ts";
import { createWitness, type WitnessSettings } from "./witnesses.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "custody-cosigning-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Writes `leaves` more leaves and publishes them. */
async function grow(directory: string, leaves: number): Promise<void> {
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  const options = { directory, worker: 0, clock: systemClock, onFailure };
  const journal: OpenJournal = await openJournal(options);
  const journals = [{ worker: 0, journal }];
  const log = await openLog({ dataDirectory: directory, journals, onFailure, intervalMs: 10 });
  for (let at = 0; at < leaves; at++) journal.append({ event: "audit.read" });
  await journal[Symbol.asyncDispose]();
  await log[Symbol.asyncDispose]();
}

interface RunningWitness {
  readonly settings: WitnessSettings;
  readonly keys: readonly string[];
  stop(): Promise<void>;
}

async function witness(
  name: string,
  log: string,
  type: 4 | 6 = COSIGNATURE_V1,
): Promise<RunningWitness> {
  const key = parseSigningKey(makeSigningKey(name, type, systemRandom));
  const own = openWitness({
    directory: temporary(),
    keys: [key],
    logs: [parseKey(log)],
    nowMs: systemClock.nowMs,
  });
  cleanups.push(() => own[Symbol.dispose]());
  const onFault = (error: unknown): never => assert.fail(String(error));
  const server = await serveWitness(own, { host: "127.0.0.1", port: 0, onFault });
  const stop = async () => server[Symbol.asyncDispose]();
  cleanups.push(stop);
  const url = `http://127.0.0.1:${server.port}/`;
  return { settings: { url, keys: [key.vkey] }, keys: [key.vkey], stop };
}

interface Stage {
  readonly deps: CosigningDeps;
  readonly problems: string[];
  readonly forks: GatewayError[];
  start(): Cosigning;
}

function stage(
  directory: string,
  witnesses: readonly RunningWitness[],
  quorum: number,
  sharding?: LogSharding,
): Stage {
  const problems: string[] = [];
  const forks: GatewayError[] = [];
  const outbound = createOutbound(undefined, 2_000);
  cleanups.push(() => outbound[Symbol.asyncDispose]());
  const deps: CosigningDeps = {
    logDirectory: logDirectory(directory),
    key: loadLogKey(directory, systemRandom),
    files: createLogFiles(),
    sharding,
    witnesses: witnesses.map(({ settings }) => createWitness(settings, outbound)),
    quorum,
    everyMs: 60_000,
    onProblem: (message) => problems.push(message),
    onFork: (error) => forks.push(error),
  };
  const start = (): Cosigning => {
    const cosigning = startCosigning(deps);
    cleanups.push(() => cosigning[Symbol.asyncDispose]());
    return cosigning;
  };
  return { deps, problems, forks, start };
}

test("a growing log is cosigned by a quorum, whoever of the witnesses is away, and verifies", async () => {
  const directory = temporary();
  const { vkey, origin } = loadLogKey(directory, systemRandom);
  const w1 = await witness("witness.example/1", vkey);
  const w2 = await witness("witness.example/2", vkey, COSIGNATURE_ML_DSA_44);
  const w3 = await witness("witness.example/3", vkey);
  const { problems, start } = stage(directory, [w1, w2, w3], 2);
  const cosigning = start();
  const keys = [...w1.keys, ...w2.keys, ...w3.keys];
  const verify = (quorum: number) =>
    verifyLog(logDirectory(directory), { keys: [vkey], witnesses: keys, quorum });
  await cosigning.round();
  assert.equal(cosigning.cosignedSize, 0);
  await grow(directory, 5);
  await cosigning.round();
  assert.equal(cosigning.cosignedSize, 7);
  assert.equal((await verify(3)).cosigned?.witnesses.length, 3);
  await w3.stop();
  for (const leaves of [300, 1]) {
    await grow(directory, leaves);
    await cosigning.round();
  }
  const report = await verify(2);
  assert.deepEqual(report.problems, []);
  assert.equal(report.cosigned?.size, report.size);
  assert.deepEqual(
    (await verify(3)).problems.map(({ message }) => message),
    ["cosigned: 2 witnesses have cosigned where 3 are asked for"],
  );
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? "", /witness.example\/3/);
  const text = readFileSync(join(logDirectory(directory), "cosigned"), "utf8");
  assert.ok(text.startsWith(`${origin}\n`));
  await w2.stop();
  await grow(directory, 1);
  await cosigning.round();
  assert.equal(cosigning.cosignedSize, report.size, "one is no quorum");
});

test("a restored backup is not started: its witness, and its cosigned head, have seen more", async () => {
  const directory = temporary();
  const { vkey } = loadLogKey(directory, systemRandom);
  const one = await witness("witness.example/1", vkey);
  await grow(directory, 3);
  const backup = temporary();
  cpSync(directory, backup, { recursive: true });
  await stage(directory, [one], 1).start().round();
  await grow(directory, 3);
  await stage(directory, [one], 1).start().round();
  await refuseIfBehind(stage(directory, [one], 1).deps);

  const restored = stage(backup, [one], 1);
  await assert.rejects(refuseIfBehind(restored.deps), {
    code: "evidence_unavailable",
    message: /witness.example\/1 has seen 10 of its records, here are 5/,
    hint: /When the log is not gone on with/,
  });
  // The disk is gone, the key is not.
  rmSync(join(backup, "log"), { recursive: true });
  rmSync(join(backup, "journal"), { recursive: true });
  await assert.rejects(refuseIfBehind(restored.deps), /has seen 10 of its records, here are 0/);

  const cosigned = join(logDirectory(directory), "cosigned");
  const older = temporary();
  cpSync(directory, older, { recursive: true });
  await grow(directory, 1);
  await stage(directory, [one], 1).start().round();
  cpSync(cosigned, join(logDirectory(older), "cosigned"));
  await assert.rejects(
    grow(older, 1),
    /the cosigned checkpoint has seen 13 of its records, here are 10/,
  );
});

test("two gateways on one log: the second is found out while it runs, by a head with its own key", async () => {
  const directory = temporary();
  const { vkey } = loadLogKey(directory, systemRandom);
  const one = await witness("witness.example/1", vkey);
  await grow(directory, 3);
  const copy = temporary();
  cpSync(directory, copy, { recursive: true });
  const first = stage(directory, [one], 1);
  const second = stage(copy, [one], 1);
  await refuseIfBehind(second.deps);
  const running = second.start();
  await grow(directory, 2);
  await first.start().round();
  await grow(copy, 4);
  await running.round();
  assert.equal(second.forks.length, 1);
  assert.match(second.forks[0]?.message ?? "", /not this log's/);
  assert.ok(!existsSync(join(logDirectory(copy), "cosigned")));
  assert.equal(first.forks.length, 0);
});

test("a witness that lies, stalls or answers nonsense costs its own cosignature and nothing else", async () => {
  const { createServer } = await import("node:http");
  const answers = [
    [200, "\u2014 witness.example/liar AAAAAAAA\n"],
    [200, "hello"],
    [409, "5000000\n"],
    [409, "x"],
    [422, "no"],
    [500, ""],
    [200, "x".repeat(100_000)],
  ] as const;
  const directory = temporary();
  const { vkey } = loadLogKey(directory, systemRandom);
  await grow(directory, 3);
  const honest = await witness("witness.example/1", vkey);
  for (const [status, body] of answers) {
    const server = createServer((request, response) => {
      response.writeHead(request.method === "GET" ? 404 : status).end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    const { settings } = await witness("witness.example/liar", vkey);
    const liar = {
      settings: { ...settings, url: `http://127.0.0.1:${address.port}` },
      keys: [],
      stop: async () => undefined,
    };
    const { problems, forks, start } = stage(directory, [honest, liar], 1);
    await grow(directory, 1);
    const cosigning = start();
    await cosigning.round();
    server.closeAllConnections();
    server.close();
    assert.deepEqual(forks, []);
    assert.equal(problems.length, 1, `${status} ${body.slice(0, 20)}: ${problems}`);
    assert.ok(cosigning.cosignedSize > 0);
    const { problems: found, cosigned } = await verifyLog(logDirectory(directory), {
      keys: [vkey],
      witnesses: honest.keys,
    });
    assert.deepEqual(found, []);
    assert.equal(cosigned?.size, cosigning.cosignedSize);
  }
});

/** One run of a gateway at this time, whose log is in shards. */
async function growShards(directory: string, nowMs: number, leaves: number): Promise<void> {
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  const journal = await openJournal({ directory, worker: 0, clock: systemClock, onFailure });
  for (let at = 0; at < leaves; at++) journal.append({ event: "audit.read" });
  await journal[Symbol.asyncDispose]();
  const position = Atomics.load(journal.durable, 0);
  const place: DurablePlace = {
    segment: Number(position >> 32n),
    offset: Number(position & 0xffffffffn),
  };
  const sequencer = openSequencer({
    ...{ dataDirectory: directory, files: createLogFiles() },
    key: loadLogKey(directory, systemRandom),
    sharding: { period: "year", nowMs: () => nowMs },
  });
  while (sequencer.step(new Map([[0, place]])));
  sequencer.close();
}

test("a witness that knows a log's shards cosigns the end of one and the begin of the next", async () => {
  const directory = temporary();
  const { vkey, origin } = loadLogKey(directory, systemRandom);
  const { publicKey } = parseKey(vkey);
  const w1 = await witness("witness.example/1", formatKey(`${origin}/*`, ED25519, publicKey));
  const [y2026, y2027] = [Date.parse("2026-12-31T12:00:00Z"), Date.parse("2027-01-01T12:00:00Z")];
  await growShards(directory, y2026, 3);
  const { deps, start, problems } = stage(directory, [w1], 1);
  await refuseIfBehind(deps);
  const cosigning = start();
  await cosigning.round();
  const witnesses = w1.keys;
  const verify = () => verifyLog(logDirectory(directory), { keys: [vkey], witnesses });
  assert.deepEqual((await verify()).problems, []);
  const backup = temporary();
  cpSync(directory, backup, { recursive: true });

  await growShards(directory, y2027, 4);
  const early = (await verify()).problems.map(({ message }) => message);
  assert.deepEqual(early, [
    "2026/cosigned: the end of this shard is not cosigned",
    "2027/cosigned: is missing: no witness has cosigned this log",
  ]);
  await cosigning.round();
  assert.deepEqual(problems, []);
  const report = await verify();
  assert.deepEqual(report.problems, []);
  assert.deepEqual([report.shards.length, report.cosigned?.size], [2, report.size]);
  // A head of long ago leaves what came after it unwitnessed: how old it may be is for the auditor to say.
  const since = (cosignedSince: number) =>
    verifyLog(logDirectory(directory), { keys: [vkey], witnesses, cosignedSince });
  const seconds = report.cosigned?.witnesses[0]?.seconds ?? 0;
  assert.deepEqual((await since(seconds)).problems, []);
  const [old] = (await since(seconds + 1)).problems;
  assert.match(old?.message ?? "", /^2027\/cosigned: is of before .* is not witnessed/);
  assert.equal(cosigning.cosignedSize, report.size);

  // Restored from before the turn, whatever the clock says.
  for (const nowMs of [y2026, y2027]) {
    const restored = stage(backup, [w1], 1, { period: "year", nowMs: () => nowMs });
    await assert.rejects(refuseIfBehind(restored.deps), /has seen/);
  }
  // Nothing at all is left of it but the key.
  rmSync(logDirectory(backup), { recursive: true });
  const wiped = stage(backup, [w1], 1, { period: "year", nowMs: () => y2027 });
  await assert.rejects(refuseIfBehind(wiped.deps), /shard 2027\) has seen 7 of its records/);
});

test("who has the key cannot write the end of a year anew, even when witnesses have not seen the next", async () => {
  const directory = temporary();
  const { vkey, origin } = loadLogKey(directory, systemRandom);
  const { publicKey } = parseKey(vkey);
  const w1 = await witness("witness.example/1", formatKey(`${origin}/*`, ED25519, publicKey));
  const [y2026, y2027] = [Date.parse("2026-12-31T12:00:00Z"), Date.parse("2027-01-01T12:00:00Z")];
  const empty = temporary();
  cpSync(directory, empty, { recursive: true });
  await growShards(directory, y2026, 5);
  await stage(directory, [w1], 1).start().round();
  // Another 2026 from the beginning, and a 2027 that names it.
  await growShards(empty, y2026, 9);
  await growShards(empty, y2027, 2);
  const forger = stage(empty, [w1], 1);
  await forger.start().round();
  assert.equal(forger.forks.length, 1);
  const witnesses = w1.keys;
  const { problems, shards } = await verifyLog(logDirectory(empty), { keys: [vkey], witnesses });
  assert.equal(shards.length, 2);
  assert.deepEqual(
    problems.map(({ message }) => message),
    ["2026/cosigned: is missing: no witness has cosigned this log"],
  );
});
