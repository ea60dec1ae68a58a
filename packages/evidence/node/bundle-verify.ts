// Verifies a bundle (core/bundle.ts) with the log's key and nothing else, and says what was proved and
// what was not. Each problem names the part or record it is about.

import { fromBase64 } from "../core/base64.ts";
import {
  ContentsDigest,
  type EvidenceRecord,
  membersOf,
  policiesDigest,
  scopeText,
} from "../core/bundle.ts";
import { bundlePage, type PageSession } from "../core/bundle-page.ts";
import { type Checkpoint, parseCheckpoint } from "../core/checkpoint.ts";
import { createLeafRules } from "../core/custody-rules.ts";
import { decodeLeaf, type Leaf } from "../core/leaf.ts";
import { keysOf, readOpened } from "../core/log-shard.ts";
import { leafHash } from "../core/merkle.ts";
import { type NoteKey, parseNote, type Signer, verifiedSigners } from "../core/note.ts";
import { verifyInclusion } from "../core/proof.ts";
import type { RecordingEvent } from "../core/recording.ts";
import {
  BundleError,
  type BundleParts,
  type BundleRecording,
  readBundle,
} from "./bundle-folder.ts";
import { nodeSha256 } from "./node-sha256.ts";
import { readEvents } from "./recording-reader.ts";
import { readVoteStatement } from "./vote-statement.ts";

export interface BundleKeys {
  /** The log's; one of them must have signed the checkpoint. */
  readonly log: readonly NoteKey[];
  readonly witnesses: readonly NoteKey[];
  /** How many of the witnesses must have cosigned. */
  readonly quorum: number;
}

export interface BundleReport {
  readonly ok: boolean;
  /** `session s-7f3k` */
  readonly scope: string;
  readonly origin: string;
  /** A sentence each. */
  readonly proved: readonly string[];
  readonly notProved: readonly string[];
  readonly problems: readonly string[];
}

/** One record that was read, with its place. */
interface Placed {
  readonly index: number;
  readonly leaf: Leaf;
}

interface Checking {
  readonly parts: BundleParts;
  readonly records: readonly Placed[];
  readonly proved: string[];
  readonly notProved: string[];
  readonly problems: string[];
}

type CommandEvent = Extract<RecordingEvent, { kind: "command" | "command-digest" }>;

const POLICY_VERSION_DIGITS = 12;
/** Base64. */
const MAX_COMMANDS_LENGTH = 256 << 20;

/** Never throws for what it finds in the folder. */
export async function verifyBundle(directory: string, keys: BundleKeys): Promise<BundleReport> {
  let read: ReturnType<typeof readBundle>;
  try {
    read = readBundle(directory);
  } catch (thrown) {
    if (!(thrown instanceof BundleError)) throw thrown;
    return {
      ...{ ok: false, scope: "unknown", origin: "unknown" },
      ...{ proved: [], notProved: [], problems: [thrown.message] },
    };
  }
  const { parts } = read;
  const checking: Checking = {
    parts,
    ...{ records: [], proved: [], notProved: [], problems: [...read.problems] },
  };
  const checkpoint = await checkCheckpoint(checking, keys);
  const trees = checkpoint === undefined ? undefined : treesOf(checking, checkpoint);
  const records = checkRecords(checking, trees);
  const whole: Checking = { ...checking, records };
  checkRules(whole);
  const sessions = checkRecordings(whole);
  checkPolicies(whole);
  checkApprovals(whole);
  checkExport(whole, trees);
  checkPage(whole, sessions);
  const { proved, notProved, problems } = checking;
  return {
    ok: problems.length === 0,
    scope: scopeText(parts.manifest.scope),
    origin: parts.manifest.origin,
    ...{ proved, notProved, problems },
  };
}

/** The page of a bundle whose parts are in hand; the same that verification expects. */
export function pageOf(parts: BundleParts): string {
  const records = parts.records.flatMap((record) => leafOf(record) ?? []);
  const checking = { parts, records, proved: [], notProved: [], problems: [] };
  return bundlePage(parts.manifest, records, checkRecordings(checking));
}

async function checkCheckpoint(
  { parts, proved, notProved, problems }: Checking,
  keys: BundleKeys,
): Promise<Checkpoint | undefined> {
  let signers: readonly Signer[];
  let checkpoint: Checkpoint;
  let logKeys: readonly NoteKey[];
  try {
    logKeys = keysOf(keys.log, parseNote(parts.checkpoint).text.split("\n", 1)[0]!);
    const note = await verifiedSigners(parts.checkpoint, [...logKeys, ...keys.witnesses]);
    signers = note.signers;
    checkpoint = parseCheckpoint(note.text);
  } catch (thrown) {
    problems.push(`checkpoint: ${thrown instanceof Error ? thrown.message : "unreadable"}`);
    return undefined;
  }
  const { origin, size } = checkpoint;
  if (!signers.some(({ key }) => logKeys.includes(key) && key.name === origin)) {
    problems.push(`checkpoint: the head of ${origin} is not signed by the log's key`);
    return undefined;
  }
  if (origin !== parts.manifest.origin)
    problems.push(`manifest.json: it speaks of the log ${parts.manifest.origin}, not of ${origin}`);
  proved.push(`the log ${origin} had ${size} records when its key signed this head`);
  const witnesses = signers.filter(({ key }) => keys.witnesses.includes(key));
  for (const { key, seconds } of witnesses) {
    const when = seconds === undefined ? "" : ` at ${new Date(seconds * 1000).toISOString()}`;
    proved.push(`the witness ${key.name} had seen this head${when}`);
  }
  if (witnesses.length < keys.quorum)
    problems.push(
      `checkpoint: ${witnesses.length} witnesses cosigned, ${keys.quorum} are asked for`,
    );
  if (witnesses.length === 0)
    notProved.push("that this is the log others see: no witness's key was given");
  return checkpoint;
}

/** One tree of the log, and how many records are in those before it. */
type PlacedTree = Pick<Checkpoint, "size" | "root"> & { readonly before: number };

/**
 * That of the head, and those before it that the manifest's seams lead to: the first record of each shard says
 * the size and root of the one before.
 */
function treesOf({ parts, problems, proved }: Checking, { size, root }: Checkpoint): PlacedTree[] {
  const trees: PlacedTree[] = [];
  let tree: Pick<Checkpoint, "size" | "root"> | undefined = { size, root };
  /** What is before the tree; known of one that another follows. */
  let before: number | undefined;
  for (const seam of parts.manifest.seams ?? []) {
    const leaf = leafOf(seam)?.leaf;
    const begin = leaf && readOpened(leaf);
    const isFirst =
      tree !== undefined &&
      begin?.before === (before ?? begin?.before) &&
      seam.index === begin?.before &&
      isIncluded(seam, [{ ...tree, before: seam.index }]);
    if (tree === undefined || begin === undefined || !isFirst) {
      problems.push("manifest.json: a seam between shards of the log does not hold");
      return trees;
    }
    trees.push({ ...tree, before: begin.before });
    const { previous } = begin;
    tree = previous;
    before = previous && begin.before - previous.size;
    if (previous !== undefined)
      proved.push(`its shard before this was ${previous.origin}, with ${previous.size} records`);
  }
  const lowest = parts.records.reduce(
    (least, { index }) => Math.min(least, index),
    parts.manifest.exported.index,
  );
  const oldest = trees.at(-1);
  if (oldest !== undefined && trees.length > 1 && lowest >= oldest.before)
    problems.push("manifest.json: a seam of a shard that nothing here is of");
  // The oldest that a seam names; and the log itself, where it is not in shards.
  if (tree !== undefined) trees.push({ ...tree, before: before ?? 0 });
  return trees;
}

function checkRecords(
  { parts, proved, problems }: Checking,
  trees: readonly PlacedTree[] | undefined,
): Placed[] {
  const { scope } = parts.manifest;
  const isMember = membersOf(scope);
  const versions = new Set(parts.policies.keys());
  const records: Placed[] = [];
  let last = -1;
  let included = 0;
  for (const record of parts.records) {
    const placed = leafOf(record);
    if (placed === undefined) {
      problems.push(`record ${record.index}: it was altered: it is not a record of a log`);
      continue;
    }
    const name = nameOf(placed);
    if (record.index <= last) problems.push(`${name}: it comes twice or out of order`);
    last = record.index;
    if (!isMember(placed.leaf) && !namesPolicies(placed.leaf, versions))
      problems.push(
        `${name}: it does not belong to ${scopeText(scope)}, which manifest.json is about`,
      );
    if (trees === undefined) continue;
    if (isIncluded(record, trees)) included += 1;
    else problems.push(`${name}: it was altered, or is not of this log: its proof does not hold`);
    records.push(placed);
  }
  if (records.length === 0) problems.push("records.ndjson: there is no record");
  if (included > 0 && included === parts.records.length)
    proved.push(`each of the ${included} records is in the log, at its place, unaltered`);
  return records;
}

/** What has to hold between the records of one session. */
function checkRules({ parts, records, problems, notProved, proved }: Checking): void {
  const rules = createLeafRules();
  // Records of other sessions lie between these.
  rules.skip(Number.MAX_SAFE_INTEGER);
  for (const placed of records)
    for (const problem of rules.check(placed.leaf)) problems.push(`${nameOf(placed)}: ${problem}`);
  const { sessions, intents } = rules.open();
  const { scope } = parts.manifest;
  if ("session" in scope || "request" in scope) {
    if (records[0]?.leaf.event !== "session.opened" && !namesPolicies(records[0]?.leaf, undefined))
      problems.push("records.ndjson: the beginning of the session is missing");
  }
  if (sessions.length > 0) notProved.push(`how it ended: ${sessions.join(", ")} had not ended yet`);
  const closed = new Set(
    records.flatMap(({ leaf }) => (leaf.event === "session.closed" ? [leaf.session] : [])),
  );
  const firsts = new Map(records.toReversed().map(({ leaf }) => [leaf.request, leaf]));
  for (const request of intents) {
    const leaf = firsts.get(request);
    if (closed.has(leaf?.session)) problems.push(`${request}: how it ended is missing`);
    else notProved.push(`how ${request} ended: it was running`);
  }
  if (problems.length === 0) proved.push("every command in it has its decision and its end");
}

/** Opens every recording and holds it against the records; returns what the page shows of it. */
function checkRecordings(checking: Checking): PageSession[] {
  const { parts, records, problems, notProved } = checking;
  const shown: PageSession[] = [];
  const sessions = Map.groupBy(records, ({ leaf }) => leaf.session);
  for (const recording of parts.recordings) {
    const { session } = recording;
    const own = sessions.get(session);
    if (own === undefined) {
      problems.push(`recordings/${session}.rec: no record speaks of this session`);
      continue;
    }
    const events = checkRecording({ ...checking, records: own }, recording);
    if (events !== undefined) shown.push({ session, events });
  }
  const whole = new Set(shown.map(({ session }) => session));
  const given = new Set(parts.recordings.map(({ session }) => session));
  for (const { leaf } of records) {
    if (leaf.event !== "session.closed" || leaf.detail?.digest === undefined) continue;
    if (whole.has(leaf.session ?? "")) continue;
    const why = parts.manifest.withheld[leaf.session ?? ""];
    if (why !== undefined) notProved.push(`what was said in ${leaf.session}: ${why}`);
    else if (!given.has(leaf.session ?? ""))
      problems.push(`recordings/${leaf.session}.rec is missing`);
  }
  return shown;
}

/** `records`: of its session. Returns what commands it has; of the rest nothing is kept. */
function checkRecording(
  { records: own, problems, proved, notProved, parts }: Checking,
  { session, pieces, key }: BundleRecording,
): RecordingEvent[] | undefined {
  const closed = own.find(({ leaf }) => leaf.event === "session.closed")?.leaf;
  const commands = new Map(
    own.flatMap(({ leaf }) =>
      leaf.request !== undefined && leaf.command !== undefined
        ? [
            [
              leaf.request,
              {
                command: leaf.command,
                ...(leaf.parameters === undefined ? {} : { parameters: leaf.parameters }),
              },
            ] as const,
          ]
        : [],
    ),
  );
  const summary = summaryOf(closed);
  const events: CommandEvent[] = [];
  let count = 0;
  let length = 0;
  try {
    const proof = summary === undefined ? { commands } : { commands, summary };
    for (const event of readEvents(session, key, pieces, proof)) {
      count += 1;
      if (event.kind !== "command" && event.kind !== "command-digest") continue;
      events.push(event);
      // Compressed, a few bytes may stand for any number of them.
      if (event.kind === "command") length += event.bytes.length;
      if (length > MAX_COMMANDS_LENGTH)
        throw new RangeError(`recording of ${session}: its commands are too long to be shown`);
    }
  } catch (thrown) {
    problems.push(thrown instanceof Error ? thrown.message : `recording of ${session}: unreadable`);
    return undefined;
  }
  // A bundle about one command has no records of the others.
  const isWholeSession = !("request" in parts.manifest.scope);
  const recorded = new Set<string>();
  for (const event of events) {
    recorded.add(event.request);
    if (isWholeSession && !commands.has(event.request))
      problems.push(`${event.request}: it was recorded, and its record is missing`);
  }
  for (const { leaf } of own)
    if (leaf.event === "command.intent" && !recorded.has(leaf.request ?? ""))
      notProved.push(`what ${leaf.request} was: the recording does not have it`);
  if (summary === undefined)
    notProved.push(`that the recording of ${session} is whole: the log has no digest of it yet`);
  else proved.push(`the recording of ${session} is whole and unaltered, ${count} events`);
  return events;
}

function checkPolicies({ parts, records, problems, proved, notProved }: Checking): void {
  const versions = new Set(records.flatMap(({ leaf }) => leaf.policyVersion ?? []));
  const loaded = new Set(
    records.flatMap(({ leaf }) =>
      namesPolicies(leaf, undefined) ? [leaf.detail?.policyDigest] : [],
    ),
  );
  const here = new Set(
    [...parts.policies.keys()].map((one) => one.slice(0, POLICY_VERSION_DIGITS)),
  );
  for (const [digest, archived] of parts.policies) {
    if (policiesDigest(nodeSha256, archived) !== digest)
      problems.push(`policies/${digest}.json was altered`);
    else if (!versions.has(digest.slice(0, POLICY_VERSION_DIGITS)))
      problems.push(`policies/${digest}.json: no decision was made by them`);
    else if (loaded.has(digest))
      proved.push(
        `policies ${digest.slice(0, POLICY_VERSION_DIGITS)} are what the gateway had loaded`,
      );
    else notProved.push(`when policies ${digest.slice(0, POLICY_VERSION_DIGITS)} were loaded`);
  }
  for (const version of versions) {
    const why = parts.manifest.withheld[`policies ${version}`];
    if (why !== undefined) notProved.push(`what policies ${version} say: ${why}`);
    else if (!here.has(version)) problems.push(`policies ${version}, which decided, are missing`);
  }
}

function checkApprovals({ records, problems, proved, notProved }: Checking): void {
  const approvals = Map.groupBy(
    records.filter(({ leaf }) => leaf.event === "hold.voted" && leaf.detail?.vote === "approve"),
    ({ leaf }) => leaf.request,
  );
  const checked = new Set<string | undefined>();
  for (const { leaf } of records) {
    if (leaf.event !== "command.intent" || leaf.decision !== "approved") continue;
    // A second intent of the same request is a problem of its own.
    if (checked.has(leaf.request)) continue;
    checked.add(leaf.request);
    const votes = approvals.get(leaf.request) ?? [];
    for (const one of votes) checkVote(one.leaf, leaf.command, { problems, proved, notProved });
    const by = votes.map((one) => String(one.leaf.detail?.by)).join(", ");
    // Asked again in another session it is that session's hold.
    if (votes.length === 0)
      notProved.push(`who approved ${leaf.request}: asked for elsewhere before`);
    else proved.push(`${leaf.request} ran with the approval of ${by}`);
  }
  for (const { leaf } of records)
    if (leaf.event === "hold.voted" && leaf.request === undefined)
      problems.push("a vote that is for no request");
}

/** What an approver who holds a key has signed about their vote. */
function checkVote(
  { request, detail = {} }: Leaf,
  command: string | undefined,
  { problems, proved, notProved }: Pick<Checking, "problems" | "proved" | "notProved">,
): void {
  const { by, statement } = detail;
  if (typeof statement !== "string") {
    notProved.push(`that ${by} voted on ${request}: the gateway's word, ${by} holds no key`);
    return;
  }
  const signed = readVoteStatement(statement);
  const isThis =
    signed !== undefined &&
    signed.hold === detail.hold &&
    signed.binding === detail.binding &&
    signed.vote === detail.vote &&
    signed.delegation === detail.approver;
  if (!isThis) problems.push(`the vote of ${by} on ${request} is not the one that was signed`);
  else {
    proved.push(`${by} signed the vote on ${request} with the key ${signed.jkt}`);
    // A long command is shown, and signed, cut.
    if (signed.command !== command)
      notProved.push(`that the command ${by} saw was the whole of ${request}`);
  }
}

/** The gateway's own record of what it gave: the parts are exactly those. */
function checkExport(
  { parts, records, problems, proved, notProved }: Checking,
  trees: readonly PlacedTree[] | undefined,
): void {
  const { manifest } = parts;
  const exported = leafOf(manifest.exported);
  if (exported?.leaf.event !== "evidence.exported") {
    problems.push("manifest.json: the record of the export was altered");
    return;
  }
  if (trees !== undefined && !isIncluded(manifest.exported, trees.slice(0, 1)))
    problems.push("manifest.json: the record of the export is not in this log");
  const contents = new ContentsDigest();
  for (const { index, leaf } of parts.records)
    contents.record(index, leafHash(nodeSha256, Buffer.from(leaf, "utf8")));
  for (const { session, file, key } of parts.recordings)
    contents.recording(session, nodeSha256(file), nodeSha256(key));
  for (const [what, why] of Object.entries(manifest.withheld)) contents.withheld(what, why);
  for (const digest of parts.policies.keys()) contents.policies(digest);
  if (contents.of(nodeSha256, manifest.scope) !== exported.leaf.detail?.digest) {
    problems.push("a part is missing, altered or was added: it is not what the gateway exported");
    nameRecords(parts, problems);
    return;
  }
  if (nameRecords(parts, problems)) return;
  proved.push(`it is what the gateway exported, as record ${exported.index} of its log says`);
  const elsewhere = manifest.withheld["records of before"];
  if (elsewhere !== undefined)
    notProved.push(`that older records of the log do not belong here: ${elsewhere}`);
  if (records.length > 0)
    notProved.push(
      "that the log has no further records about it: that is the gateway's word, which `custody audit verify` of the whole log checks",
    );
}

const MAX_NAMED = 20;

/** Which records are not here, or are here too, as the manifest lists them; false: none. */
function nameRecords({ manifest, records }: BundleParts, problems: string[]): boolean {
  if (manifest.records === undefined) return false;
  const listed = manifest.records;
  const here = new Set(records.map(({ index }) => index));
  const before = problems.length;
  const say = (index: number, what: string): void => {
    if (problems.length - before < MAX_NAMED) problems.push(`record ${index} ${what}`);
  };
  for (const [first, last] of listed) {
    // Whoever altered the list may have made it endless.
    for (let at = first; at <= last && problems.length - before < MAX_NAMED; at++)
      if (!here.has(at)) say(at, "is missing, which manifest.json lists");
  }
  let at = 0;
  for (const index of [...here].sort((a, b) => a - b)) {
    while ((listed[at]?.[1] ?? index) < index) at++;
    if (index < (listed[at]?.[0] ?? Number.MAX_VALUE))
      say(index, "is here, and manifest.json does not list it");
  }
  return problems.length > before;
}

function checkPage({ parts, records, problems }: Checking, sessions: readonly PageSession[]): void {
  if (parts.page === undefined) problems.push("index.html is missing");
  else if (parts.page !== bundlePage(parts.manifest, records, sessions))
    problems.push("index.html does not show what the other parts say");
}

function leafOf({ index, leaf }: EvidenceRecord): Placed | undefined {
  try {
    return { index, leaf: decodeLeaf(Buffer.from(leaf, "utf8")) };
  } catch {
    return undefined;
  }
}

function isIncluded({ index, leaf, proof }: EvidenceRecord, trees: readonly PlacedTree[]): boolean {
  const path = proof.map(fromBase64);
  const tree = trees.find(({ before, size }) => index >= before && index < before + size);
  if (tree === undefined || !path.every((hash) => hash?.length === 32)) return false;
  const { size, root, before } = tree;
  const hash = leafHash(nodeSha256, Buffer.from(leaf, "utf8"));
  return verifyInclusion(nodeSha256, hash, index - before, size, root, path as Uint8Array[]);
}

/** A record by which the gateway said which policies it had loaded. */
function namesPolicies(leaf: Leaf | undefined, digests: ReadonlySet<string> | undefined): boolean {
  if (leaf?.event !== "gateway.started" && leaf?.event !== "configuration.loaded") return false;
  const digest = leaf.detail?.policyDigest;
  return typeof digest === "string" && (digests === undefined || digests.has(digest));
}

function summaryOf(closed: Leaf | undefined): { pieces: number; digest: string } | undefined {
  const { pieces, digest } = closed?.detail ?? {};
  return typeof pieces === "number" && typeof digest === "string" ? { pieces, digest } : undefined;
}

function nameOf({ index, leaf }: Placed): string {
  const id = leaf.request ?? leaf.session;
  return `record ${index} (${leaf.event}${id === undefined ? "" : ` ${id}`})`;
}
