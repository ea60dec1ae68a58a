import assert from "node:assert/strict";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type {
  EvidenceManifest,
  EvidenceRecord,
  EvidenceScope,
} from "@custody/evidence/core/bundle.ts";
import { parseKey } from "@custody/evidence/core/note.ts";
import {
  type BundleParts,
  type BundleRecording,
  recordingFile,
  writeBundle,
} from "@custody/evidence/node/bundle-folder.ts";
import { pageOf, verifyBundle } from "@custody/evidence/node/bundle-verify.ts";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { systemRandom } from "../base/ids.ts";
import { newSigner } from "../delegation/signer.fixture.ts";
import { openPolicyArchive } from "../policy/archive.ts";
import { parsePolicies } from "../policy/load.ts";
import { openRecorder } from "../recording/recorder.ts";
import { loadRecordingKeys } from "../recording/recording-keys.ts";
import { eraseRecording, openRecording } from "../recording/replay.ts";
import { exportEvidence, type WantedEvidence } from "./evidence-export.ts";
import { openJournal } from "./journal-writer.ts";
import { openLog } from "./log.ts";
import { createLogFiles } from "./log-files.ts";
import { loadLogKey } from "./log-key.ts";
import { openSequencer } from "./sequencer.ts";

const SQL = "delete from orders where id = 7";
const chain = [
  { d: "d-root", s: "corp/ann", k: "user", p: "attested" },
  { d: "d-agent", s: "d-agent", k: "agent", p: "bearer" },
] as const;

let directory = "";
let vkey = "";
const stack = new AsyncDisposableStack();
type MayDisclose = WantedEvidence["mayDisclose"];
let collect: (scope: EvidenceScope, mayDisclose?: MayDisclose) => Promise<BundleParts>;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "custody-bundle-"));
  mkdirSync(join(directory, "keys"));
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  const policies = await parsePolicies([
    { name: "all.cedar", text: '@id("all") permit (principal, action, resource);' },
  ]);
  assert.ok(policies.ok);
  const { version, digest } = policies.policies;
  const archive = openPolicyArchive(directory, createLogFiles().replace);
  archive.keep(policies.policies);
  const journal = stack.use(
    await openJournal({
      ...{ directory, worker: 0, clock: systemClock, onFailure },
      startDetail: { policyVersion: version, policyDigest: digest },
    }),
  );
  const journals = [{ worker: 0, journal }];
  const log = await openLog({ dataDirectory: directory, journals, onFailure, intervalMs: 20 });
  vkey = log.vkey;
  stack.defer(async () => {
    await journal[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });
  const keys = await loadRecordingKeys(directory, systemRandom);
  const say = (session: string) => {
    const recorder = openRecorder(
      { journal, clock: systemClock, keys, random: systemRandom },
      { sessionId: session, subject: "corp/ann", data: { target: "orders" } },
    );
    const about = { session, target: "orders", account: "rw", chain };
    journal.append({ ...about, event: "session.opened" });
    const command = (number: number, text: string, decision: "permit" | "approved") => {
      const request = `r-${session.slice(2)}-${number}`;
      if (decision === "approved")
        journal.append({
          ...about,
          ...{ event: "hold.voted", request },
          detail: {
            ...{ hold: "h-1", vote: "approve", by: "corp/bob", binding: "b", approver: "d-bob" },
            ...(session === "s-aaaa" ? { statement: signedVote(text) } : {}),
            ...(session === "s-bbbb" ? { statement: signedVote("something else") } : {}),
          },
        });
      recorder.command(request, text, undefined);
      journal.append({
        ...about,
        ...{ event: "command.intent", request, decision, command: commandDigest(text) },
        ...{ effects: ["sql:delete orders/shop/public/orders"], policies: ["all"] },
        policyVersion: version,
        ...(session === "s-bbbb" && number === 1 ? { detail: { unmasked: ["pii.email"] } } : {}),
      });
      recorder.response(request, Buffer.from("DELETE 1"));
      journal.append({ event: "command.outcome", session, request, outcome: "ok", rows: 1 });
    };
    command(1, "select 1 -- <b>&\u202e", "permit");
    command(2, SQL, "approved");
    journal.append({ ...about, event: "session.closed", detail: { ...recorder.end() } });
  };
  say("s-aaaa");
  say("s-bbbb");
  say("s-cccc");
  await journal.settled();
  await log.sync();
  await eraseRecording(directory, "s-cccc");
  collect = async (scope, mayDisclose = () => true) => {
    const records: EvidenceRecord[] = [];
    const pieces: Buffer[] = [];
    const recordings: BundleRecording[] = [];
    const kept = new Map<
      string,
      BundleParts["policies"] extends ReadonlyMap<string, infer P> ? P : never
    >();
    let checkpoint = "";
    let manifest: EvidenceManifest | undefined;
    const parts = exportEvidence(
      {
        logDirectory: log.directory,
        journal,
        async published() {
          await journal.settled();
          await log.sync();
        },
        openRecording: (session) => openRecording({ dataDirectory: directory, keys }, session),
        findPolicies: archive.find,
      },
      { scope, about: { chain }, mayDisclose },
    );
    for await (const part of parts) {
      if (part.part === "record") records.push(part.record);
      else if (part.part === "piece") pieces.push(Buffer.from(part.bytes, "base64"));
      else if (part.part === "policies") kept.set(part.digest, part.archived);
      else if (part.part === "checkpoint") checkpoint = part.text;
      else if (part.part === "manifest") manifest = part.manifest;
      else {
        const own = pieces.splice(0);
        const key = Buffer.from(part.key, "base64url");
        recordings.push({ session: part.session, file: recordingFile(own), pieces: own, key });
      }
    }
    assert.ok(manifest);
    const made = { manifest, checkpoint: Buffer.from(checkpoint), records, recordings };
    const whole: BundleParts = { ...made, policies: kept, page: undefined };
    return { ...whole, page: pageOf(whole) };
  };
});

after(async () => {
  await stack.disposeAsync();
  rmSync(directory, { recursive: true, force: true });
});

function signedVote(text: string): string {
  const signer = newSigner();
  return signer.jws(
    { typ: "custody-vote+jwt", jwk: signer.key.jwk },
    {
      ...{ hold: "h-1", binding: "b", command: commandDigest(text), vote: "approve" },
      ...{ delegation: "d-bob", iat: 1_700_000_000 },
    },
  );
}

async function written(scope: EvidenceScope, mayDisclose?: MayDisclose): Promise<string> {
  const folder = mkdtempSync(join(directory, "bundle-"));
  writeBundle(folder, await collect(scope, mayDisclose));
  return folder;
}

function verified(folder: string) {
  return verifyBundle(folder, { log: [parseKey(vkey)], witnesses: [], quorum: 0 });
}

describe("a bundle", () => {
  test("of a session verifies, and says what it proves", async () => {
    const report = await verified(await written({ session: "s-aaaa" }));
    assert.deepEqual(report.problems, []);
    assert.ok(report.proved.some((one) => /each of the 8 records is in the log/.test(one)));
    assert.ok(report.proved.some((one) => /recording of s-aaaa is whole/.test(one)));
    assert.ok(report.proved.some((one) => /r-aaaa-2 ran with the approval of corp\/bob/.test(one)));
    assert.ok(report.proved.some((one) => /policies [0-9a-f]{12} are what/.test(one)));
    assert.ok(report.proved.some((one) => /corp\/bob signed the vote on r-aaaa-2/.test(one)));
    assert.ok(!report.notProved.some((one) => /corp\/bob/.test(one)));
  });

  test("tells a vote that was not signed, and one signed on another command, from one that was", async () => {
    const cut = await verified(await written({ session: "s-bbbb" }));
    assert.ok(
      cut.notProved.some((one) => /that the command corp\/bob saw was the whole/.test(one)),
    );
    const unsigned = await verified(await written({ session: "s-cccc" }));
    assert.ok(unsigned.notProved.some((one) => /corp\/bob holds no key/.test(one)));
  });

  test("of one command, a root and a time verify", async () => {
    for (const scope of [
      { request: "r-bbbb-2" },
      { root: "corp/ann" },
      { root: "d-root" },
      { between: [0, Date.now() + 1000] },
    ] as const) {
      const report = await verified(await written(scope));
      assert.deepEqual(report.problems, [], JSON.stringify(scope));
    }
  });

  test("says what was erased or not disclosed, and stays whole", async () => {
    const erased = await verified(await written({ session: "s-cccc" }));
    assert.deepEqual(erased.problems, []);
    assert.ok(erased.notProved.some((one) => /s-cccc: .*erased/.test(one)));
    const kept = await verified(await written({ session: "s-aaaa" }, () => false));
    assert.deepEqual(kept.problems, []);
    assert.ok(kept.notProved.some((one) => /may not replay/.test(one)));
  });

  test("of a part of a session is asked for by all that its recording shows", async () => {
    const asked: string[] = [];
    const mayDisclose: MayDisclose = ({ id, target, unmasked }) => {
      asked.push(`${id} ${target} ${unmasked.join()}`);
      return unmasked.length === 0;
    };
    const kept = await verified(await written({ request: "r-bbbb-2" }, mayDisclose));
    assert.ok(kept.notProved.some((one) => /s-bbbb: .*not unmask what it shows/.test(one)));
    assert.ok(asked.every((one) => one === "s-bbbb orders pii.email"));
    const given = await verified(await written({ request: "r-aaaa-2" }, mayDisclose));
    assert.ok(!given.notProved.some((one) => /unmask/.test(one)));
  });

  test("of nothing is refused", async () => {
    await assert.rejects(collect({ session: "s-none" }), (error) => {
      assert.ok(error instanceof GatewayError);
      return error.code === "not_found";
    });
  });

  test("has a page that runs and loads nothing, and shows what could hide", async () => {
    const { page } = await collect({ session: "s-aaaa" });
    assert.ok(page?.includes("default-src &#39;none&#39;") || page?.includes("default-src 'none'"));
    assert.ok(page?.includes(`<pre>${SQL}</pre>`));
    assert.ok(page?.includes("&lt;b&gt;&amp;"));
    assert.ok(!page?.includes("\u202e") && page?.includes("U+202E"));
    assert.doesNotMatch(page ?? "", /<script|https?:|src=|@import|url\(/);
  });
});

describe("a bundle of which", () => {
  const lines = (folder: string): string[] =>
    readFileSync(join(folder, "records.ndjson"), "utf8").split("\n").slice(0, -1);
  const put = (folder: string, records: readonly string[]): void =>
    writeFileSync(join(folder, "records.ndjson"), records.map((line) => `${line}\n`).join(""));
  const file = (folder: string, pattern: RegExp): string => {
    const [found] = names.filter((name) => pattern.test(name));
    assert.ok(found);
    return join(folder, found);
  };
  let original = "";
  let other: BundleParts;
  let names: string[] = [];

  before(async () => {
    original = await written({ session: "s-aaaa" });
    other = await collect({ session: "s-bbbb" });
    const { policies } = await collect({ session: "s-aaaa" });
    names = [
      ...["manifest.json", "checkpoint", "records.ndjson", "index.html"],
      ...["recordings/s-aaaa.rec", "recordings/s-aaaa.key"],
      ...[...policies.keys()].map((digest) => `policies/${digest}.json`),
    ];
  });

  async function broken(change: (folder: string) => void): Promise<readonly string[]> {
    const folder = mkdtempSync(join(directory, "broken-"));
    cpSync(original, folder, { recursive: true });
    change(folder);
    const { ok, problems } = await verified(folder);
    assert.equal(ok, false);
    return problems;
  }

  test("any one file is missing is refused", async () => {
    for (const name of names) {
      const problems = await broken((folder) => rmSync(join(folder, name)));
      assert.ok(problems.length > 0, name);
    }
  });

  test("any byte of any file is changed is refused", async () => {
    for (const name of names) {
      const size = readFileSync(join(original, name)).length;
      const step = Math.max(1, Math.floor(size / 25));
      for (let at = 0; at < size; at += step) {
        const problems = await broken((folder) => {
          const bytes = readFileSync(join(folder, name));
          bytes[at]! ^= 0x01;
          writeFileSync(join(folder, name), bytes);
        });
        assert.ok(problems.length > 0, `${name} at ${at}`);
      }
    }
  });

  test("any record is left out, doubled or moved is refused", async () => {
    const count = lines(original).length;
    for (let at = 0; at < count; at++) {
      await broken((folder) => put(folder, lines(folder).toSpliced(at, 1)));
      await broken((folder) => put(folder, lines(folder).toSpliced(at, 0, lines(folder)[at]!)));
      if (at > 0)
        await broken((folder) => {
          const records = lines(folder);
          put(folder, [...records.toSpliced(at, 1).toSpliced(at - 1, 0, records[at]!)]);
        });
    }
  });

  test("a record is left out says which", async () => {
    for (const [at, line] of lines(original).entries()) {
      const { index } = JSON.parse(line) as EvidenceRecord;
      const problems = await broken((folder) => put(folder, lines(folder).toSpliced(at, 1)));
      assert.ok(problems.some((one) => one.startsWith(`record ${index} is missing`)));
    }
  });

  test("the list of records is another, or endless, is refused", async () => {
    const listed = async (records: unknown): Promise<readonly string[]> =>
      broken((folder) => {
        const path = join(folder, "manifest.json");
        const manifest = { ...JSON.parse(readFileSync(path, "utf8")), records };
        const { withheld, records: list, ...rest } = manifest;
        const text = JSON.stringify({ ...rest, records: list, withheld }, undefined, 2);
        writeFileSync(path, `${text}\n`);
      });
    const endless = await listed([[0, Number.MAX_SAFE_INTEGER]]);
    assert.ok(endless.length < 50 && endless.some((one) => /is missing, which/.test(one)));
    assert.ok((await listed([])).some((one) => /does not list it/.test(one)));
    for (const records of [
      [[3, 2]],
      [
        [1, 2],
        [3, 4],
      ],
      [[0]],
      "all",
    ])
      assert.match((await listed(records)).join(), /manifest\.json is not one of a bundle/);
  });

  test("the parts are another session's names them", async () => {
    const foreign = await broken((folder) =>
      put(folder, [...lines(folder), JSON.stringify(other.records.at(-1))]),
    );
    assert.ok(foreign.some((one) => /does not belong to session s-aaaa/.test(one)));
    const recording = await broken((folder) => {
      writeFileSync(join(folder, "recordings/s-aaaa.rec"), other.recordings[0]!.file);
      writeFileSync(
        join(folder, "recordings/s-aaaa.key"),
        `${other.recordings[0]!.key.toString("base64url")}\n`,
      );
    });
    assert.ok(recording.some((one) => /recording of s-aaaa: piece 1 was altered/.test(one)));
    const added = await broken((folder) =>
      renameSync(file(folder, /key$/), join(folder, "recordings/s-zzzz.key")),
    );
    assert.ok(added.length > 0);
  });

  test("the head is signed by another key is refused", async () => {
    const parts = vkey.split("+");
    const report = await verifyBundle(original, {
      log: [],
      witnesses: [parseKey(vkey)],
      quorum: 1,
    });
    assert.equal(report.ok, false, parts[0]);
    assert.match(report.problems.join(), /not signed by the log's key/);
  });

  test("fewer witnesses have seen the head than are asked for is refused", async () => {
    const report = await verifyBundle(original, {
      ...{ log: [parseKey(vkey)], witnesses: [], quorum: 1 },
    });
    assert.match(report.problems.join(), /0 witnesses cosigned, 1 are asked for/);
  });
});

test("a bundle over the end of a year verifies: records of both shards, tied together", async () => {
  const folder = mkdtempSync(join(tmpdir(), "custody-export-shards-"));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const time = { now: Date.parse("2026-12-31T23:59:00Z") };
  const onFailure = (error: GatewayError): never => {
    throw error;
  };
  await using journal = await openJournal({
    ...{ directory: folder, worker: 0, clock: systemClock, onFailure },
  });
  const key = loadLogKey(folder, systemRandom, { origin: "log.example/years" });
  const sequencer = openSequencer({
    ...{ dataDirectory: folder, key, files: createLogFiles() },
    sharding: { period: "year", nowMs: () => time.now },
  });
  using _closing = { [Symbol.dispose]: () => sequencer.close() };
  const published = async (): Promise<void> => {
    await journal.settled();
    const position = Atomics.load(journal.durable, 0);
    const place = { segment: Number(position >> 32n), offset: Number(position & 0xffffffffn) };
    while (sequencer.step(new Map([[0, place]])));
  };
  const about = { session: "s-aaaa", target: "orders", account: "rw", chain };
  const request = "r-aaaa-1";
  let asked = 0;
  const collectFrom = async (): Promise<BundleParts> => {
    const records: EvidenceRecord[] = [];
    let checkpoint = "";
    let manifest: EvidenceManifest | undefined;
    for await (const part of exportEvidence(
      {
        ...{ logDirectory: join(folder, "log"), journal, published },
        openRecording: async () => {
          asked++;
          throw new GatewayError("not_found", "there is none");
        },
        findPolicies: () => undefined,
      },
      { scope: { session: "s-aaaa" }, about: { chain }, mayDisclose: () => true },
    )) {
      if (part.part === "record") records.push(part.record);
      if (part.part === "checkpoint") checkpoint = part.text;
      if (part.part === "manifest") manifest = part.manifest;
    }
    assert.ok(manifest);
    const policies = new Map<string, never>();
    const bare = { manifest, checkpoint: Buffer.from(checkpoint), records, recordings: [] };
    const parts: BundleParts = { ...bare, policies, page: undefined };
    return { ...parts, page: pageOf(parts) };
  };
  const check = async (parts: BundleParts) => {
    const bundle = mkdtempSync(join(folder, "bundle-"));
    writeBundle(bundle, parts);
    const log = [parseKey(key.vkey)];
    return verifyBundle(bundle, { log, witnesses: [], quorum: 0 });
  };
  journal.append({ ...about, event: "session.opened" });
  journal.append({
    ...about,
    ...{ event: "command.intent", request, decision: "permit", command: "x" },
  });
  await published();
  // Of two years later: one shard between has nothing of the session but its begin.
  for (const now of ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]) {
    time.now = Date.parse(now);
    await published();
  }
  journal.append({ event: "command.outcome", session: "s-aaaa", request, outcome: "ok" });
  journal.append({ ...about, event: "session.closed" });
  const whole = await collectFrom();
  const report = await check(whole);
  assert.deepEqual(report.problems, []);
  assert.equal(report.origin, "log.example/years/2028");
  assert.deepEqual(
    whole.manifest.seams?.map(({ index }) => index),
    [7, 5],
  );
  assert.match(report.proved.join("\n"), /each of the 4 records is in the log/);
  assert.match(report.proved.join("\n"), /shard before this was log.example\/years\/2026, with 5/);
  const { manifest } = whole;
  const [newest, middle] = manifest.seams ?? [];
  assert.ok(newest && middle);
  const { seams: _none, ...without } = manifest;
  for (const changed of [
    without,
    { ...manifest, seams: [newest] },
    { ...manifest, seams: [middle, newest] },
    { ...manifest, seams: [newest, { ...middle, index: 3 }] },
    { ...manifest, seams: [newest, { ...middle, leaf: newest.leaf }] },
    { ...manifest, seams: [newest, middle, middle] },
  ]) {
    const { ok, problems } = await check({ ...whole, manifest: changed });
    assert.ok(!ok && problems.length > 0, JSON.stringify(changed));
  }
  assert.equal(asked, 1);
  // One that is kept elsewhere is said to be; what a session showed there is not known here.
  rmSync(join(folder, "log", "2026"), { recursive: true });
  const later = await check(await collectFrom());
  assert.match(later.notProved.join("\n"), /the first 5 are not with the gateway/);
  assert.match(later.problems.join("\n"), /the beginning of the session is missing/);
  assert.equal(asked, 1, "a recording was opened, whose classes are in the shard that is away");
});
