// What a bundle (evidence/core/bundle.ts) is made of, out of the log's files, the recordings and the kept
// policies. The order matters: what was journalled before the request is published first; then the
// parts are gathered; then their digest goes into the log, as `evidence.exported`; then the proofs are made
// against a head that has that record.
//
// Reads files of the log; owns nothing. An export walks the log a bundle of entries a turn and sends recordings
// as it reads them, so that it keeps nobody waiting and holds none of them; one person has one at a time.

import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { toBase64 } from "@custody/evidence/core/base64.ts";
import {
  type ArchivedPolicies,
  BUNDLE_FORMAT,
  ContentsDigest,
  type EvidenceManifest,
  type EvidenceRecord,
  type EvidenceScope,
  membersOf,
  rowsOf,
} from "@custody/evidence/core/bundle.ts";
import { decodeLeaf, type Leaf } from "@custody/evidence/core/leaf.ts";
import { leafHash, TILE_WIDTH } from "@custody/evidence/core/merkle.ts";
import { inclusionProof, type SubtreeHash } from "@custody/evidence/core/proof.ts";
import { folderEntries, folderHashes } from "@custody/evidence/node/log-folder.ts";
import {
  type LogShard,
  readShards,
  recordsIn,
  shardWith,
} from "@custody/evidence/node/log-shards.ts";
import { nodeSha256 } from "@custody/evidence/node/node-sha256.ts";
import { headWith } from "@custody/evidence/node/prove.ts";
import { framePiece, RECORDING_MAGIC } from "@custody/evidence/node/recording-format.ts";
import { GatewayError } from "../base/errors.ts";
import type { Journal, LeafDraft } from "./journal.ts";

/** In the order they are sent: recordings, policies, records, the head, the manifest. */
export type EvidencePart =
  | { readonly part: "record"; readonly record: EvidenceRecord }
  /** One piece; base64. */
  | { readonly part: "piece"; readonly session: string; readonly bytes: string }
  | { readonly part: "key"; readonly session: string; readonly key: string }
  | { readonly part: "policies"; readonly digest: string; readonly archived: ArchivedPolicies }
  | { readonly part: "checkpoint"; readonly text: string }
  /** Always last. */
  | { readonly part: "manifest"; readonly manifest: EvidenceManifest };

export interface EvidenceExportDeps {
  /** The folder with `checkpoint` and `tile/`, or with the shards. */
  readonly logDirectory: string;
  readonly journal: Pick<Journal, "append">;
  /** Resolves when all that is in the journals is in the published log. */
  readonly published: () => Promise<void>;
  /** Throws GatewayError "not_found" when there is none, or it was erased. */
  readonly openRecording: (sessionId: string) => Promise<OpenedRecording>;
  readonly findPolicies: (
    version: string,
  ) => { readonly digest: string; readonly archived: ArchivedPolicies } | undefined;
}

/** Of any length: its pieces are read as they are sent. */
export interface OpenedRecording extends Disposable {
  readonly key: Buffer;
  pieces(): AsyncIterable<Buffer>;
}

export interface WantedEvidence {
  readonly scope: EvidenceScope;
  /** Chain and target of the reader's leaves. */
  readonly about: Pick<LeafDraft, "chain" | "target" | "session">;
  /** Whether what was said in a session may be disclosed, classified values that it shows included. */
  readonly mayDisclose: (session: DisclosedSession) => boolean;
}

export interface DisclosedSession {
  readonly id: string;
  readonly target: string;
  /** Classes that its answers show as they are. */
  readonly unmasked: readonly string[];
}

/** What an export cannot look at. */
const KEPT_ELSEWHERE = "records of before";
const MAX_RECORDS = 100_000;
const MAX_RECORDINGS = 1_000;
/** However quick the reader is. */
const PROOFS_A_TURN = 100;
/** The journal of the process that answers the control API. */
const OWN_WORKER = 0;

/** Throws GatewayError: not_found, invalid (too much), evidence_unavailable. */
export async function* exportEvidence(
  deps: EvidenceExportDeps,
  wanted: WantedEvidence,
): AsyncGenerator<EvidencePart> {
  const { scope, about } = wanted;
  const from = sizeOf(deps.logDirectory);
  // What the export rests on is in the log before it is looked at; and who looked is on record.
  const asked = deps.journal.append({ event: "audit.read", ...about });
  await published(deps, from, asked);
  const shards = readShards(deps.logDirectory);
  const size = recordsIn(shards);
  const found = await select(deps.logDirectory, size, scope);
  if (found.length === 0) throw new GatewayError("not_found", "the log has no record of that");

  const contents = new ContentsDigest();
  const withheld: Record<string, string> = {};
  const { policies, missing } = policiesOf(deps, found);
  const records = await withPolicyRecords(deps.logDirectory, size, found, policies);
  for (const { index, entry } of records) contents.record(index, leafHash(nodeSha256, entry));
  const disclosed = await createDisclosure(deps, wanted, size);
  for (const session of recordedSessions(records)) {
    const opened = await disclosed(session);
    if (typeof opened === "string") {
      withheld[session.id] = opened;
      continue;
    }
    using recording = opened;
    const file = createHash("sha256").update(RECORDING_MAGIC);
    for await (const piece of recording.pieces()) {
      for (const bytes of framePiece(piece)) file.update(bytes);
      yield { part: "piece", session: session.id, bytes: piece.toString("base64") };
    }
    const { key } = recording;
    contents.recording(session.id, file.digest(), nodeSha256(key));
    yield { part: "key", session: session.id, key: key.toString("base64url") };
  }
  const elsewhere = shards[0]?.before ?? 0;
  if (elsewhere > 0) withheld[KEPT_ELSEWHERE] = `the first ${elsewhere} are not with the gateway`;
  for (const version of missing) withheld[`policies ${version}`] = "not kept by the gateway";
  for (const [what, why] of Object.entries(withheld)) contents.withheld(what, why);
  for (const [digest, archived] of policies) {
    contents.policies(digest);
    yield { part: "policies", digest, archived };
  }

  const told = deps.journal.append({
    event: "evidence.exported",
    ...about,
    detail: { digest: contents.of(nodeSha256, scope), records: records.length },
  });
  const exported = await published(deps, size, told);
  yield* proofs(deps.logDirectory, records, exported, { scope, withheld });
}

interface Entry {
  readonly index: number;
  readonly entry: Uint8Array;
  readonly leaf: Leaf;
}

async function* proofs(
  directory: string,
  records: readonly Entry[],
  exported: Entry,
  about: Pick<EvidenceManifest, "scope" | "withheld">,
): AsyncGenerator<EvidencePart> {
  const shards = readShards(directory);
  const last = shardWith(shards, exported.index);
  if (last === undefined) throw new GatewayError("evidence_unavailable", "the log has changed");
  const head = headWith(last, exported.index - last.before);
  const proved = prover(shards, last, head.checkpoint.size);
  for (const [at, entry] of records.entries()) {
    yield { part: "record", record: proved(entry) };
    if (at % PROOFS_A_TURN === PROOFS_A_TURN - 1) await turn();
  }
  yield { part: "checkpoint", text: head.note };
  const { scope, withheld } = about;
  const lowest = Math.min(exported.index, ...records.slice(0, 1).map(({ index }) => index));
  // Each names the one before it, so that of the oldest is not needed.
  const seams = shards
    .filter((shard) => shard === last || (shard.before > lowest && shard.before < last.before))
    .filter(({ name }) => name !== "")
    .map((shard) => proved(firstOf(shard)))
    .reverse();
  const manifest: EvidenceManifest = {
    ...{ format: BUNDLE_FORMAT, scope, origin: head.checkpoint.origin },
    exported: proved(exported),
    ...(seams.length === 0 ? {} : { seams }),
    records: rowsOf(records.map(({ index }) => index)),
    withheld,
  };
  yield { part: "manifest", manifest };
}

/** Proofs in the tree of each record's shard: whole, but for the last, which is proved in this head's. */
function prover(
  shards: readonly LogShard[],
  last: LogShard,
  size: number,
): (entry: Pick<Entry, "index" | "entry">) => EvidenceRecord {
  const trees = new Map<LogShard, { readonly size: number; readonly subtree: SubtreeHash }>();
  return ({ index, entry }) => {
    const shard = shardWith(shards, index);
    if (shard === undefined) throw new GatewayError("evidence_unavailable", "a shard is gone");
    const tree = trees.get(shard) ?? treeOf(shard, shard === last ? size : shard.checkpoint.size);
    trees.set(shard, tree);
    return {
      index,
      leaf: Buffer.from(entry).toString("utf8"),
      proof: inclusionProof(tree.subtree, index - shard.before, tree.size).map(toBase64),
    };
  };
}

function treeOf({ directory }: LogShard, size: number): { size: number; subtree: SubtreeHash } {
  return { size, subtree: folderHashes(directory, size) };
}

function firstOf({ directory, before, checkpoint }: LogShard): Pick<Entry, "index" | "entry"> {
  const [entry] = folderEntries(directory, checkpoint.size, 0);
  if (entry === undefined) throw new GatewayError("evidence_unavailable", "a shard is empty");
  return { index: before, entry };
}

/** The leaf of our own journal, once it is in the published log. */
async function published(deps: EvidenceExportDeps, from: number, seq: number): Promise<Entry> {
  await deps.published();
  for await (const one of entriesOf(deps.logDirectory, from, sizeOf(deps.logDirectory)))
    if (one.leaf.worker === OWN_WORKER && one.leaf.seq === seq) return one;
  throw new GatewayError("evidence_unavailable", "the log was not published in time", {
    hint: "try again in a moment",
  });
}

async function select(directory: string, size: number, scope: EvidenceScope): Promise<Entry[]> {
  const found: Entry[] = [];
  const isMember = membersOf(scope);
  // Most records are passed over without being parsed.
  const mention = "session" in scope ? Buffer.from(scope.session, "utf8") : undefined;
  for await (const one of entriesOf(directory, 0, size, mention)) {
    if (!isMember(one.leaf)) continue;
    found.push(one);
    if (found.length > MAX_RECORDS)
      throw new GatewayError("invalid", `that is more than ${MAX_RECORDS} records`, {
        hint: "ask for less: a session, or a shorter time",
      });
  }
  return found;
}

/** Those that contain `mention`, where it is given; the process serves others in between. */
async function* entriesOf(
  directory: string,
  from: number,
  size: number,
  mention?: Buffer,
): AsyncGenerator<Entry> {
  for (const shard of readShards(directory)) {
    const { before, checkpoint } = shard;
    const width = Math.min(checkpoint.size, size - before);
    const start = Math.max(0, from - before);
    for (let bundle = Math.floor(start / TILE_WIDTH); bundle * TILE_WIDTH < width; bundle++) {
      const first = bundle * TILE_WIDTH;
      for (const [at, entry] of folderEntries(shard.directory, width, bundle).entries()) {
        const isWanted =
          first + at >= start && (mention === undefined || bytesOf(entry).includes(mention));
        if (isWanted) yield { index: before + first + at, entry, leaf: decodeLeaf(entry) };
      }
      await turn();
    }
  }
}

function bytesOf(entry: Uint8Array): Buffer {
  return Buffer.from(entry.buffer, entry.byteOffset, entry.length);
}

function policiesOf(
  { findPolicies }: EvidenceExportDeps,
  records: readonly Entry[],
): {
  readonly policies: ReadonlyMap<string, ArchivedPolicies>;
  readonly missing: readonly string[];
} {
  const policies = new Map<string, ArchivedPolicies>();
  const missing: string[] = [];
  const versions = new Set(records.flatMap(({ leaf }) => leaf.policyVersion ?? []));
  for (const version of [...versions].sort()) {
    const kept = findPolicies(version);
    if (kept === undefined) missing.push(version);
    else policies.set(kept.digest, kept.archived);
  }
  return {
    policies: new Map([...policies].sort(([one], [other]) => (one < other ? -1 : 1))),
    missing,
  };
}

/** With the last record before them by which the gateway said that it had loaded each of these sets. */
async function withPolicyRecords(
  directory: string,
  size: number,
  records: readonly Entry[],
  policies: ReadonlyMap<string, ArchivedPolicies>,
): Promise<Entry[]> {
  const known = new Set(records.map(({ index }) => index));
  const loads = new Map<string, Entry>();
  const last = records.at(-1)?.index ?? 0;
  const mention = Buffer.from('"policyDigest"', "latin1");
  for await (const one of entriesOf(directory, 0, size, mention)) {
    if (one.index > last) break;
    const digest = one.leaf.detail?.policyDigest;
    if (typeof digest === "string" && policies.has(digest)) loads.set(digest, one);
  }
  const added = [...loads.values()].filter(({ index }) => !known.has(index));
  return [...records, ...added].sort((one, other) => one.index - other.index);
}

interface RecordedSession {
  readonly id: string;
  readonly target: string;
}

/** Adds what the records of this part of the log say was shown as it is: classes, by session. */
async function addUnmasked(
  shown: Map<string, Set<string>>,
  directory: string,
  from: number,
  size: number,
): Promise<void> {
  const mention = Buffer.from('"unmasked"', "latin1");
  for await (const { leaf } of entriesOf(directory, from, size, mention)) {
    const classes = leaf.detail?.unmasked;
    if (leaf.session === undefined || !Array.isArray(classes)) continue;
    const known = shown.get(leaf.session) ?? new Set();
    for (const name of classes) known.add(name);
    shown.set(leaf.session, known);
  }
}

/**
 * Sessions whose records are all here; undefined: every one's. What others showed is in shards that are kept
 * elsewhere.
 */
async function begunHere(
  directory: string,
  size: number,
): Promise<ReadonlySet<string> | undefined> {
  if ((readShards(directory)[0]?.before ?? 0) === 0) return undefined;
  const begun = new Set<string>();
  const mention = Buffer.from('"event":"session.opened"', "latin1");
  for await (const { leaf } of entriesOf(directory, 0, size, mention))
    if (leaf.event === "session.opened") begun.add(leaf.session ?? "");
  return begun;
}

function recordedSessions(records: readonly Entry[]): RecordedSession[] {
  const sessions = new Map<string, RecordedSession>();
  for (const { leaf } of records) {
    if (leaf.session === undefined || leaf.target === undefined) continue;
    // Only what was opened has a recording.
    if (leaf.event === "session.opened" || leaf.event === "command.intent")
      sessions.set(leaf.session, { id: leaf.session, target: leaf.target });
  }
  if (sessions.size > MAX_RECORDINGS)
    throw new GatewayError("invalid", `that is more than ${MAX_RECORDINGS} sessions`);
  return [...sessions.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
}

/** Gives each session's recording, or why it is not given. Of all of the log: a recording is given whole. */
async function createDisclosure(
  deps: EvidenceExportDeps,
  { mayDisclose }: WantedEvidence,
  size: number,
): Promise<(session: RecordedSession) => Promise<OpenedRecording | string>> {
  const shown = new Map<string, Set<string>>();
  await addUnmasked(shown, deps.logDirectory, 0, size);
  const begun = await begunHere(deps.logDirectory, size);
  let looked = size;
  const may = (session: RecordedSession): boolean =>
    (begun === undefined || begun.has(session.id)) &&
    mayDisclose({ ...session, unmasked: [...(shown.get(session.id) ?? [])] });
  return async (session) => {
    const refused = "the exporter may not replay it, or not unmask what it shows";
    if (!may(session)) return refused;
    try {
      const opened = await deps.openRecording(session.id);
      try {
        // A session that goes on: what it showed meanwhile is in the log by now.
        await deps.published();
        const now = sizeOf(deps.logDirectory);
        await addUnmasked(shown, deps.logDirectory, looked, now);
        looked = now;
        if (may(session)) return opened;
      } catch (thrown) {
        opened[Symbol.dispose]();
        throw thrown;
      }
      opened[Symbol.dispose]();
      return refused;
    } catch (thrown) {
      if (thrown instanceof GatewayError && thrown.code === "not_found") return thrown.message;
      throw thrown;
    }
  };
}

function sizeOf(directory: string): number {
  return recordsIn(readShards(directory));
}
