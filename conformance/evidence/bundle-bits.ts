// Every single bit of each file of a small evidence bundle changed, every file removed, every record removed,
// doubled and exchanged, files added: all of it is found by who verifies the bundle, and the part that it is about
// is named. In full every bit; else so many at random.

import { randomInt } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import type { EvidenceManifest, EvidenceRecord } from "@custody/evidence/core/bundle.ts";
import { parseKey } from "@custody/evidence/core/note.ts";
import {
  type BundleParts,
  type BundleRecording,
  recordingFile,
  writeBundle,
} from "@custody/evidence/node/bundle-folder.ts";
import { pageOf, verifyBundle } from "@custody/evidence/node/bundle-verify.ts";
import { commandDigest } from "@custody/evidence/node/command-digest.ts";
import { type EvidenceExportDeps, exportEvidence } from "@custody/gateway/audit/evidence-export.ts";
import { openJournal } from "@custody/gateway/audit/journal-writer.ts";
import { openLog } from "@custody/gateway/audit/log.ts";
import { createLogFiles } from "@custody/gateway/audit/log-files.ts";
import { systemClock } from "@custody/gateway/base/clock.ts";
import { systemRandom } from "@custody/gateway/base/ids.ts";
import { openPolicyArchive } from "@custody/gateway/policy/archive.ts";
import { parsePolicies } from "@custody/gateway/policy/load.ts";
import { openRecorder } from "@custody/gateway/recording/recorder.ts";
import { loadRecordingKeys } from "@custody/gateway/recording/recording-keys.ts";
import { openRecording } from "@custody/gateway/recording/replay.ts";
import { report } from "./report.ts";

const SESSION = "s-1";
const COMMANDS = 2;
const RANDOM_FLIPS = 600;
const POLICY = '@id("all") permit (principal, action, resource);';

interface Bundle {
  readonly folder: string;
  readonly vkey: string;
}

export async function flipEveryBitOfBundle(directory: string): Promise<void> {
  const bundle = await make(join(directory, "bundle"));
  const whole = await problemsOf(bundle);
  report("a bundle as it was exported verifies", whole.length === 0, whole.join("\n"));
  await flip(bundle, process.env.CUSTODY_CI_SIZE === "full");
  await rearrange(bundle);
}

async function make(directory: string): Promise<Bundle> {
  const data = join(directory, "data");
  const folder = join(directory, "exported");
  mkdirSync(data, { recursive: true });
  const onFailure = (error: Error): never => {
    throw error;
  };
  const loaded = await parsePolicies([{ name: "all.cedar", text: POLICY }]);
  if (!loaded.ok) throw new Error("the policy does not load");
  const { version, digest } = loaded.policies;
  const archive = openPolicyArchive(data, createLogFiles().replace);
  archive.keep(loaded.policies);
  const journal = await openJournal({
    ...{ directory: data, worker: 0, clock: systemClock, onFailure },
    startDetail: { policyVersion: version, policyDigest: digest },
  });
  const journals = [{ worker: 0, journal }];
  const log = await openLog({ dataDirectory: data, journals, onFailure, intervalMs: 10 });
  const keys = await loadRecordingKeys(data, systemRandom);
  const recorder = openRecorder(
    { journal, clock: systemClock, keys, random: systemRandom },
    { sessionId: SESSION, subject: "corp/1", data: { target: "orders" } },
  );
  const chain = [{ d: "d-1", s: "corp/1", k: "user", p: "attested" }] as const;
  const who = { session: SESSION, target: "orders", account: "rw", chain };
  journal.append({ ...who, event: "session.opened" });
  for (let number = 0; number < COMMANDS; number++) {
    const about = { ...who, request: `r-1-${number}` };
    const text = `select ${number}`;
    const command = commandDigest(text);
    recorder.command(about.request, text, undefined);
    const decided = { decision: "permit", policies: ["all"], policyVersion: version } as const;
    journal.append({ ...about, ...decided, event: "command.intent", command });
    recorder.response(about.request, Buffer.from("row"));
    journal.append({ ...about, event: "command.outcome", outcome: "ok" });
  }
  journal.append({ ...who, event: "session.closed", detail: { ...recorder.end() } });
  const parts = await collect({
    ...{ logDirectory: log.directory, journal, findPolicies: archive.find },
    async published() {
      await journal.settled();
      await log.sync();
    },
    openRecording: (session) => openRecording({ dataDirectory: data, keys }, session),
  });
  writeBundle(folder, { ...parts, page: pageOf(parts) });
  await journal[Symbol.asyncDispose]();
  await log[Symbol.asyncDispose]();
  return { folder, vkey: log.vkey };
}

async function collect(deps: EvidenceExportDeps): Promise<BundleParts> {
  const records: EvidenceRecord[] = [];
  const pieces: Buffer[] = [];
  const recordings: BundleRecording[] = [];
  const policies: [
    string,
    BundleParts["policies"] extends ReadonlyMap<string, infer P> ? P : never,
  ][] = [];
  let checkpoint = "";
  let manifest: EvidenceManifest | undefined;
  const chain = [{ d: "d-2", s: "corp/2", k: "user", p: "attested" }] as const;
  const wanted = { scope: { session: SESSION }, about: { chain }, mayDisclose: () => true };
  for await (const part of exportEvidence(deps, wanted)) {
    if (part.part === "record") records.push(part.record);
    else if (part.part === "piece") pieces.push(Buffer.from(part.bytes, "base64"));
    else if (part.part === "policies") policies.push([part.digest, part.archived]);
    else if (part.part === "checkpoint") checkpoint = part.text;
    else if (part.part === "manifest") manifest = part.manifest;
    else {
      const own = pieces.splice(0);
      const key = Buffer.from(part.key, "base64url");
      recordings.push({ session: part.session, file: recordingFile(own), pieces: own, key });
    }
  }
  if (manifest === undefined) throw new Error("the export has no manifest");
  const made = { manifest, checkpoint: Buffer.from(checkpoint), records, recordings };
  return { ...made, policies: new Map(policies), page: undefined };
}

async function problemsOf({ folder, vkey }: Bundle): Promise<readonly string[]> {
  const keys = { log: [parseKey(vkey)], witnesses: [], quorum: 0 };
  return (await verifyBundle(folder, keys)).problems;
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map(({ parentPath, name }) => relative(folder, join(parentPath, name)))
    .sort();
}

/** What has to be in one of the sentences about a change in this file. */
function nameOf(file: string): RegExp {
  if (file === "records.ndjson") return /record|records\.ndjson/;
  if (file.startsWith("recordings/")) return new RegExp(`${SESSION}|${file}`);
  if (file.startsWith("policies/")) return /polic/;
  if (file === "index.html") return /index\.html|page/;
  return new RegExp(file.replace(".", "\\."));
}

async function flip(bundle: Bundle, all: boolean): Promise<void> {
  const names = filesOf(bundle.folder);
  const sizes = names.map((name) => readFileSync(join(bundle.folder, name)).length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const missed: string[] = [];
  const unnamed: string[] = [];
  let count = 0;
  for (const [at, name] of names.entries()) {
    const path = join(bundle.folder, name);
    const intact = readFileSync(path);
    const bits = intact.length * 8;
    const wanted = all ? bits : Math.ceil((RANDOM_FLIPS * sizes[at]!) / total);
    for (let turn = 0; turn < wanted; turn++) {
      const bit = all ? turn : randomInt(bits);
      count++;
      const altered = Buffer.from(intact);
      altered[bit >> 3]! ^= 1 << (bit & 7);
      writeFileSync(path, altered);
      const problems = await problemsOf(bundle);
      if (problems.length === 0) missed.push(`${name}: bit ${bit}`);
      else if (!problems.some((one) => nameOf(name).test(one)))
        unnamed.push(`${name}: bit ${bit}: ${problems[0]}`);
    }
    writeFileSync(path, intact);
  }
  const what = `${count} bits of a bundle of ${names.length} files, ${total} bytes, changed`;
  report(`${what}: each found`, missed.length === 0, missed.slice(0, 20).join("\n"));
  report("each named: the part it is in", unnamed.length === 0, unnamed.slice(0, 20).join("\n"));
}

async function rearrange(bundle: Bundle): Promise<void> {
  const missed: string[] = [];
  let count = 0;
  const check = async (what: string, about: RegExp): Promise<void> => {
    count++;
    const problems = await problemsOf(bundle);
    if (!problems.some((one) => about.test(one))) missed.push(`${what}: ${problems[0]}`);
  };
  for (const name of filesOf(bundle.folder)) {
    const path = join(bundle.folder, name);
    const intact = readFileSync(path);
    rmSync(path);
    await check(`${name} removed`, name.startsWith("policies/") ? /polic/ : nameOf(name));
    writeFileSync(path, intact);
    writeFileSync(`${path}.more`, intact);
    await check(`${name}.more added`, /\.more/);
    rmSync(`${path}.more`);
  }
  const path = join(bundle.folder, "records.ndjson");
  const intact = readFileSync(path, "utf8");
  const lines = intact.split("\n").slice(0, -1);
  const put = async (what: string, changed: readonly string[], about = /record/): Promise<void> => {
    writeFileSync(path, changed.map((line) => `${line}\n`).join(""));
    await check(what, about);
  };
  for (let at = 0; at < lines.length; at++) {
    const { index } = JSON.parse(lines[at]!) as EvidenceRecord;
    await put(
      `record ${at} removed`,
      lines.toSpliced(at, 1),
      new RegExp(`record ${index} is missing`),
    );
    await put(`record ${at} doubled`, lines.toSpliced(at, 0, lines[at]!));
    for (let other = at + 1; other < lines.length; other++)
      await put(
        `records ${at} and ${other} exchanged`,
        lines.with(at, lines[other]!).with(other, lines[at]!),
      );
  }
  writeFileSync(path, intact);
  report(
    `${count} times a file or record of a bundle removed, added, doubled or exchanged: each found and named`,
    missed.length === 0,
    missed.join("\n"),
  );
  report("and as it was it verifies", (await problemsOf(bundle)).length === 0);
}
